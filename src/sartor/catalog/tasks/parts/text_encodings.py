"""Ways to turn a text into numbers of fixed shape, learnt on train and shipped as data. numpy only.

========================  ============================================================================================
``""``                    code points, for what does not look at its input
``words-N``               words in order; the N commonest
``chars-N``               characters in order; the N commonest
``terms-N``               which of N words, pairs of words and (of unspaced scripts) triples of characters occur
``pieces-N``              the same and character sequences of 3 and 4 within words: for short, noisy, inflected text
``ngrams-B``              words, pairs and pieces by hash into B buckets; nothing is learnt
``checkpoint:FOLDER``     ids of a checkpoint's own tokenizer, in order
========================  ============================================================================================

Everywhere 0 stands for nothing (the rest of a short text), but in checkpoints, which have an id of their own for it; in
sequences 1 stands for a word that is not known.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sartor.errors import SartorError, Unsupported
from sartor.media.text import fold, words

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

UNKNOWN = 1
FIRST = 2  # the first id of a known word
PIECES = (3, 4)  # characters, borders of the word included
LONGEST_WORD = 40  # characters of a word that are cut into pieces
LEAST_TEXTS = 2  # that a term has to occur in: what occurs once says nothing about other texts
MOST_COUNTED = 2_000_000  # terms counted at a time; the rarest are forgotten beyond
MOST_CACHED = 50_000  # words whose pieces are kept at hand
LARGEST_VOCABULARY = 256 << 20  # bytes unpacked; a package may come from anywhere

SEQUENCES = ("words", "chars")
BAGS = ("terms", "pieces")


class Encoder(Protocol):
    """Text to int32 of the shape asked for."""

    def __call__(self, text: str, input_size: Sequence[int]) -> Array:
        """Ids of a text, cut or filled with 0."""


def parse(encoding: str) -> tuple[str, str]:
    """Kind and parameter of an encoding: ("words", "20000"), ("checkpoint", "folder"), ("", "").

    Raises:
        Unsupported: there is no such encoding.
    """
    if encoding.startswith("checkpoint:"):
        return "checkpoint", encoding.removeprefix("checkpoint:")
    kind, _, number = encoding.partition("-")
    if not encoding or (kind in (*SEQUENCES, *BAGS, "ngrams") and number.isdecimal() and int(number) > FIRST):
        return kind, number
    raise Unsupported("UNKNOWN_ENCODING", f"text cannot be prepared as {encoding!r}")


def learn(encoding: str, texts: Iterable[str], truths: Sequence[int] | Array) -> bytes:
    """What an encoding has to know: a vocabulary as compressed JSON; empty for those that know enough."""
    kind, parameter = parse(encoding)
    if kind == "checkpoint":
        from sartor.catalog.tasks.parts.tokenizer import read_tokenizer

        return _packed(read_tokenizer(Path(parameter)))
    if kind in SEQUENCES:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(words(text) if kind == "words" else fold(text))
        known = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return _packed([word for word, _ in known[: int(parameter) - FIRST]])
    if kind in BAGS:
        return _packed(_telling(list(texts), np.asarray(truths), TERMS[kind], int(parameter) - 1))
    return b""


def recall(encoding: str, learnt: bytes) -> Encoder:
    """The encoder that :func:`learn` made."""
    kind, parameter = parse(encoding)
    if kind == "checkpoint":
        from sartor.catalog.tasks.parts.tokenizer import Tokenizer

        return Tokenizer(_unpacked(learnt))
    if kind in SEQUENCES:
        return Sequences(_unpacked(learnt), words if kind == "words" else fold)
    if kind in BAGS:
        return Bags(_unpacked(learnt), pieces=kind == "pieces")
    return Hashes(int(parameter)) if kind == "ngrams" else code_points


def code_points(text: str, input_size: Sequence[int]) -> Array:
    """The first characters as their numbers."""
    points = np.frombuffer(text[: input_size[0]].encode("utf-32-le", "surrogatepass"), np.int32)
    return filled(points, input_size[0])


def filled(ids: Sequence[int] | Array, length: int) -> Array:
    """Ids (length,) int32, cut at the end or filled with 0."""
    row = np.zeros(length, np.int32)
    row[: min(len(ids), length)] = ids[:length]
    return row


# ---------------------------------------------------------------------------------------------- sequences


class Sequences:
    """Words or characters in order, by a vocabulary, the commonest first."""

    def __init__(self, vocabulary: Sequence[str], split: Callable[[str], Sequence[str]]) -> None:
        self._known = {word: number for number, word in enumerate(vocabulary, FIRST)}
        self._split = split

    def __call__(self, text: str, input_size: Sequence[int]) -> Array:
        known, length = self._known, input_size[0]
        return filled([known.get(word, UNKNOWN) for word in self._split(text)[:length]], length)


# ---------------------------------------------------------------------------------------------- bags


def terms(found: Sequence[str]) -> list[str]:
    """Words, pairs of neighbours, and triples of single characters that end beyond the alphabets (U+0E00)."""
    pairs = [f"{left} {right}" for left, right in pairwise(found)]
    triples = [
        f"{pair} {third}"
        for pair, third in zip(pairs, found[2:], strict=False)
        if third >= "\u0e00" and len(third) == 1 and len(pair) == 3
    ]
    return [*found, *pairs, *triples]


def pieces(word: str) -> list[str]:
    """Character sequences of a word with its borders, marked as such; none of a single character."""
    if len(word) < 2:
        return []
    framed = f"<{word[:LONGEST_WORD]}>"
    return [f"~{framed[start : start + size]}" for size in PIECES for start in range(len(framed) - size + 1)]


def terms_and_pieces(found: Sequence[str]) -> list[str]:
    """Both."""
    return [*terms(found), *(piece for word in found for piece in pieces(word))]


TERMS: dict[str, Callable[[Sequence[str]], list[str]]] = {"terms": terms, "pieces": terms_and_pieces}


class Bags:
    """Which terms occur, by a vocabulary, the most telling first; of too many the most telling are kept."""

    def __init__(self, vocabulary: Sequence[str], *, pieces: bool) -> None:
        self._known = {term: number for number, term in enumerate(vocabulary, 1)}
        self._pieces: dict[str, tuple[int, ...]] | None = {} if pieces else None

    def __call__(self, text: str, input_size: Sequence[int]) -> Array:
        found, known = words(text), self._known
        ids = {known.get(term, 0) for term in terms(found)}
        if self._pieces is not None:
            for word in found:
                if len(word) > 1:
                    ids.update(self._of_word(word))
        ids.discard(0)
        return filled(sorted(ids), input_size[0])

    def _of_word(self, word: str) -> tuple[int, ...]:
        assert self._pieces is not None
        ids = self._pieces.get(word)
        if ids is None:
            if len(self._pieces) >= MOST_CACHED:
                self._pieces.clear()
            known = self._known
            ids = self._pieces[word] = tuple(known[piece] for piece in pieces(word) if piece in known)
        return ids


def _telling(texts: Sequence[str], truths: Array, split: Callable[[Sequence[str]], list[str]], most: int) -> list[str]:
    """The terms that tell most about the class, by the chi-squared statistic of their presence; ties by name.

    Source: Yang and Pedersen 1997, "A comparative study on feature selection in text categorization".
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(split(words(text))))
        if len(counts) > MOST_COUNTED:
            counts = Counter({term: count for term, count in counts.items() if count > 1})
    frequent = sorted(term for term, count in counts.items() if count >= LEAST_TEXTS)
    number = {term: place for place, term in enumerate(frequent)}
    classes = int(truths.max()) + 1 if len(truths) else 1
    observed = np.zeros((classes, len(frequent)))
    for text, truth in zip(texts, truths, strict=True):
        ids = {number.get(term, -1) for term in split(words(text))}
        ids.discard(-1)
        observed[int(truth), list(ids)] += 1
    share = np.bincount(truths, minlength=classes)[:, None] / max(len(truths), 1)
    expected = share * observed.sum(axis=0)
    statistic = ((observed - expected) ** 2 / np.maximum(expected, 1e-9)).sum(axis=0)
    order = np.argsort(-statistic, kind="stable")[:most]
    return [frequent[place] for place in order]


