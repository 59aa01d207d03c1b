"""What tasks that answer with one number do alike: the answer in words, how it is judged, how two are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.catalog.tasks.parts.regression_margins import margins_of, range_of
from sartor.catalog.tasks.parts.regression_scores import number_text, regression_scores
from sartor.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sartor.catalog.contracts import Array, Truths
    from sartor.types import Pipeline


def answer(output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
    """``label``: the number in words; ``value``: the number itself.

    Where validation showed it, ``low``, ``high`` and, in words, ``range``: where a share ``within`` of cases lies.
    """
    value = float(output[0])
    if not -float("inf") < value < float("inf"):
        raise DataError("the model's output is not finite for this input, so there is no answer")
    answer = {"label": number_text(value), "value": value}
    around = range_of(value, pipeline.options)
    if around is None:
        return answer
    low, high = around
    words = f"{number_text(low)} … {number_text(high)}"
    return {**answer, "range": words, "low": low, "high": high, "within": float(pipeline.options["within"])}


def margins(outputs: Array, truths: Truths) -> Mapping[str, Any]:
    """How far answers are off on validation, by their size."""
    return margins_of(outputs, np.asarray(truths))


def score(outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
    """See :func:`_regression_scores.regression_scores`."""
    return regression_scores(outputs, np.asarray(truths), confidence)


def wrong(output: Array, truth: Any) -> Array:
    """Ten times its size off: an answer that nobody would take for one."""
    return np.full_like(output, float(truth) + 10 * max(abs(float(truth)), 1.0))


def difference(now: Array, then: Array) -> float:
    """Relative to the larger of both, or to 1 where both are smaller."""
    size = max(1.0, float(np.abs(now).max(initial=0.0)), float(np.abs(then).max(initial=0.0)))
    difference = float(np.abs(now.astype(np.float64) - then.astype(np.float64)).max(initial=0.0)) / size
    return difference if difference == difference else float("inf")
