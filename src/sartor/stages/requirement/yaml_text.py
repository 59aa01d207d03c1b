"""YAML text to plain values with the line of every key; refuses what no requirement needs.

Scalars are those of YAML 1.2 (``no`` is text, ``1e-3`` a number). No aliases, tags, merge keys or second documents;
bounded depth and number of values, so that a bomb costs nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from sartor.stages.requirement.problems import KeyPath, Problems, dotted, shown

MAX_DEPTH = 12
MAX_VALUES = 5_000
_MAX_DIGITS = 300
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


class Unreadable(Exception):
    """The text as a whole cannot be read; ``line`` counts from 1."""

    def __init__(self, line: int, sentence: str) -> None:
        self.line = line
        super().__init__(sentence)


def read_yaml(text: str, problems: Problems) -> Any:
    """The value of the one document in ``text``, None where there is none.

    Lines of keys, and keys that stand twice, are noted in ``problems``.

    Raises:
        Unreadable: it is not YAML, or uses what is refused.
    """
    return _Builder(text, problems).document()


class _Builder:
    """Builds values from the events of the YAML parser, which expands nothing by itself."""

    def __init__(self, text: str, problems: Problems) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._problems = problems
        self._count = 0

    def _next(self) -> Any:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = " ".join(str(part) for part in (error.context, error.problem) if part)
            raise Unreadable(mark.line + 1 if mark else 1, f"this is not YAML: {reason}") from error
        except yaml.YAMLError as error:
            raise Unreadable(1, "it holds a character that is no text") from error
        except (ValueError, OverflowError, IndexError, StopIteration) as error:
            raise Unreadable(1, f"this is not YAML: {error}") from error
        if isinstance(event, yaml.AliasEvent):
            raise Unreadable(_line(event), f"*{event.anchor} is an alias; write the value out")
        if getattr(event, "tag", None) is not None:
            raise Unreadable(_line(event), f"{shown(event.tag)} is a tag; a requirement needs none")
        return event

    def document(self) -> Any:
        while not isinstance(event := self._next(), (yaml.DocumentStartEvent, yaml.StreamEndEvent)):
            pass
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), (), 0)
        self._next()
        if not isinstance(event := self._next(), yaml.StreamEndEvent):
            raise Unreadable(_line(event), "a second document starts here; a requirement is one")
        return value

    def _value(self, event: Any, path: KeyPath, depth: int) -> Any:
        self._count += 1
        if depth > MAX_DEPTH:
            raise Unreadable(_line(event), f"it is nested deeper than {MAX_DEPTH} levels; a requirement needs four")
        if self._count > MAX_VALUES:
            raise Unreadable(_line(event), f"it holds more than {MAX_VALUES:,} values; a requirement is a page")
        self._problems.lines.setdefault(path, _line(event))
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else _joined(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path, depth)
        return self._mapping(path, depth)

    def _list(self, path: KeyPath, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise Unreadable(_line(event), "a key must be a word, not a list or mapping")
            key, line = _joined(event.value), _line(event)
            place = (*path, key)
            if key in values:
                first = self._problems.lines[place]
                place = (*path, "\0again", key)
                self._problems.add(place, f"{dotted((*path, key))} stands here and in line {first}; keep one")
            self._problems.lines.setdefault(place, line)
            value = self._value(self._next(), place, depth + 1)
            values.setdefault(key, value)
        return values


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _joined(text: str) -> str:
    """JSON writes characters beyond 16 bits as two escapes; the YAML scanner leaves them apart."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:  # half a pair: refused later, with its key
            return text
    return text


def _scalar(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _MAX_DIGITS else math.inf
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) <= _MAX_DIGITS else math.inf
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
