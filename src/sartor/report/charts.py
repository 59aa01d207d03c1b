"""Shapes of the quiet pictures: confusion, training curves, the run's time. Places are percent of the drawing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sartor.language import say
from sartor.language.layout import width
from sartor.metrics import Metric
from sartor.report.figures import duration, plain
from sartor.types import Epoch, Insight, Step

MOST_CLASSES = 30
"""Rows of a confusion matrix that can still be read; beyond, those with most errors are shown."""
MOST_POINTS = 60
MOST_NAMES = 8
PAUSE_S = 20.0
RESOLUTION = 5e-4  # the smallest error a halving axis tells apart


# ---------------------------------------------------------------------------------------------- confusion


@dataclass(frozen=True)
class Cell:
    """A count at (row, column); ``share`` of its row, in percent; ``right`` on the diagonal."""

    row: int
    column: int
    count: int
    share: float
    right: bool


@dataclass(frozen=True)
class Confusion:
    """Cells that are not empty, the labels in order, and the pairs most often confused (truth, answer, count)."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    pairs: tuple[tuple[str, str, int], ...]
    left_out: int
    room: int  # for labels, in the drawing's units of 400


def confusion(insight: Insight, labels: Sequence[str]) -> Confusion | None:
    """The confusion matrix, or None where there is none."""
    matrix = insight.confusion
    if not matrix or len(matrix) != len(labels):
        return None
    errors = [sum(row) - row[place] for place, row in enumerate(matrix)]
    errors = [mistakes + sum(row[place] for row in matrix) for place, mistakes in enumerate(errors)]
    kept = sorted(sorted(range(len(labels)), key=lambda place: -errors[place])[:MOST_CLASSES])
    cells = []
    for row, truth in enumerate(kept):
        total = sum(matrix[truth]) or 1
        for column, answer in enumerate(kept):
            count = matrix[truth][answer]
            if count:
                cells.append(Cell(row, column, count, round(100 * count / total, 1), truth == answer))
    wrong = [
        (labels[truth], labels[answer], count)
        for truth, row in enumerate(matrix)
        for answer, count in enumerate(row)
        if truth != answer and count
    ]
    wrong.sort(key=lambda pair: -pair[2])
    names = tuple(labels[place] for place in kept)
    pairs = tuple(wrong[: 8 if wrong and wrong[0][2] > 1 else 5])
    room = 16 + round(5.6 * min(12, max(width(name) for name in names)))
    return Confusion(names, tuple(cells), pairs, len(labels) - len(kept), room)


# ---------------------------------------------------------------------------------------------- training curves


@dataclass(frozen=True)
class Curve:
    """One network's scores over seconds as an SVG path in a 100 × 100 drawing; ``name_at`` is None where crowded."""

    network: str
    path: str
    last: str
    seconds: str
    chosen: bool
    end: tuple[float, float]
    name_at: float | None


@dataclass(frozen=True)
class Curves:
    """All curves with their axes; ticks are (percent from the left or the top, words)."""

    curves: tuple[Curve, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    limit_at: float | None
    halving: bool


def curves(
    run_curves: Mapping[str, Sequence[Epoch]], metric: Metric, chosen: str, limit: float | None
) -> Curves | None:
    """Scores on validation over training seconds. Bounded scores stand on an axis whose steps divide the error."""
    scored = {
        name: [(row.seconds, row.score) for row in rows if row.score is not None] for name, rows in run_curves.items()
    }
    scored = {name: rows for name, rows in scored.items() if rows}
    if not scored:
        return None
    halving = metric.bounded and metric.direction == "higher"

    def height(value: float) -> float:
        return -math.log(max(RESOLUTION, 1 - value)) if halving else value

    longest = max(seconds for rows in scored.values() for seconds, _ in rows) or 1.0
    every = [height(score) for rows in scored.values() for _, score in rows]
    every += [height(limit)] if limit is not None else []
    low, high = min(every), max(every)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high + 0.06 * (high - low))

    def place(seconds: float, score: float) -> tuple[float, float]:
        return round(100 * seconds / longest, 2), round(100 * (1 - (height(score) - low) / (high - low)), 2)

    drawn = []
    for name, rows in sorted(scored.items(), key=lambda item: -item[1][-1][1]):
        stride = max(1, math.ceil(len(rows) / MOST_POINTS))
        kept = [*rows[:-1:stride], rows[-1]]
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in (place(*row) for row in kept))
        end = place(*rows[-1])
        drawn.append(Curve(name, path, f"{rows[-1][1]:.3f}", duration(rows[-1][0]), name == chosen, end, None))
    named = _spread_names(drawn)
    levels = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995) if halving else round_levels(low, high)
    up = [(place(0, level)[1], plain(level)) for level in levels if low <= height(level) <= high]
    across = [(round(100 * second / longest, 2), duration(second)) for second in round_levels(0, longest)]
    limit_at = place(0, limit)[1] if limit is not None else None
    return Curves(tuple(named), tuple(across), tuple(up), limit_at, halving)


