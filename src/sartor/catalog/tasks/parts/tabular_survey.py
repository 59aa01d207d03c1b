"""What many rows of a table show together: kinds of columns, and what is wrong with them. numpy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sartor.catalog.tasks.parts.tabular_cells import category_of, date_of, is_missing, number_of
from sartor.catalog.tasks.parts.tabular_columns import LEFT_OUT, USED, inputs_of, kinds_of
from sartor.errors import DataError
from sartor.types import DataProblem

Array = np.ndarray[Any, np.dtype[Any]]

LEAK = 0.999  # of a single column's AUC or correlation with the truth
MANY_MISSING = 0.5
WRITTEN_AS_TEXT = 0.05
SKEW = 5.0
FAR_IQRS = 10.0  # interquartile ranges beyond the quartiles
LEAST_ROWS = 30  # fewer rows show nothing about a column and the truth
SHOWN = 8


def survey_rows(rows: Iterator[Mapping[str, Any]], truths: Array, classes: bool) -> dict[str, Any]:
    """Facts ``columns`` (name to kind in words), ``inputs`` (numbers in a prepared row) and ``problems``.

    Raises:
        DataError: no column can be used.
    """
    seen = list(rows)
    kinds = kinds_of(seen)
    if not any(kind in USED for kind in kinds.values()):
        found = ", ".join(f"{name} ({LEFT_OUT[kind]})" for name, kind in list(kinds.items())[:SHOWN])
        raise DataError(f"no column can be used: {found}; numbers, categories, flags and dates can")
    answers = np.asarray(truths, np.float64)
    cells = {name: [row.get(name) for row in seen] for name in kinds}
    problems = [*_left_out(kinds), *_cells_problems(kinds, cells), *_leaks(kinds, cells, answers, classes)]
    if not classes:
        problems += _truth_problems(answers)
    words = {name: _worded(kind, cells[name]) for name, kind in kinds.items()}
    return {"columns": words, "inputs": inputs_of(kinds.values()), "problems": problems}


def _worded(kind: str, cells: Sequence[Any]) -> str:
    if kind in LEFT_OUT:
        return f"left out: {LEFT_OUT[kind]}"
    missing = sum(map(is_missing, cells)) / max(len(cells), 1)
    lacking = f", {missing:.0%} missing" if missing >= 0.005 else ""
    if kind in ("category", "code"):
        count = len({category_of(cell) for cell in cells if not is_missing(cell)})
        return f"{'category' if kind == 'category' else 'category (number code)'} of {count}{lacking}"
    return f"{'yes or no' if kind == 'flag' else kind}{lacking}"


def _problem(code: str, names: Sequence[str], sentence: str) -> list[DataProblem]:
    """Columns with the same trouble, as one problem."""
    columns = f"{len(names)} column{'s' if len(names) > 1 else ''}"
    return [DataProblem(code, "train", len(names), f"{columns} {sentence}", tuple(names[:SHOWN]))] if names else []


def _left_out(kinds: Mapping[str, str]) -> list[DataProblem]:
    def named(kind: str) -> list[str]:
        return [name for name, found in kinds.items() if found == kind]

    return [
        *_problem("CONSTANT_COLUMN", named("constant"), "left out: the same value in every row seen"),
        *_problem("EMPTY_COLUMN", named("empty"), "left out: no value in any row seen"),
        *_problem("NAME_COLUMN", named("name"), "left out: too many different values, as names and row numbers have"),
        *_problem("TEXT_COLUMN", named("text"), "left out: free text, which this task does not read"),
    ]


def _cells_problems(kinds: Mapping[str, str], cells: Mapping[str, Sequence[Any]]) -> list[DataProblem]:
    lacking, written, mixed = [], [], []
    for name, kind in kinds.items():
        if kind not in USED:
            continue
        present = [cell for cell in cells[name] if not is_missing(cell)]
        missing = 1 - len(present) / len(cells[name])
        if missing > MANY_MISSING:
            lacking.append(f"{name}: {missing:.0%}")
        if kind == "number":
            numbers = [cell for cell in present if number_of(cell) is not None]
            texts = sum(isinstance(cell, str) for cell in numbers)
            if texts > WRITTEN_AS_TEXT * len(present):
                written.append(f"{name}: {next(cell for cell in numbers if isinstance(cell, str))!r}")
            other = [cell for cell in present if number_of(cell) is None]
        elif kind == "date":
            other = [cell for cell in present if date_of(cell) is None]
        else:
            other = []
        if other:
            mixed.append(f"{name}: {other[0]!r:.40}")
    return [
        *_problem("MANY_MISSING", lacking, "with more than half of the values missing"),
        *_problem("NUMBERS_AS_TEXT", written, "with numbers written as text; they were read as numbers"),
        *_problem("MIXED_COLUMN", mixed, "with values of another kind here and there; those count as missing"),
    ]


def _leaks(
    kinds: Mapping[str, str], cells: Mapping[str, Sequence[Any]], truths: Array, classes: bool
) -> list[DataProblem]:
    """Columns that alone give the truth away."""
    if len(truths) < LEAST_ROWS:
        return []
    found = []
    for name, kind in kinds.items():
        if kind in ("number", "flag", "code"):
            values = np.array([np.nan if (number := number_of(cell)) is None else number for cell in cells[name]])
            strength, of = _strength(values, truths, classes), "AUC" if classes else "correlation"
        elif kind == "category":
            strength, of = _agreement(cells[name], truths, classes), "agreement"
        else:
            continue
        if strength > LEAK:
            found.append(f"{name}: {of} {strength:.4f}")
    return _problem(
        "TELLS_THE_TRUTH",
        found,
        "enough to give the answer nearly without error; leave out what is not known when predicting (data.ignore)",
    )


def _strength(values: Array, truths: Array, classes: bool) -> float:
    """The largest one-against-rest AUC (either way round) of a column, or its rank correlation with the truth."""
    known = np.isfinite(values)
    if known.mean() < 0.9:
        return 0.0
    ranks, truths = mid_ranks(values[known]), truths[known]
    if not classes:
        right = mid_ranks(truths)
        if ranks.std() == 0 or right.std() == 0:
            return 0.0
        linear = np.corrcoef(values[known], truths)[0, 1]
        return float(max(abs(linear), abs(np.corrcoef(ranks, right)[0, 1])))
    best = 0.0
    for answer in np.unique(truths):
        chosen = truths == answer
        if 5 <= chosen.sum() <= len(truths) - 5:
            area = (ranks[chosen].mean() - (chosen.sum() + 1) / 2) / (~chosen).sum()
            best = max(best, area, 1 - area)
    return float(best)


def _agreement(cells: Sequence[Any], truths: Array, classes: bool) -> float:
    """Share of rows whose category is only met with their class, for categories that are met often."""
    if not classes or len(np.unique(truths)) < 2:
        return 0.0
    groups: dict[str, list[float]] = {}
    for cell, truth in zip(cells, truths, strict=True):
        groups.setdefault(category_of(cell), []).append(float(truth))
    if len(groups) > 0.1 * len(truths):
        return 0.0
    return sum(max(map(answers.count, set(answers))) for answers in groups.values()) / len(truths)


def _truth_problems(truths: Array) -> list[DataProblem]:
    if len(truths) < LEAST_ROWS or truths.std() == 0:
        return []
    low, middle, high = np.quantile(truths, [0.25, 0.5, 0.75])
    far = np.abs(truths - middle) > FAR_IQRS * max(high - low, 1e-12 * max(abs(middle), 1e-30))
    problems = []
    if 0 < far.mean() < 0.02:
        extreme = truths[far][np.argsort(-np.abs(truths[far] - middle))][:5]
        sentence = (
            f"{int(far.sum())} of {len(truths)} truths lie more than {FAR_IQRS:g} interquartile ranges from the "
            "median; they weigh most in RMSE, make sure they are right"
        )
        problems.append(DataProblem("FAR_TRUTH", "train", int(far.sum()), sentence, tuple(f"{x:g}" for x in extreme)))
    skew = float((((truths - truths.mean()) / truths.std()) ** 3).mean())
    if abs(skew) > SKEW:
        sentence = f"truths are very uneven (skewness {skew:.1f}); RMSE then speaks of the largest, look at MAE as well"
        problems.append(DataProblem("SKEWED_TRUTH", "train", 1, sentence))
    return problems


def mid_ranks(values: Array) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(values)])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
    return ranks
