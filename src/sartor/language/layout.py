"""Text in columns of a terminal, where a Chinese letter takes the room of two."""

from __future__ import annotations

import re
import textwrap
import unicodedata

from sartor.language import say

_WIDE = r"\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6“”…"
_PIECE = re.compile(rf"[“（《]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[，。；：！？、）》”…]*\s*")
"""What a line may end with: a wide letter or a word, with the signs that belong to it."""


def width(text: str) -> int:
    """Columns a text takes in a font of equal widths: wide letters count two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def padded(text: str, columns: int) -> str:
    """A text with spaces behind it up to a number of columns.

    Example:
        >>> padded("大小", 6) + "|"
        '大小  |'
    """
    return text + " " * (columns - width(text))


def cut(text: str, columns: int) -> str:
    """The beginning of a text that fits into a number of columns."""
    while width(text) > columns:
        text = text[:-1]
    return text


def wrapped(text: str, columns: int) -> list[str]:
    """A text as lines of at most so many columns; Chinese breaks between any two letters but not before a stop."""
    if width(text) == len(text):
        return textwrap.wrap(text, columns)
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and width(lines[-1] + piece.rstrip()) > columns:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def labelled(label: str, text: str, columns: int = 14) -> str:
    """A line with a label in its first column, both in the reader's language."""
    return padded(say(label), columns - 1) + " " + say(text)
