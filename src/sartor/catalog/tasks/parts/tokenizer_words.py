"""Second step of a tokenizer: the text cut into words. Pre-tokenizers of ``tokenizer.json`` by their names.

Source: huggingface/tokenizers, ``pre_tokenizers``; Radford et al. 2019 (GPT-2) for the cut by bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from sartor.errors import Unsupported

Split = Callable[[str, bool], list[str]]
"""Text and whether it is the first part of the input, to words."""

WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LONGEST_PATTERN = 2_000  # characters

_SIGNS = frozenset("$+<=>^`|~")  # of ASCII, all signs stand alone, not only what Unicode calls punctuation


def splitter(step: Mapping[str, Any] | None) -> Split:
    """The function of a step; without one the text is a single word.

    Raises:
        Unsupported: it is of a kind that is not known here.
    """
    kind = (step or {}).get("type", "")
    if step is None or not kind:
        return lambda text, first: [text] if text else []
    if kind == "Sequence":
        return _one_after_another([splitter(part) for part in step["pretokenizers"]])
    made = _KINDS.get(kind)
    if made is None:
        raise Unsupported("TOKENIZER", f"cuts texts by {kind}, which is not known here; give another checkpoint")
    return made(step)


def _one_after_another(steps: Sequence[Split]) -> Split:
    def split(text: str, first: bool) -> list[str]:
        words = [text]
        for step in steps:
            words = [part for number, word in enumerate(words) for part in step(word, first and number == 0)]
        return words

    return split


def _found(pattern: str) -> Split:
    find = re.compile(pattern).findall
    return lambda text, first: find(text)


def _bert(step: Mapping[str, Any]) -> Split:
    """At white space; signs are words of their own."""
    letters = _Alone()
    white = re.compile(f"[{WHITE}]+")
    return lambda text, first: [word for word in white.split("".join(map(letters.__getitem__, text))) if word]


class _Alone(dict[str, str]):
    """A character with blanks around where it is a sign."""

    def __missing__(self, letter: str) -> str:
        alone = letter in _SIGNS or unicodedata.category(letter)[0] == "P"
        self[letter] = found = f" {letter} " if alone else letter
        return found


def _bytes(step: Mapping[str, Any]) -> Split:
    """Words with the blank before them, their UTF-8 bytes written as visible characters."""
    blank = step.get("add_prefix_space", True)
    find = re.compile(translated(GPT2)).findall if step.get("use_regex", True) else lambda text: [text]
    table = byte_letters()

    def split(text: str, first: bool) -> list[str]:
        if blank and text and not text.startswith(" "):
            text = " " + text
        return ["".join(table[byte] for byte in word.encode("utf-8", "replace")) for word in find(text)]

    return split


@cache
def byte_letters() -> tuple[str, ...]:
    """A visible character for each of the 256 bytes: itself where it is one, else the next from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte) if byte in visible else chr(next(others)) for byte in range(256))


def _blanks(step: Mapping[str, Any]) -> Split:
    """Blanks become a sign that begins a word, as SentencePiece has it."""
    sign = step["replacement"]
    scheme = step.get("prepend_scheme", "always") if step.get("add_prefix_space", True) else "never"
    find = re.compile(f"{re.escape(sign)}[^{re.escape(sign)}]*|[^{re.escape(sign)}]+", re.DOTALL).findall
    whole = not step.get("split", True)

    def split(text: str, first: bool) -> list[str]:
        text = text.replace(" ", sign)
        if text and (scheme == "always" or (scheme == "first" and first)) and not text.startswith(sign):
            text = sign + text
        return [text] if whole and text else find(text)

    return split


def _pattern(step: Mapping[str, Any]) -> Split:
    behaviour, invert = str(step["behavior"]).lower(), step.get("invert", False)
    if behaviour not in ("isolated", "removed"):
        raise Unsupported("TOKENIZER", f"cuts texts by a pattern, {step['behavior']}, which is not known here")
    find = pattern_of(step["pattern"]).finditer

    def split(text: str, first: bool) -> list[str]:
        parts: list[tuple[str, bool]] = []
        end = 0
        for match in find(text):
            parts += [(text[end : match.start()], False), (match.group(), True)]
            end = match.end()
        parts.append((text[end:], False))
        return [part for part, matched in parts if part and (behaviour == "isolated" or matched == invert)]

    return split


def _digits(step: Mapping[str, Any]) -> Split:
    repeat = "" if step.get("individual_digits", False) else "+"
    number = _ranges("N")
    return _found(f"[{number}]{repeat}|[^{number}]+")


def pattern_of(pattern: Mapping[str, str]) -> re.Pattern[str]:
    """``{"String": …}`` or ``{"Regex": …}`` ready to search with."""
    if "String" in pattern:
        return re.compile(re.escape(pattern["String"]))
    try:
        return re.compile(translated(pattern["Regex"]))
    except re.error:
        raise _strange(pattern["Regex"]) from None


def translated(pattern: str) -> str:
    r"""A regular expression of Oniguruma in the words of ``re``: ``\p{L}`` and ``\s`` as what they hold.

    Raises:
        Unsupported: it has something in it that cannot be said in them.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise _strange(pattern)
    written: list[str] = []
    inside, place = False, 0
    while place < len(pattern):
        sign = pattern[place]
        if sign != "\\":
            if inside and (sign == "[" or pattern.startswith("&&", place)):
                raise _strange(pattern)
            inside = sign == "[" or (inside and sign != "]")
            written.append(sign)
            place += 1
            continue
        match = re.compile(r"\\(?:([pP])\{(\w{1,2})\}|([sS])|[rntd]|[^\w])").match(pattern, place)
        if match is None:
            raise _strange(pattern)
        kind = match[1] or match[3]
        if kind:
            held = WHITE if match[3] else _ranges(match[2])
            if not held or (inside and kind.isupper()):
                raise _strange(pattern)
            written.append(held if inside else f"[{'^' if kind.isupper() else ''}{held}]")
        else:
            written.append(match[0])
        place = match.end()
    return "".join(written)


def _strange(pattern: str) -> Unsupported:
    return Unsupported("TOKENIZER", f"cuts texts by the pattern {pattern[:60]!r}, which cannot be followed here")


def _ranges(category: str) -> str:
    """The characters of a category (L, Lu …) for a class of ``re``; empty where there is no such category."""
    return "".join(
        f"\\U{start:08x}-\\U{end:08x}" for name, start, end in _blocks() if name.startswith(category.capitalize())
    )


@cache
def _blocks() -> tuple[tuple[str, int, int], ...]:
    """All characters as runs of one category."""
    found, start = [], 0
    for name, run in groupby(map(unicodedata.category, map(chr, range(0x110000)))):
        end = start + sum(1 for _ in run)
        found.append((name, start, end - 1))
        start = end
    return tuple(found)


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Split]] = {
    "BertPreTokenizer": _bert,
    "ByteLevel": _bytes,
    "Metaspace": _blanks,
    "WhitespaceSplit": lambda _: _found(f"[^{WHITE}]+"),
    "Split": _pattern,
    "Digits": _digits,
}