# ---------------------------------------------------------------------------------------------- hashes


class Hashes:
    """Words, pairs and pieces by CRC-32 into buckets 1 … B - 1; the same everywhere, and nothing to keep.

    Source: Weinberger et al. 2009, "Feature hashing for large scale multitask learning", arXiv:0902.2206.
    """

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets - 1
        self._cache: dict[str, list[int]] = {}

    def __call__(self, text: str, input_size: Sequence[int]) -> Array:
        found, buckets, crc32 = words(text), self._buckets, zlib.crc32
        ids = [crc32(term.encode("utf-8", "surrogatepass")) % buckets + 1 for term in terms(found)]
        for word in found:
            if len(word) > 1:
                ids += self._of_word(word)
        return filled(ids, input_size[0])

    def _of_word(self, word: str) -> list[int]:
        ids = self._cache.get(word)
        if ids is None:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            parts = (piece.encode("utf-8", "surrogatepass") for piece in pieces(word))
            ids = self._cache[word] = [zlib.crc32(part) % self._buckets + 1 for part in parts]
        return ids


# ---------------------------------------------------------------------------------------------- as bytes


def _packed(content: Any) -> bytes:
    return zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8"), 9)


def _unpacked(learnt: bytes) -> Any:
    try:
        return json.loads(zlib.decompressobj().decompress(learnt, LARGEST_VOCABULARY))
    except (zlib.error, ValueError) as error:
        raise SartorError(f"the vocabulary of the package is damaged ({error}); build the package again") from None
