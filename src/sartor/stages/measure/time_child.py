"""The process that is timed and weighed: one live runtime, from its start to its last call.

Run as ``python -m sartor.stages.measure.time_child FOLDER``. FOLDER holds ``request.json``, ``package/`` (a pipeline
and its model) and ``samples.bin``; the timings go to ``timings.f64``: doubles, milliseconds, all decodes first, then
all prepares and so on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

from sartor.cpu_load import autogroups, load_between, read_cpu_times
from sartor.energy import Meter
from sartor.pipeline import Predictor
from sartor.stages.measure.child import Say, answer, peak_memory_bytes
from sartor.stages.measure.pace import pace_ns
from sartor.stages.measure.windows import Timings, run_windows, spread, warm_up

_SHARE_OF_WARM_UP = 0.5  # of the seconds for the windows


def work(folder: Path, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Cold start, warm-up, windows; every number about this very process."""
    at_start = read_cpu_times()
    load_started = time.monotonic()
    predictor = Predictor(folder / "package")
    loaded = time.monotonic()
    say("loaded")
    inputs = _inputs(folder / "samples.bin", request["samples"], predictor.pipeline.batch)
    predictor.timed_batch(next(inputs))
    cold_start_ms = (time.monotonic() - request["started"]) * 1e3
    say("answered")

    def call() -> Sequence[int]:
        raws = next(inputs)  # read before the clock starts: the call begins with the bytes in hand
        return predictor.timed_batch(raws)[1]

    seconds, samples = request["seconds"], len(request["samples"]) // predictor.pipeline.batch
    warm_up_calls = warm_up(call, time.perf_counter, seconds * _SHARE_OF_WARM_UP)
    say("warm")
    paces: list[int] = []
    meter, joules = Meter(), list[float]()

    def between_windows() -> None:
        joules.append(meter.joules())
        say("window")
        paces.append(pace_ns())
        meter.restart()

    before = read_cpu_times()
    meter.restart()
    timings = run_windows(
        call,
        time.perf_counter,
        seconds,
        samples=samples,
        least_calls=request["least_calls"],
        enough_calls=request["enough_calls"],
        tick=between_windows,
    )
    after = read_cpu_times()
    peak = peak_memory_bytes()
    cores = os.cpu_count() or 1
    _write(folder / "timings.f64", timings)
    return {
        "cold_start_ms": cold_start_ms,
        "load_ms": (loaded - load_started) * 1e3,
        "warm_up_calls": warm_up_calls,
        "ends": timings.ends,
        "spread": spread(timings, samples),
        "last_spread": spread(timings, samples, 3),
        "load_at_start": asdict(load_between(at_start, before, cores)),
        "load": asdict(load_between(before, after, cores)),
        "pace_ns": fmean(paces),
        "joules": joules if meter else [],
        "autogroups": autogroups(),
        "peak_memory_bytes": peak,
        "runtime_version": predictor.session.version,
        # Last, because asking may load the model once more.
        "effective_precision": predictor.session.effective_precision,
    }


def _inputs(path: Path, samples: Sequence[Sequence[int]], batch: int) -> Iterator[list[bytes]]:
    """Batches of raw inputs, around and around; read from the page cache, so that they add nothing to our memory."""
    handle = os.open(path, os.O_RDONLY)
    turns = cycle([(offset, size) for offset, size in samples])
    while True:
        yield [os.pread(handle, size, offset) for offset, size in (next(turns) for _ in range(batch))]


def _write(path: Path, timings: Timings) -> None:
    with path.open("wb") as file:
        for part in (timings.decode, timings.prepare, timings.model, timings.answer):
            part.tofile(file)


if __name__ == "__main__":
    answer(work)
