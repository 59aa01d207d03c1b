"""Quality of answered numbers: values with intervals, where the errors lie, and what a person looks at. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.metrics import Metric
from sartor.types import Chart, Line, Table

Array = np.ndarray[Any, np.dtype[Any]]

METRICS = (
    Metric("rmse", "", "lower", "quality", "RMSE"),
    Metric("mae", "", "lower", "quality", "MAE"),
    Metric("r2", "", "higher", "quality", "R²"),
    Metric("mdape", "", "lower", "quality", "median relative error"),
)
"""Of answered numbers, in the unit of the truths (R² and the relative error without one); the first is primary."""

RESAMPLES = 300
WORST = 100
RANGES = 10
GAP_LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def regression_scores(outputs: Array, truths: Array, confidence: float) -> Scores:
    """Judge numbers (n, 1) against truths (n,).

    RMSE, MAE and R² get a percentile bootstrap over samples (seeded, so that the same outputs always give the same
    interval), the median relative error (of truths that are not zero) the exact one of order statistics.
    """
    answers, truths = np.asarray(outputs, np.float64).reshape(-1), np.asarray(truths, np.float64)
    gaps = answers - truths
    squares = gaps**2
    centred = truths - truths.mean()  # R² does not mind, and sums of squares keep their digits
    sums = np.stack([squares, np.abs(gaps), centred, centred**2])  # (4, n)
    drawn = _resampled(sums)
    values = {
        "rmse": _interval(_rmse(sums.mean(axis=1)), _rmse(drawn), confidence),
        "mae": _interval(float(sums[1].mean()), drawn[1], confidence),
    }
    if len(truths) > 1 and centred.any():
        values["r2"] = _interval(_r2(sums.mean(axis=1)), _r2(drawn), confidence)
    if (truths != 0).any():
        values["mdape"] = _median_interval(np.abs(gaps[truths != 0] / truths[truths != 0]), confidence)

    def resample(chosen: Array) -> float:
        return float(np.sqrt(squares[chosen].mean()))

    worst = tuple(int(number) for number in np.argsort(-squares, kind="stable")[:WORST])
    charts, table = _charts(answers, truths), _table(answers, truths)
    return Scores(values, -squares, {}, worst=worst, resample=resample, charts=charts, tables=table)


def _resampled(sums: Array) -> Array:
    """(4, draws): means over samples drawn with repetition."""
    generator, n = np.random.default_rng(0), sums.shape[1]
    means = np.empty((len(sums), RESAMPLES))
    for draw in range(RESAMPLES):
        counts = np.bincount(generator.integers(0, n, n), minlength=n)
        means[:, draw] = sums @ counts / n
    return means


def _rmse(means: Array) -> Any:
    return np.sqrt(means[0])


def _r2(means: Array) -> Any:
    spread = np.maximum(means[3] - means[2] ** 2, 1e-300)
    return 1 - means[0] / spread


def _interval(value: Any, drawn: Array, confidence: float) -> tuple[float, float, float]:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(value), min(float(value), float(low)), max(float(value), float(high))


def _median_interval(errors: Array, confidence: float) -> tuple[float, float, float]:
    from sartor.intervals import percentile

    ordered = np.sort(errors)
    value, low, high = percentile(ordered.tolist(), 0.5, confidence)
    return float(value), float(low), float(ordered[-1] if high is None else high)


def _ranges(answers: Array) -> list[Array]:
    """Samples by answer, in up to ten groups of equal size."""
    order = np.argsort(answers, kind="stable")
    return [group for group in np.array_split(order, min(RANGES, len(order))) if len(group)]


def _charts(answers: Array, truths: Array) -> tuple[Chart, ...]:
    groups = _ranges(answers)
    middle = [float(answers[group].mean()) for group in groups]

    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name, tuple(middle), tuple(float(value) for value in values))

    spread = [np.quantile(truths[group], [0.1, 0.9]) for group in groups]
    calibration = Chart(
        "Truth over answer",
        "answer",
        "truth",
        (
            line("mean truth", [float(truths[group].mean()) for group in groups]),
            line("a tenth lies below", [low for low, _ in spread]),
            line("a tenth lies above", [high for _, high in spread]),
            line("exact", middle),
        ),
        "each point holds a tenth of the samples; the mean truth should follow the line of exact answers",
    )
    levels = np.linspace(0, 1, 51)
    gaps = np.quantile(np.abs(answers - truths), levels)
    errors = Chart(
        "How far off",
        "share of samples",
        "error up to",
        (Line("absolute error", tuple(map(float, levels)), tuple(map(float, gaps))),),
        "so many samples are answered with at most this error",
    )
    return calibration, errors


def _table(answers: Array, truths: Array) -> tuple[Table, ...]:
    rows = []
    order = np.argsort(truths, kind="stable")
    for group in np.array_split(order, min(4, len(order))):
        gaps = answers[group] - truths[group]
        span = f"{number_text(truths[group].min())} … {number_text(truths[group].max())}"
        found = (np.sqrt((gaps**2).mean()), np.abs(gaps).mean(), gaps.mean())
        rows.append((span, str(len(group)), *(number_text(value) for value in found)))
    columns = ("truth", "samples", "RMSE", "MAE", "mean error")
    return (Table("Errors by size of the truth", columns, tuple(rows), "a mean error above 0: answered too high"),)


def number_text(value: float) -> str:
    """A number for people: four digits, more where it is large."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
