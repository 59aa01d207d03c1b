"""When training can no longer reach its floor: a conservative rule on the learning curve."""

from __future__ import annotations

EARLIEST_SHARE = 0.5  # of training; the falling learning rate brings most of the gain late
_ERROR_LEFT_AT_HALF = 0.25


def reachable_score(score_high: float, share: float) -> float:
    """The best final score still believed possible, for a score in 0..1 where higher is better.

    Optimistic on purpose: at half of training the error may still shrink to a quarter, later to a share that grows
    linearly to the whole at the end. Trainings with a rate falling to zero typically halve their error in the
    second half. Noise stops nothing, as the
    upper end of the interval is what counts.

    Args:
        score_high: upper end of the interval of the best score so far.
        share: share of training done, 0..1.
    """
    left = _ERROR_LEFT_AT_HALF + (1 - _ERROR_LEFT_AT_HALF) * max(0.0, 2 * share - 1)
    return 1 - (1 - score_high) * left


def is_hopeless(score_high: float, share: float, floor: float) -> bool:
    """True when the floor can no longer be reached; never before half of training."""
    return share >= EARLIEST_SHARE and reachable_score(score_high, share) < floor
