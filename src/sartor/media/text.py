"""Reads text and looks at it: decoding, folding, words, scripts, digests. numpy and the standard library only."""

from __future__ import annotations

import codecs
import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from sartor.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

ENCODINGS = {
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "gb18030": "GB 18030",
}
"""What files may be written in, by their names in Python; hardly any other text is valid UTF-8 by chance."""

CHUNK = 1 << 20  # bytes
LONE_SHARE = 1 / 3  # of characters beyond ASCII, whose second byte is a letter of ASCII: more are no Chinese text

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Characters of scripts that put no space between words (Thai, Lao, Burmese, Khmer, Kana, Han), for a class of re."""

SCRIPTS = (
    ("Latin", 0x41, 0x24F), ("Greek", 0x370, 0x3FF), ("Cyrillic", 0x400, 0x52F), ("Hebrew", 0x590, 0x5FF),
    ("Arabic", 0x600, 0x77F), ("Indic", 0x900, 0xDFF), ("Thai", 0xE00, 0xEFF), ("Latin", 0x1E00, 0x1EFF),
    ("Kana", 0x3040, 0x30FF), ("Han", 0x3400, 0x9FFF), ("Hangul", 0xAC00, 0xD7AF), ("Han", 0xF900, 0xFAFF),
    ("Latin", 0xFF21, 0xFF5A), ("Han", 0x20000, 0x3FFFF),
)  # fmt: skip
"""Blocks of letters by code point, ascending."""

MIXED_SHARE = 0.3  # of the letters: a second script with at least so many makes a text mixed
SHINGLE = 5  # characters; what near copies are told by
MOST_LETTERS = 70_000  # characters, and words, kept at hand: text from anywhere must not fill the memory
NEAR_SHARE = 0.7  # of all shingles of two texts that near copies have in common

_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}_]+(?:['’\\-][^\\W{UNSPACED}_]+)*")
_MARKUP = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]{0,200})?/?>|&(?:[a-z]{2,8}|#\d{2,5});|&?#\d{2,5};", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ufdd0-\ufdef\ufffe\uffff]")
_GB_PAIR = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")
_STARTS = np.array([start for _, start, _ in SCRIPTS], np.uint32)
_ENDS = np.array([end for _, _, end in SCRIPTS], np.uint32)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def decode(raw: bytes) -> str:
    """UTF-8 bytes to text, without a byte order mark.

    Raises:
        DataError: it is not UTF-8, or holds nothing but white space.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"it is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    text = text.removeprefix("\ufeff")
    if not text or text.isspace():
        raise DataError("the text is empty or white space only")
    return text


def guess_encoding(opened: Callable[[], BinaryIO]) -> str:
    """The one of ``ENCODINGS`` that a file is valid in from its beginning to its end; empty where there is none.

    GB 18030 gives nearly any bytes a meaning. Accented letters of other alphabets are told from it by what follows
    them: mostly letters of ASCII, which are rarely the second byte of a Chinese character.
    """
    with opened() as file:
        head = file.read(256)
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16" if _is_valid(opened, "utf-16") else ""
    if max(zeros) > len(head) / 8:
        wide = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        return wide if _is_valid(opened, wide) else ""
    if _is_valid(opened, "utf-8-sig"):
        return "utf-8-sig"
    return "gb18030" if _is_valid(opened, "gb18030") and _is_chinese(opened) else ""


