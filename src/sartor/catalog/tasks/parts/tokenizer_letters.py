"""First step of a tokenizer: the text rewritten. Normalizers of ``tokenizer.json`` by their names.

Source: huggingface/tokenizers, ``normalizers``; google/sentencepiece, ``normalizer.cc`` (the compiled map).
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sartor.catalog.tasks.parts.tokenizer_words import WHITE, pattern_of
from sartor.errors import Unsupported

Normalize = Callable[[str], str]

HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f"
    "\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f"
)
MOST_LETTERS = 70_000  # kept at hand
MAPPED_BYTES = 6  # a group of characters from this length on is looked up character by character

_HAN = re.compile(f"[{HAN}]")


def normalizer(step: Mapping[str, Any] | None) -> Normalize:
    """The function of a step.

    Raises:
        Unsupported: it is of a kind that is not known here.
    """
    kind = (step or {}).get("type", "")
    if step is None or not kind:
        return str
    if kind == "Sequence":
        steps = [normalizer(part) for part in step["normalizers"]]

        def one_after_another(text: str) -> str:
            for each in steps:
                text = each(text)
            return text

        return one_after_another
    made = _KINDS.get(kind)
    if made is None:
        raise Unsupported("TOKENIZER", f"rewrites texts by {kind}, which is not known here; give another checkpoint")
    return made(step)


def _unicode_form(step: Mapping[str, Any]) -> Normalize:
    form = step["type"]
    return lambda text: text if text.isascii() else unicodedata.normalize(form, text)


def _lower(text: str) -> str:
    """Letter by letter: a sigma at a word's end is one like the others."""
    return text.lower() if text.isascii() else "".join(map(str.lower, text))


def _without_marks(text: str) -> str:
    return text if text.isascii() else "".join(letter for letter in text if unicodedata.category(letter)[0] != "M")


def _strip(step: Mapping[str, Any]) -> Normalize:
    left, right = step.get("strip_left", True), step.get("strip_right", True)
    ends = "|".join(end for end, asked in ((f"^[{WHITE}]+", left), (f"[{WHITE}]+\\Z", right)) if asked)
    found = re.compile(ends or r"(?!)")
    return lambda text: found.sub("", text)


def _replace(step: Mapping[str, Any]) -> Normalize:
    found, content = pattern_of(step["pattern"]), step["content"]
    return lambda text: found.sub(lambda _: content, text)


def _prepend(step: Mapping[str, Any]) -> Normalize:
    return lambda text: step["prepend"] + text if text else text


def _by_letter(letters: _Map) -> Normalize:
    return lambda text: "".join(map(letters.__getitem__, text))


class _Map(dict[str, str]):
    """What a function makes of characters, kept."""

    def __init__(self, function: Normalize) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, letters: str) -> str:
        if len(self) >= MOST_LETTERS:
            self.clear()
        self[letters] = found = self._function(letters)
        return found


def _bert(step: Mapping[str, Any]) -> Normalize:
    """Cleaned, without case and accents, Chinese characters apart: each on its own, whatever stands beside it.

    Source: Devlin et al. 2018, arXiv:1810.04805, the tokenizer published with it.
    """
    lower = bool(step.get("lowercase", True))
    accents = lower if step.get("strip_accents") is None else bool(step["strip_accents"])
    clean, han = step.get("clean_text", True), step.get("handle_chinese_chars", True)

    def seen(letter: str) -> str:
        kind = unicodedata.category(letter)
        if clean and (letter in "\t\n\r" or kind in ("Zs", "Zl", "Zp")):
            return " "
        if clean and (kind in ("Cc", "Cf", "Co", "Cs") or letter == "\ufffd"):
            return ""
        alone = han and _HAN.match(letter)
        if accents:
            parts = unicodedata.normalize("NFD", letter)
            letter = "".join(part for part in parts if unicodedata.category(part) != "Mn")
        if lower:
            letter = letter.lower()
        return f" {letter} " if alone else letter

    return _by_letter(_Map(seen))


def _precompiled(step: Mapping[str, Any]) -> Normalize:
    """The map of characters that SentencePiece compiles into its models: a double-array trie, then the new strings.

    Groups of a character and its marks are looked up as one where they are short; what is found first, the shortest,
    replaces the whole group.
    """
    blob = base64.b64decode(step["precompiled_charsmap"])
    if len(blob) < 4:  # noqa: PLR2004  an empty map changes nothing
        return str
    size = int.from_bytes(blob[:4], "little")
    units = [int(unit) for unit in np.frombuffer(blob[4 : 4 + size], "<u4")]
    strings = blob[4 + size :]

    def mapped(letters: str) -> str | None:
        place = _offset(units[0])
        for byte in letters.encode("utf-8", "surrogatepass"):
            place ^= byte
            unit = units[place] if place < len(units) else 0
            if not byte or unit & 0x800000FF != byte:
                return None
            place ^= _offset(unit)
            if unit >> 8 & 1:  # a string begins where the unit behind says
                start = units[place] & 0x7FFFFFFF
                return strings[start : strings.index(b"\0", start)].decode("utf-8")
        return None

    def seen(letters: str) -> str:
        if len(letters.encode("utf-8", "surrogatepass")) < MAPPED_BYTES and (whole := mapped(letters)) is not None:
            return whole
        return "".join(letter if (found := mapped(letter)) is None else found for letter in letters)

    groups = _Map(seen)
    return lambda text: "".join(map(groups.__getitem__, _grouped(text)))


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)


def _grouped(text: str) -> list[str]:
    """Characters, each with the marks behind it; a carriage return with its line feed.

    Of the clusters of Unicode (UAX 29) those are told that can be shorter than ``MAPPED_BYTES``.
    """
    groups: list[str] = []
    for letter in text:
        last = groups[-1][-1] if groups else ""
        joins = last == "\r" if letter == "\n" else last and _is_mark(letter) and not _is_control(last)
        if joins:
            groups[-1] += letter
        else:
            groups.append(letter)
    return groups


def _is_mark(letter: str) -> bool:
    if letter.isascii():
        return False
    return unicodedata.category(letter)[0] == "M" or letter in "\u200c\u200d\uff9e\uff9f" or "🏻" <= letter <= "🏿"


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") and letter not in "\u200c\u200d"


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Normalize]] = {
    **dict.fromkeys(("NFC", "NFD", "NFKC", "NFKD"), _unicode_form),
    "Lowercase": lambda _: _lower,
    "StripAccents": lambda _: _without_marks,
    "Strip": _strip,
    "Replace": _replace,
    "Prepend": _prepend,
    "BertNormalizer": _bert,
    "Precompiled": _precompiled,
}
