"""Frozen dataclasses to plain JSON values and back, so that every value we keep has one written form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

LATER = types.MappingProxyType({"later": True})
"""``metadata`` of a field that joined a dataclass when values of it had been kept: written only where it is not its
default, so that what is without it has the digest that it had."""


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples, mappings and scalars as JSON values (dict, list, str, int, float, bool, None)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in _written(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [to_plain(item) for item in items]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form; keep to dataclasses, tuples, mappings and scalars")


def _written(value: Any) -> list[dataclasses.Field[Any]]:
    fields = dataclasses.fields(value)
    return [f for f in fields if not (f.metadata.get("later") and getattr(value, f.name) == f.default)]


def from_plain(kind: Any, value: Any) -> Any:
    """The inverse of :func:`to_plain` for the type ``kind``; unknown keys are a ``ValueError``."""
    if kind is Any or kind is object:
        return value
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if value is None:
            return None
        return from_plain(options[0], value) if len(options) == 1 else value
    if origin is tuple:
        args = typing.get_args(kind)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(from_plain(args[0], item) for item in value)
        return tuple(from_plain(arg, item) for arg, item in zip(args, value, strict=True))
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        item_kind = typing.get_args(kind)[1]
        return {key: from_plain(item_kind, item) for key, item in value.items()}
    if origin is list:
        return [from_plain(typing.get_args(kind)[0], item) for item in value]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise ValueError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}; it has {sorted(hints)}")
        return kind(**{key: from_plain(hints[key], item) for key, item in value.items()})
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