def _is_valid(opened: Callable[[], BinaryIO], encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with opened() as file:
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _is_chinese(opened: Callable[[], BinaryIO]) -> bool:
    lone = pairs = 0
    with opened() as file:
        while chunk := file.read(CHUNK):
            found = _GB_PAIR.findall(chunk)
            pairs += len(found)
            lone += sum(pair[1] < 0x80 for pair in found)
    return lone <= LONE_SHARE * pairs


def fold(text: str) -> str:
    """Forms that mean the same made equal: compatibility forms (full width, ligatures) and case."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """Words in order, folded: runs of letters and digits, single characters of unspaced scripts, single signs."""
    if not text.isascii() and not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return "".join(map(_LETTERS.__getitem__, text)).split()


def word_places(text: str) -> list[tuple[int, int]]:
    """Start and end of every word of a text as it was written; signs are no words here."""
    return [match.span() for match in _WORD.finditer(text)]


class _Letters(dict[str, str]):
    """A character without case; with blanks around where it stands alone. Filled as characters are met."""

    def __missing__(self, letter: str) -> str:
        if len(self) >= MOST_LETTERS:
            self.clear()
        self[letter] = found = self._seen(letter)
        return found

    def _seen(self, letter: str) -> str:
        kind = unicodedata.category(letter)
        if _UNSPACED.match(letter):
            return f" {letter} "
        if kind[0] in "LNM":  # marks belong to the letter before them
            return letter.casefold()
        if kind == "Cf":  # joiners and soft hyphens
            return ""
        return " " if kind[0] in "ZC" else f" {letter} "


_LETTERS = _Letters()


def content(text: str) -> str:
    """Digest (32 hex digits) of what is written, whatever its case, width and white space."""
    return hashlib.blake2b(" ".join(fold(text).split()).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def scripts(text: str) -> dict[str, int]:
    """Number of letters per script, e.g. ``{"Latin": 80, "Han": 3}``; digits and signs count for none."""
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return {"Latin": letters} if letters else {}
    letters_only = "".join(filter(str.isalpha, text))
    points = _code_points(letters_only)
    block = np.searchsorted(_STARTS, points, side="right").astype(np.int64) - 1
    inside = (block >= 0) & (points <= _ENDS[block])
    found: dict[str, int] = {}
    for number, count in enumerate(np.bincount(block[inside], minlength=len(SCRIPTS))):
        if count:
            found[SCRIPTS[number][0]] = found.get(SCRIPTS[number][0], 0) + int(count)
    other = len(points) - int(inside.sum())
    return found | ({"other": other} if other else {})


def script(text: str) -> str:
    """The script of a text: its commonest one, ``mixed`` where a second has three tenths of the letters, ``none``."""
    found = scripts(text)
    if "Kana" in found and "Han" in found:  # Japanese is written in both
        found["Kana"] += found.pop("Han")
    if not found:
        return "none"
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) > 1 and ordered[1][1] >= MIXED_SHARE * sum(found.values()):
        return "mixed"
    return ordered[0][0]


def has_markup(text: str) -> bool:
    """True where tags or entities of HTML are left in a text."""
    return ("<" in text or "&" in text or "#" in text) and _MARKUP.search(text) is not None


def has_control(text: str) -> bool:
    """True where characters are no text: control codes, replacement signs of a wrong decoding."""
    return "\ufffd" in text or (not text.isprintable() and _CONTROL.search(text) is not None)


def likeness(text: str) -> int:
    """64 bits that differ in few places for texts with most words in common.

    Source: Charikar 2002, "Similarity estimation techniques from rounding algorithms" (simhash).
    """
    hashes = b"".join(map(_HASHES.__getitem__, set(words(text))))
    bits = np.unpackbits(np.frombuffer(hashes, np.uint8).reshape(-1, 8), axis=1)
    return int.from_bytes(np.packbits(2 * bits.sum(axis=0, dtype=np.int64) > len(bits)).tobytes(), "big")


class _Hashes(dict[str, bytes]):
    """64 bits of a word."""

    def __missing__(self, word: str) -> bytes:
        if len(self) >= MOST_LETTERS:
            self.clear()
        self[word] = found = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return found


_HASHES = _Hashes()


def nearly_same(left: str, right: str) -> bool:
    """Whether two texts have most of their 5-character sequences in common (Jaccard index at least 0.7)."""
    ours, theirs = np.unique(_shingles(left)), np.unique(_shingles(right))
    common = len(np.intersect1d(ours, theirs, assume_unique=True))
    return common >= NEAR_SHARE * (len(ours) + len(theirs) - common)


def _shingles(text: str) -> Array:
    """64-bit hashes of all sequences of 5 characters of the folded text; one of the whole where it is shorter."""
    points = _code_points(" ".join(fold(text).split())).astype(np.uint64)
    if len(points) < SHINGLE:
        points = np.concatenate([points, np.zeros(SHINGLE - len(points), np.uint64)])
    count = len(points) - SHINGLE + 1
    mixed = np.zeros(count, np.uint64)
    for offset in range(SHINGLE):
        mixed = (mixed ^ points[offset : offset + count]) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
