"""How far an answered number may be off, from the errors on validation, and the range around an answer. numpy only.

Split conformal prediction: of new rows drawn as those of validation were, at least the share ``WITHIN`` lies in its
range. Answers are parted by their size first, as errors often grow with it (Boström and Johansson 2020, "Mondrian
conformal regressors", PMLR 128). Validation has also chosen the model, so the share may be a little lower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

WITHIN = 0.95
LEAST_ROWS = math.ceil(WITHIN / (1 - WITHIN) - 1e-9)  # with fewer, no error seen bounds that share of the next ones
ROWS_OF_A_PART = 100
MOST_PARTS = 10


def margins_of(outputs: Array, truths: Array) -> dict[str, Any]:
    """Options ``edges`` (answers at which the next part begins), ``margins`` (one more) and ``within``.

    Args:
        outputs: (n, 1) of the shipped file on validation.
        truths: (n,).

    Returns:
        Nothing where there are too few rows to bound the error.
    """
    answers = np.asarray(outputs, np.float64).reshape(-1)
    errors = np.abs(answers - np.asarray(truths, np.float64))
    known = np.isfinite(errors)
    answers, errors = answers[known], errors[known]
    if len(errors) < LEAST_ROWS:
        return {}
    edges = _edges(np.sort(answers))
    parts = np.searchsorted(edges, answers, side="right")
    margins = [_bound(errors[parts == part]) for part in range(len(edges) + 1)]
    return {"edges": edges, "margins": margins, "within": WITHIN}


def range_of(value: float, options: Mapping[str, Any]) -> tuple[float, float] | None:
    """The range around an answer; None where the options hold no margins."""
    margins = options.get("margins")
    if not margins:
        return None
    part = sum(value >= edge for edge in options["edges"])
    return value - margins[part], value + margins[part]


def _edges(ordered: Array) -> list[float]:
    """Answers that part the ordered ones into up to ten groups of about equal size, each large enough."""
    count = min(MOST_PARTS, len(ordered) // ROWS_OF_A_PART)
    edges: list[float] = []
    begun = 0
    for number in range(1, count):
        edge = ordered[number * len(ordered) // count]
        start = int(np.searchsorted(ordered, edge))  # equal answers stay together
        if min(start - begun, len(ordered) - start) >= ROWS_OF_A_PART // 2:
            edges.append(float(edge))
            begun = start
    return edges


def _bound(errors: Array) -> float:
    """The smallest error that is no smaller than a share ``WITHIN`` of them and of one more."""
    rank = math.ceil((len(errors) + 1) * WITHIN - 1e-9)
    return float(np.sort(errors)[rank - 1])
