"""When to start timing and when to stop: warm-up until steady, then windows until they agree. Pure, given a clock."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

NOISE_FLOOR = 0.03  # of a ratio; smaller differences are ties (measured: p50 repeats within about 1 % in ABBA blocks)
AGREEMENT = 0.05  # windows whose medians lie this close together are steady
DISAGREEMENT = 0.15  # windows further apart than this say that the machine was not steady
WINDOWS = 10  # of which the seconds allowed are made
FEWEST_WINDOWS = 5
FEWEST_CALLS = 8  # even where the seconds are too few for them
STRETCH = 3.0  # times the seconds allowed, to make the least calls that bound a percentile
STEADY_RUN = 3  # so many windows in a row must agree


@dataclass
class Timings:
    """Milliseconds of every timed call by part, and where each window ends.

    Arrays of doubles rather than lists: the timed process is also weighed.
    """

    decode: array[float] = field(default_factory=lambda: array("d"))
    prepare: array[float] = field(default_factory=lambda: array("d"))
    model: array[float] = field(default_factory=lambda: array("d"))
    answer: array[float] = field(default_factory=lambda: array("d"))
    ends: list[int] = field(default_factory=list)

    def add(self, nanoseconds: Sequence[int]) -> None:
        """One call's nanoseconds by part."""
        self.decode.append(nanoseconds[0] / 1e6)
        self.prepare.append(nanoseconds[1] / 1e6)
        self.model.append(nanoseconds[2] / 1e6)
        self.answer.append(nanoseconds[3] / 1e6)

    def totals(self) -> list[float]:
        """Milliseconds of each call, all parts together."""
        parts = zip(self.decode, self.prepare, self.model, self.answer, strict=True)
        return [sum(call) for call in parts]

    def by_window(self, values: Sequence[float]) -> list[Sequence[float]]:
        """Values of calls, cut at the ends of the windows."""
        starts = [0, *self.ends[:-1]]
        return [values[start:end] for start, end in zip(starts, self.ends, strict=True)]


def warm_up(call: Callable[[], Sequence[int]], clock: Callable[[], float], seconds: float) -> int:
    """Call until two blocks in a row take the same time, or ``seconds`` are over; returns the number of calls.

    A block is a tenth of the seconds, and at least two calls.
    """
    started, calls, before = clock(), 0, 0.0
    while True:
        block: list[int] = []
        block_started = clock()
        while len(block) < 2 or clock() - block_started < seconds / 10:
            block.append(sum(call()))
            calls += 1
            if clock() - started >= seconds:
                return calls
        now = median(block)
        if before and abs(now - before) <= AGREEMENT * before:
            return calls
        before = now


def run_windows(
    call: Callable[[], Sequence[int]],
    clock: Callable[[], float],
    seconds: float,
    *,
    samples: int,
    least_calls: int,
    enough_calls: int,
    tick: Callable[[], None] = lambda: None,
) -> Timings:
    """Time calls in windows of a tenth of ``seconds`` until they are steady and many enough, or time is up.

    Args:
        call: makes one call and returns its nanoseconds by part.
        clock: seconds.
        seconds: for all windows together; exceeded, up to ``STRETCH`` times, only to make ``least_calls`` calls, and
            beyond that only to make ``FEWEST_CALLS``.
        samples: how many different inputs the calls rotate through.
        least_calls: what makes exceeding the seconds worthwhile.
        enough_calls: do not stop early with fewer.
        tick: told after each window.
    """
    timings, started = Timings(), clock()
    while True:
        window_started = clock()
        while True:
            timings.add(call())
            now = clock()
            if now - window_started >= seconds / WINDOWS:
                break
        timings.ends.append(len(timings.model))
        tick()
        calls, windows = len(timings.model), len(timings.ends)
        allowed = seconds if calls >= least_calls else STRETCH * seconds
        if now - started >= allowed and calls >= FEWEST_CALLS:
            return timings
        if windows >= FEWEST_WINDOWS and calls >= enough_calls and spread(timings, samples, STEADY_RUN) <= AGREEMENT:
            return timings


def spread(timings: Timings, samples: int, last: int = 0) -> float:
    """How far the medians of the windows (or the ``last`` few) lie apart, as a share of their median.

    Windows that do not see every sample are compared on the model alone, whose time does not depend on the sample.
    """
    windows = timings.by_window(timings.model)[-last:]
    if len(windows) < 2:
        return 0.0
    if min(len(window) for window in windows) >= samples:
        windows = timings.by_window(timings.totals())[-last:]
    medians = [median(window) for window in windows]
    return (max(medians) - min(medians)) / max(median(medians), 1e-9)
