"""Options of a compressor, checked by name and type against the fields of its settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from sartor.errors import Unsupported, nearest
from sartor.types import Options

Settings = TypeVar("Settings")


def settings_of(compressor: str, settings: type[Settings], options: Options) -> Settings:
    """The settings with what the options say; ranges of numbers are the compressor's own to check.

    Args:
        compressor: its name, for sentences.
        settings: a dataclass whose fields all have defaults.
        options: name to value.

    Raises:
        Unsupported: ``BAD_OPTION``: an unknown name, a switch that is not true or false, an unknown activation.
    """
    known: dict[str, Any] = {field.name: field.default for field in fields(settings)}  # type: ignore[arg-type]
    for name, value in options.items():
        if name not in known:
            near = nearest(name, known)
            hint = f" Did you mean {near}?" if near else f" There are: {', '.join(known)}."
            raise Unsupported("BAD_OPTION", f"{compressor} has no option {name!r}.{hint}")
        if isinstance(known[name], bool) and not isinstance(value, bool):
            raise Unsupported("BAD_OPTION", f"{compressor} option {name} is {value!r}; it must be true or false")
    activation = options.get("activation", "uint8")
    if activation not in ("uint8", "int8"):
        raise Unsupported("BAD_OPTION", f"activation is {activation!r}; it must be uint8 or int8")
    return settings(**options)


def require_tolerance(tolerance: object) -> None:
    """Check the share of the noise of plain int8 that a repair may leave.

    Raises:
        Unsupported: ``BAD_OPTION`` where it is no number above 0 and at most 1.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance <= 1:
        raise Unsupported("BAD_OPTION", f"tolerance is {tolerance!r}; it must be above 0 and at most 1")
