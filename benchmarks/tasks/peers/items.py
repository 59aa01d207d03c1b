"""What recommenders have in common: histories by number, lists from scores, the choice on validation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

LISTED = 100  # items that are judged; ten are shown
Array = np.ndarray[Any, np.dtype[Any]]
Scores = Callable[[Sequence[int], str], Array]  # a history by number, and whose it is -> (items,) scores


class Met:
    """Train and validation as every recommender sees them."""

    def __init__(self, given: Any) -> None:
        self.names = given.labels
        self.number = {name: place for place, name in enumerate(self.names)}
        train = [read(raw, self.number) for raw in given.raws("train")]
        self.histories, self.users = [history for history, _ in train], [user for _, user in train]
        found = zip(given.raws("validation"), given.truths("validation"), strict=True)
        self.validation = [
            (*read(raw, self.number), [self.number[item] for item in json.loads(truth)["items"] if item in self.number])
            for raw, truth in found
        ]

    @property
    def matrix(self) -> Any:
        """(users, items) sparse float32, 1 where met in train."""
        from scipy.sparse import csr_matrix

        ends = np.cumsum([0, *(len(history) for history in self.histories)])
        columns = np.concatenate([np.array(history, np.int64) for history in self.histories])
        shape = (len(self.histories), len(self.names))
        matrix = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def ndcg(self, scores: Scores) -> float:
        """NDCG@10 on validation, where every user has one item, or none that train knows."""
        total = 0.0
        for history, user, wanted in self.validation:
            if wanted:
                found = np.array(scores(history, user), np.float32)
                found[history] = -np.inf
                rank = int((found > found[wanted[0]]).sum())
                total += 1 / np.log2(rank + 2) if rank < 10 else 0.0
        return total / max(1, len(self.validation))

    def choose(self, given: Any, offered: Iterator[tuple[str, Scores, Any]]) -> tuple[str, Any, int]:
        """Name and parts of the best on validation of those that there was time for, and how many these were."""
        best: tuple[float, str, Any] | None = None
        tried = 0
        for name, scores, parts in offered:
            value = self.ndcg(scores)
            tried += 1
            if best is None or value > best[0]:
                best = (value, name, parts)
            if given.over:
                break
        if best is None:
            raise ValueError("nothing was tried")
        return best[1], best[2], tried


def read(raw: bytes, number: Mapping[str, int]) -> tuple[list[int], str]:
    """A request's history by number, without items that train does not know, and its user."""
    request = json.loads(raw)
    names = [entry if isinstance(entry, str) else entry[0] for entry in request["history"]]
    return [number[name] for name in names if name in number], str(request.get("user", ""))


def listing(scores: Scores, names: Sequence[str]) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """From bytes to ten titles, as a service would: parse, score, leave out what was met, sort the head."""
    number = {name: place for place, name in enumerate(names)}
    listed = min(LISTED, len(names) - 1)

    def best(raw: bytes) -> Array:
        history, user = read(raw, number)
        found = np.array(scores(history, user), np.float32)
        found[history] = -1e9
        places = np.argpartition(-found, listed)[:listed]
        places = places[np.argsort(-found[places], kind="stable")]
        return np.stack([places.astype(np.float32), found[places]], 1)

    def answer(raw: bytes) -> Any:
        return [names[int(place)] for place, _ in best(raw)[:10]]

    return answer, lambda raws: np.stack([best(raw) for raw in raws])
