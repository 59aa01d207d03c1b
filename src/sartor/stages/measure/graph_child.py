"""The process in which bare graphs are timed one after the other, in one runtime; nothing but the runtime's own call.

Run as ``python -m sartor.stages.measure.graph_child FOLDER``. FOLDER holds ``request.json``: the runtime and its
threads, and per graph its file, its precision and its batch.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from sartor import registry
from sartor.cpu_load import load_between, read_cpu_times
from sartor.drawings import TOKENS, at_batch
from sartor.errors import Unsupported
from sartor.stages.measure.child import Say, answer
from sartor.stages.measure.pace import SLOWED, pace_ns
from sartor.stages.measure.windows import run_windows, spread, warm_up

WARM_UP_SHARE, ENOUGH_CALLS = 0.5, 40
TRIES = 4  # while the machine is disturbed
BUSY = 0.08  # share of the cores that others may take

Load = Callable[[Path, str], Callable[[Any], object]]
"""A graph's file and a precision to what runs it on a batch."""


def work(folder: Path, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Time every graph of the request."""
    runtime = registry.get("runtimes", request["runtime"])

    def load(path: Path, precision: str) -> Callable[[Any], object]:
        session = runtime.load(path, precision, request["threads"])
        return session.run  # type: ignore[no-any-return]

    return {"timed": time_each(request, load, say)}


def time_each(request: Mapping[str, Any], load: Load, say: Say) -> list[Mapping[str, Any]]:
    """Facts of each graph, or why it could not be run."""
    found: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for one in request["graphs"]:
            try:
                found.append(_time(one, load, Path(place) / "graph.onnx", request))
            except Unsupported as refusal:
                found.append({"refusal": {"code": refusal.code, "detail": refusal.detail}})
            gc.collect()
            say("timed")
    return found


def _time(one: Mapping[str, Any], load: Load, path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    import onnx

    seconds, longest_ms = request["seconds"], request["longest_ms"]
    model = at_batch(onnx.load(one["path"]), one["batch"])
    path.write_bytes(model.SerializeToString())
    example = example_of(model)
    del model
    began = time.monotonic()
    run = load(path, one["precision"])
    load_ms = (time.monotonic() - began) * 1e3

    def call() -> tuple[int, int, int, int]:
        started = time.perf_counter_ns()
        run(example)
        return 0, 0, time.perf_counter_ns() - started, 0

    call()  # a runtime prepares itself in the first
    if call()[2] > longest_ms * 1e6:
        raise Unsupported("TOO_SLOW", f"a call takes longer than {longest_ms:g} ms")
    warm_up(call, time.perf_counter, seconds * WARM_UP_SHARE)
    tries = [_windows(call, seconds)]
    while len(tries) < TRIES and is_disturbed(tries[-1], request["pace_ns"]):
        tries.append(_windows(call, seconds))
    calmest = min(tries, key=lambda one: (is_disturbed(one, request["pace_ns"]), one["foreign"]))
    return {**calmest, "load_ms": load_ms}


def is_disturbed(facts: Mapping[str, float], usual_pace: float) -> bool:
    """Whether others took too much of the cores, or the processor ran at another pace than usual (0: not known)."""
    return facts["foreign"] > BUSY or is_off_pace(facts["pace_ns"], usual_pace)


def is_off_pace(pace: float, usual: float) -> bool:
    """Whether the processor ran slower or faster than usual (0: not known) by more than passes for noise."""
    return usual > 0 and not 1 / SLOWED <= pace / usual <= SLOWED


def _windows(call: Callable[[], Sequence[int]], seconds: float) -> Mapping[str, float]:
    """One timing: what its calls took, how fast the processor ran, and what others took of it."""
    paces: list[int] = []
    before = read_cpu_times()
    timings = run_windows(
        call,
        time.perf_counter,
        seconds,
        samples=1,
        least_calls=ENOUGH_CALLS // 4,
        enough_calls=ENOUGH_CALLS,
        tick=lambda: paces.append(pace_ns()),
    )
    foreign = load_between(before, read_cpu_times(), os.cpu_count() or 1).share
    calls = sorted(timings.model)
    return {
        "p50_ms": median(calls),
        "p10_ms": calls[len(calls) // 10],
        "least_ms": calls[0],
        "calls": len(calls),
        "spread": spread(timings, 1),
        "pace_ns": fmean(paces),
        "foreign": foreign,
    }


def example_of(model: Any) -> Any:
    """A made-up batch for a model's only input: numbers around 0, or indices that every table holds."""
    from onnx import TensorProto

    kind = model.graph.input[0].type.tensor_type
    shape = tuple(side.dim_value for side in kind.shape.dim)
    chance = np.random.default_rng(0)
    if kind.elem_type == TensorProto.FLOAT:
        return chance.standard_normal(shape, dtype=np.float32)
    if kind.elem_type == TensorProto.UINT8:
        return chance.integers(0, 256, shape, np.uint8)
    whole = {TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}.get(kind.elem_type)
    if whole is None:
        raise Unsupported("WRONG_INPUT", "a graph with numbers or indices as its only input is wanted")
    return chance.integers(0, TOKENS, shape, whole)


if __name__ == "__main__":
    answer(work)