def _spread_names(drawn: Sequence[Curve]) -> list[Curve]:
    """Give the best few (and the chosen) a name beside their end, moved apart so that names do not overlap."""
    gap = 6.5  # percent of the height that one line of text takes
    named = sorted(
        (curve for place, curve in enumerate(drawn) if place < MOST_NAMES or curve.chosen), key=lambda c: c.end[1]
    )
    spots: dict[str, float] = {}
    below = -gap
    for curve in named:
        below = max(curve.end[1], below + gap)
        spots[curve.network] = below
    overflow = max(0.0, below - 97)
    above = 100.0 + gap
    for curve in reversed(named if overflow else ()):
        spots[curve.network] = above = min(spots[curve.network], above - gap, 97)
    result = [replace(c, name_at=round(spots[c.network], 2) if c.network in spots else None) for c in drawn]
    return sorted(result, key=lambda c: c.chosen)  # the chosen one is drawn last, on top


def round_levels(low: float, high: float) -> list[float]:
    """About five round numbers between two."""
    rough = (high - low) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(count * step, 9) for count in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


# ---------------------------------------------------------------------------------------------- where the time went


@dataclass(frozen=True)
class Lane:
    """One action over the run: marks as an SVG path in a 100 × 1 drawing, and its sums."""

    action: str
    done: str
    troubled: str
    reused: str
    share: float
    words: str
    time: str


def lanes(steps: Sequence[Step]) -> tuple[Lane, ...]:
    """A lane per action, in the order of their first step; pauses of a continued run are left out."""
    steps = without_pauses(steps)
    whole = max((step.started + step.seconds for step in steps), default=0.0) or 1.0
    total = sum(step.seconds for step in steps if not step.reused) or 1.0
    groups: dict[str, list[Step]] = defaultdict(list)
    for step in sorted(steps, key=lambda item: item.started):
        groups[step.action].append(step)
    result = []
    for action, items in groups.items():
        spent = sum(step.seconds for step in items if not step.reused)
        done, troubled = (
            "".join(_block(step, whole) for step in items if not step.reused and (step.outcome == "done") is fine)
            for fine in (True, False)
        )
        reused = "".join(_block(step, whole, 0.12) for step in items if step.reused)
        time = duration(spent) if spent else "–"
        result.append(Lane(action, done, troubled, reused, 100 * spent / total, _lane_words(items), time))
    return tuple(result)


def without_pauses(steps: Sequence[Step]) -> list[Step]:
    """The steps in order, moved together wherever nothing was done for longer than ``PAUSE_S``."""
    moved, end, pause = [], 0.0, 0.0
    for step in sorted(steps, key=lambda item: item.started):
        idle = step.started - end
        pause += idle if idle > PAUSE_S else 0.0
        end = max(end, step.started + step.seconds)
        moved.append(replace(step, started=step.started - pause))
    return moved


def _block(step: Step, whole: float, fixed: float = 0.0) -> str:
    across = fixed or max(100 * step.seconds / whole, 0.15)
    return f"M{100 * step.started / whole:.2f} 0h{across:.2f}v1h-{across:.2f}z"


def _lane_words(items: Sequence[Step]) -> str:
    fresh = [step for step in items if not step.reused]
    words = [say("{count} done", count=len(fresh))] if fresh else []
    trouble = sum(step.outcome != "done" for step in fresh)
    words += [say("{count} of them refused or failed", count=trouble)] if trouble else []
    reused = len(items) - len(fresh)
    return say(", ").join(words + ([say("{count} reused", count=reused)] if reused else []))
