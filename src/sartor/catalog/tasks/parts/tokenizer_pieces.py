"""Third step of a tokenizer: words cut into pieces of a vocabulary. Models of ``tokenizer.json`` by their names.

Source: Wu et al. 2016, arXiv:1609.08144, section 4.1 (WordPiece); Sennrich et al. 2016, arXiv:1508.07909 (byte pairs);
Kudo 2018, arXiv:1804.10959 (unigrams).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from sartor.errors import Unsupported

Cut = Callable[[str], list[int]]

UNKNOWN_PENALTY = 10.0  # of a unigram model: how much less likely than its rarest piece an unknown character is


def pieces(model: Mapping[str, Any]) -> Cut:
    """A word to the ids of its pieces.

    Raises:
        Unsupported: the model is of a kind that is not known here.
    """
    kind = model.get("type", "WordPiece")
    made: Mapping[str, Callable[[Mapping[str, Any]], Cut]] = {
        "WordPiece": WordPiece,
        "BPE": BytePairs,
        "Unigram": Unigrams,
    }
    if kind not in made:
        known = ", ".join(made)
        raise Unsupported("TOKENIZER", f"cuts words by {kind}; known here are {known}; give another checkpoint")
    return made[kind](model)


class WordPiece:
    """The longest known piece first; a word with an unknown one is unknown."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self._known: Mapping[str, int] = model["vocab"]
        self._prefix = model.get("continuing_subword_prefix", "##")
        self._longest = int(model.get("max_input_chars_per_word", 100))
        self._unknown = [self._known.get(model.get("unk_token", "[UNK]"), 0)]

    def __call__(self, word: str) -> list[int]:
        if len(word) > self._longest:
            return self._unknown
        known, start, ids = self._known, 0, []
        while start < len(word):
            prefix = self._prefix if start else ""
            for end in range(len(word), start, -1):
                number = known.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return self._unknown
            ids.append(number)
            start = end
        return ids


class BytePairs:
    """Characters, of which neighbours are merged, the pair learnt first at first."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        if model.get("dropout"):
            raise Unsupported("TOKENIZER", "merges by chance (dropout); give another checkpoint")
        self._known: Mapping[str, int] = model["vocab"]
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._suffix = model.get("end_of_word_suffix") or ""
        self._unknown = self._known.get(model.get("unk_token") or "")
        self._fuses = bool(model.get("fuse_unk", False))
        self._whole = bool(model.get("ignore_merges", False))
        self._bytes = _byte_pieces(self._known) if model.get("byte_fallback") else {}
        self._merges: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, pair in enumerate(model["merges"]):
            left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
            merged = self._known[left + right.removeprefix(self._prefix)]
            self._merges[self._known[left], self._known[right]] = (rank, merged)

    def __call__(self, word: str) -> list[int]:
        if self._whole and word in self._known:
            return [self._known[word]]
        return self._merged(self._letters(word))

    def _letters(self, word: str) -> list[int]:
        ids: list[int] = []
        pending = False  # the last one was unknown
        for place, letter in enumerate(word):
            written = (self._prefix if place else "") + letter + (self._suffix if place == len(word) - 1 else "")
            number = self._known.get(written)
            if number is not None:
                ids.append(number)
            elif self._bytes:
                ids += [self._bytes[byte] for byte in letter.encode("utf-8", "replace")]
            elif self._unknown is not None and not (pending and self._fuses):
                ids.append(self._unknown)
            pending = number is None and not self._bytes
        return ids

    def _merged(self, ids: list[int]) -> list[int]:
        merges, count = self._merges, len(ids)
        before, behind = list(range(-1, count - 1)), list(range(1, count + 1))
        alive = [True] * count
        waiting = [
            (*merges[pair], place) for place in range(count - 1) if (pair := (ids[place], ids[place + 1])) in merges
        ]
        waiting = [(rank, place, number) for rank, number, place in waiting]
        heapq.heapify(waiting)
        while waiting:
            _, place, number = heapq.heappop(waiting)
            right = behind[place] if alive[place] else count
            if right >= count or merges.get((ids[place], ids[right]), (0, -1))[1] != number:
                continue  # one of the two was merged meanwhile
            ids[place], alive[right], behind[place] = number, False, behind[right]
            if behind[place] < count:
                before[behind[place]] = place
            for left in (before[place], place):
                pair = (ids[left], ids[behind[left]]) if left >= 0 and behind[left] < count else (-1, -1)
                if pair in merges:
                    rank, merged = merges[pair]
                    heapq.heappush(waiting, (rank, left, merged))
        return [number for number, there in zip(ids, alive, strict=True) if there]


class Unigrams:
    """The pieces whose probabilities have the greatest product; neighbouring unknown characters are one."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self._known = {piece: number for number, (piece, _) in enumerate(model["vocab"])}
        self._scores = {piece: float(score) for piece, score in model["vocab"]}
        if model.get("unk_id") is None:
            raise Unsupported("TOKENIZER", "has no piece for unknown characters; give another checkpoint")
        self._unknown = int(model["unk_id"])
        self._bytes = _byte_pieces(self._known) if model.get("byte_fallback") else {}
        self._least = min(self._scores.values()) - UNKNOWN_PENALTY
        self._reach: dict[str, int] = {}  # first character -> longest piece that begins so
        for piece in self._known:
            self._reach[piece[:1]] = max(self._reach.get(piece[:1], 0), len(piece))

    def __call__(self, word: str) -> list[int]:
        scores, length = self._scores, len(word)
        best: list[float | None] = [0.0, *([None] * length)]
        starts = [0] * (length + 1)
        unknown = [False] * (length + 1)
        for start in range(length):
            here = best[start]
            if here is None:
                continue
            for end in range(start + 1, min(length, start + self._reach.get(word[start], 0)) + 1):
                score = scores.get(word[start:end])
                if score is not None and (best[end] is None or here + score > best[end]):  # type: ignore[operator]
                    best[end], starts[end], unknown[end] = here + score, start, False
            after, found = best[start + 1], here + self._least
            if word[start] not in scores and (after is None or found > after):
                best[start + 1], starts[start + 1], unknown[start + 1] = found, start, True
        return self._ids(word, starts, unknown)

    def _ids(self, word: str, starts: list[int], unknown: list[bool]) -> list[int]:
        cuts: list[str] = []
        end, joined = len(word), False
        while end > 0:
            piece = word[starts[end] : end]
            if unknown[end] and joined:
                cuts[-1] = piece + cuts[-1]
            else:
                cuts.append(piece)
            joined, end = unknown[end], starts[end]
        ids: list[int] = []
        for piece in reversed(cuts):
            if piece in self._known:
                ids.append(self._known[piece])
            elif self._bytes:
                ids += [self._bytes[byte] for byte in piece.encode("utf-8", "replace")]
            else:
                ids.append(self._unknown)
        return ids


def _byte_pieces(known: Mapping[str, int]) -> dict[int, int]:
    """The pieces that stand for single bytes; none where not all are there."""
    found = {byte: known[f"<0x{byte:02X}>"] for byte in range(256) if f"<0x{byte:02X}>" in known}
    return found if len(found) == 256 else {}  # noqa: PLR2004
