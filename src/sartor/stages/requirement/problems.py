"""Collects everything wrong with a requirement, so that it is reported at once and in the file's order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sartor.errors import RequirementError, nearest

KeyPath = tuple[str | int, ...]
_PLAIN_KEY = re.compile(r"[\w$-]{1,60}")
_LONGEST_SHOWN = 60


def shown(value: Any) -> str:
    """A value as people wrote it, on one line, shortened, safe to print."""
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[:_LONGEST_SHOWN]}…"
    return text.encode("utf-8", "backslashreplace").decode()


def dotted(path: KeyPath) -> str:
    """A key path as written in overrides: ``limits.latency_p95_ms.max``, ``search.models[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if _PLAIN_KEY.fullmatch(part) else f".{shown(part)}"
    return text.removeprefix(".")


def did_you_mean(word: str, allowed: Iterable[str], *, of: str = "") -> str:
    """``Did you mean X?`` where something is near, otherwise what there is.

    Args:
        word: as found.
        allowed: valid spellings.
        of: what the list is called, e.g. ``The keys``.
    """
    choices = list(allowed)
    near = nearest(word.lower().replace("_", "-"), choices) or nearest(word.lower(), choices)
    if near:
        return f"Did you mean {near}?"
    return f"{of or 'Allowed'}: {', '.join(choices) or 'none'}."


@dataclass
class Problems:
    """Sentences about one requirement.

    Args:
        source: what the requirement is called in the message (its path).
        lines: key path to line number in the file.
        overridden: key paths that were set by ``key=value``.
    """

    source: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overridden: set[KeyPath] = field(default_factory=set)
    _found: dict[KeyPath, str] = field(default_factory=dict)

    def add(self, path: KeyPath, sentence: str) -> None:
        """Note a problem; the first one of a key is kept, as later ones follow from it."""
        self._found.setdefault(path, sentence)

    def known(self, path: KeyPath) -> bool:
        """True when this key, or one above it, has a problem already."""
        return any(path[:length] in self._found for length in range(len(path) + 1))

    def forget(self, path: KeyPath) -> None:
        """Drop the problems of a key and below: its value has been replaced."""
        self._found = {key: text for key, text in self._found.items() if key[: len(path)] != path}

    def __bool__(self) -> bool:
        return bool(self._found)

    def _place(self, path: KeyPath) -> tuple[int, str]:
        for length in range(len(path), -1, -1):
            if path[:length] in self.overridden:
                return 1 << 30, "override"
            if path[:length] in self.lines:
                line = self.lines[path[:length]]
                return line, f"line {line}"
        return 0, ""

    def raise_if_any(self) -> None:
        """Raise all problems as one :class:`RequirementError`, in the order of the file."""
        if not self._found:
            return
        placed = [(*self._place(path), sentence) for path, sentence in self._found.items()]
        width = max(len(place) for _, place, _ in placed)
        placed.sort(key=lambda entry: entry[0])
        texts = [f"{place:<{width}}  {sentence}" if place else sentence for _, place, sentence in placed]
        raise RequirementError(texts, source=self.source)
