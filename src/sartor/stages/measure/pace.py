"""How fast the processor runs right now: the witness against throttling and neighbours that no counter shows.

A fixed loop of plain Python repeats within 1 % on a quiet core; it was measured at 1.7 times that for seconds on end,
on a virtual machine whose counters showed neither foreign load nor stolen time. Models slowed down alike.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns

from sartor.storage import write_text

SLOWED = 1.15  # times the usual pace; beyond that timings are noisy
_STEPS = 5000  # a fifth of a millisecond
_KEPT = 40  # paces that say what is usual


def pace_ns() -> int:
    """Nanoseconds of the fixed loop, the best of three."""
    return min(_loop_ns() for _ in range(3))


def _loop_ns() -> int:
    started = perf_counter_ns()
    total = 0
    for step in range(_STEPS):
        total += step * step
    return perf_counter_ns() - started


def usual_pace(earlier: Sequence[float]) -> float:
    """The lower quartile: what the machine does when left alone, as long as it is so a quarter of the time.

    Not the best ever seen, as a processor that boosts for seconds and then settles would look slow for ever.
    """
    ordered = sorted(earlier)
    return ordered[(len(ordered) - 1) // 4]


def remember_pace(path: Path, device: str, pace: float) -> float:
    """Add a pace to what is known of this device with this Python, in a small file; returns the usual one."""
    key = f"{device} {platform.python_version()}"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        earlier = [float(value) for value in known.get(key, [])]
    except (OSError, ValueError, TypeError, AttributeError):  # lost or damaged, it is learnt again
        known, earlier = {}, []
    earlier = [*earlier, pace][-_KEPT:]
    write_text(path, json.dumps({**known, key: earlier}))
    return usual_pace(earlier)
