"""Finds plug-ins: built-in ones by folder, others by entry point. Listing imports nothing heavy."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from sartor.errors import SartorError, nearest

KINDS = ("tasks", "models", "compressors", "runtimes", "devices", "checks", "planners")
_classes: dict[tuple[str, str], type] = {}
Plugin = TypeVar("Plugin", bound=type)


def register(kind: str, name: str) -> Callable[[Plugin], Plugin]:
    """Class decorator: enter a plug-in in a catalogue. The file's name is ``name`` with ``_`` for ``-``."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not a catalogue; the catalogues are {', '.join(KINDS)}")

    def enter(plugin: Plugin) -> Plugin:
        known = _classes.get((kind, name))
        if known is not None and known.__module__ != plugin.__module__:
            raise ValueError(f"{kind}/{name} is defined in {known.__module__} and again in {plugin.__module__}")
        plugin.name = name  # type: ignore[attr-defined]
        _classes[kind, name] = plugin
        return plugin

    return enter


@cache
def _modules(kind: str) -> dict[str, str]:
    """Plug-in name to the module that holds it; built-ins first, then entry points ``sartor.<kind>``."""
    spec = importlib.util.find_spec(f"sartor.catalog.{kind}")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("[a-z]*.py"))
    found = {file.stem.replace("_", "-"): f"sartor.catalog.{kind}.{file.stem}" for file in files}
    for point in entry_points(group=f"sartor.{kind}"):
        found.setdefault(point.name, point.value.partition(":")[0])
    return found


def names(kind: str) -> tuple[str, ...]:
    """Names of all plug-ins of a kind, sorted; nothing is imported."""
    return tuple(sorted(_modules(kind)))


@cache
def get(kind: str, name: str) -> Any:
    """The plug-in, made once. Unknown names get the nearest known one in the message."""
    module = _modules(kind).get(name)
    if module is None:
        near = nearest(name, names(kind))
        hint = f" Did you mean {near}?" if near else f" There are: {', '.join(names(kind)) or 'none'}."
        raise SartorError(f"{name!r} is not among the {kind}.{hint}")
    importlib.import_module(module)
    plugin = _classes.get((kind, name))
    if plugin is None:
        raise SartorError(f"{module} registers no {kind}/{name}; add @register({kind!r}, {name!r}) to its class")
    return plugin()


def every(kind: str) -> tuple[Any, ...]:
    """All plug-ins of a kind, in the order of their names."""
    return tuple(get(kind, name) for name in names(kind))
