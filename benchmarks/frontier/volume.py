"""What a set of points covers of (metric, time, bytes), and whether one set leaves nothing to another. Pure arithmetic.

A point is what a compressed form saves of its fp32 parent, three numbers between 0 (the reference point) and 1:

    metric  1 - loss / ALLOWED     loss relative to the parent's metric: 1 where nothing is lost, 0 where 10 % are
    time    1 - p95 / parent's p95
    bytes   1 - bytes / parent's bytes

The hypervolume of a side is the volume of the union of the boxes between the reference point and each of its points:
"size of the space covered" of Zitzler and Thiele 1999, "Multiobjective evolutionary algorithms: a comparative case
study and the strength Pareto approach", IEEE Transactions on Evolutionary Computation 3(4), section IV. What is no
better than the reference point in one of the three covers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

ALLOWED = 0.10  # of the parent's metric: where the reference point lies

Point = tuple[float, ...]


def saved(loss: float, time: float, size: float) -> Point:
    """The point of a form; above 1 where it beats its parent's metric.

    Args:
        loss: of the metric, relative to the parent's, positive when worse.
        time: p95 as a share of the parent's.
        size: bytes as a share of the parent's.
    """
    return (1 - loss / ALLOWED, 1 - time, 1 - size)


def hypervolume(points: Sequence[Point]) -> float:
    """The volume of the union of boxes from the origin to each point.

    By slices along the last axis (While et al. 2006, "A faster algorithm for calculating hypervolume", IEEE
    Transactions on Evolutionary Computation 10(1)): exponential in the axes, of which there are three.
    """
    return _sliced([point for point in points if min(point) > 0])


def _sliced(boxes: Sequence[Point]) -> float:
    if not boxes:
        return 0.0
    if len(boxes[0]) == 1:
        return max(box[0] for box in boxes)
    total = below = 0.0
    for edge in sorted({box[-1] for box in boxes}):
        total += (edge - below) * _sliced([box[:-1] for box in boxes if box[-1] >= edge])
        below = edge
    return total


def covers(ours: Point, theirs: Point) -> bool:
    """``ours`` is no worse in any of the three: it weakly dominates ``theirs``.

    Zitzler et al. 2003, "Performance assessment of multiobjective optimizers", IEEE Transactions on Evolutionary
    Computation 7(2), table I; a set does so when each point of the other is weakly dominated by one of its own.
    """
    return all(mine >= other for mine, other in zip(ours, theirs, strict=True))
