"""Lists of recommendations as shares: a softmax of the scores of what is listed. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor.catalog.tasks.parts.recommendation_scores import MASKED
from sartor.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

SAID = 5  # items that a note names


def pairs(numbers: Array, shares: Array) -> list[tuple[int, float]]:
    """Number and share of each, for dictionaries and answers."""
    return list(zip(numbers.tolist(), shares.tolist(), strict=True))


def shares(output: Array, first: int | None = None) -> tuple[Array, Array]:
    """Numbers of the listed items (those met before left out) and their shares, by softmax of the scores.

    ``first``: of so many alone; a share is still one of all that are listed.

    Raises:
        DataError: the output is not finite.
    """
    return _softmax(output, output[:, 0] >= 0, first)


def new_shares(output: Array, first: int | None = None) -> tuple[Array, Array]:
    """The same of the list of items that train lacks."""
    if output[:, 0].min() >= 0:  # there are none: most catalogues, and every call waits for its answer
        return np.zeros(0, np.int64), np.zeros(0)
    numbers, found = _softmax(output, output[:, 0] < 0, first)
    return -1 - numbers, found


def _softmax(output: Array, rows: Array, first: int | None) -> tuple[Array, Array]:
    if not np.isfinite(output).all():
        raise DataError("the model's output is not finite for this input, so there is no answer")
    listed = output[rows & (output[:, 1] > MASKED)]
    scores = listed[:, 1].astype(np.float64)
    powers = np.exp(scores - scores.max(initial=-np.inf))
    return listed[:first, 0].astype(np.int64), powers[:first] / powers.sum()


def noted(new: Sequence[str], unknown: Sequence[str]) -> str:
    """What an answer says beside its list; empty where there is nothing to say."""
    best, missed = ", ".join(new[:SAID]), ", ".join(unknown[:SAID]) + (" …" if len(unknown) > SAID else "")
    if new and unknown:
        return f"best of the new items: {best}; not known and left out: {missed}"
    if new:
        return f"best of the new items: {best}"
    return f"not known and left out: {missed}" if unknown else ""


def share_of(output: Array, item: int) -> float:
    """The share of one item; 0 where it is not listed."""
    numbers, found = shares(output)
    return float(found[numbers == item].sum())
