"""Fresh processes in no time: a process that has imported what is needed, and is copied for each model that is run.

Run as ``python _runtime_child.py ADDRESS MODULE…``: it imports the modules, then forks for every line of standard input
(a JSON object that says what to run). Each child connects to ADDRESS, loads its model into its one runtime and obeys:
``("probe", seconds, least calls, enough calls)``, ``("turn", seconds)``, ``("answer",)``; it ends with the connection.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sartor import registry
from sartor.stages.measure.windows import run_windows, warm_up

Array = np.ndarray[Any, np.dtype[Any]]
_WARM_UP_SHARE = 0.5  # of the seconds for the windows, as in the stage that measures
_SHORT_MS = 60.0  # calls shorter than this find the caches cold at first


def main() -> None:
    """Import, then fork on demand."""
    address, *modules = sys.argv[1:]
    for module in modules:
        if module == "openvino":
            registry.get("runtimes", "openvino").version()
        else:
            importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = 1
            with contextlib.suppress(EOFError, BrokenPipeError):
                _serve(address, json.loads(line))
                code = 0
            os._exit(code)


def _serve(address: str, job: dict[str, Any]) -> None:
    with Client(address) as connection:
        connection.send(job["id"])
        try:
            run = _load(job)
            run()
        except Exception as error:  # a way that cannot be taken is a line in the table
            connection.send(f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
            return
        connection.send("")
        while True:
            _obey(connection, connection.recv(), run)


def _obey(connection: Connection, order: tuple[Any, ...], run: Callable[[], Array]) -> None:
    if order[0] == "answer":
        connection.send(run())
    elif order[0] == "probe":
        connection.send(_probe(run, *order[1:]))
    else:
        connection.send(_turn(run, order[1]))


def _probe(run: Callable[[], Array], seconds: float, least: int, enough: int) -> float:
    """Median milliseconds, timed as a run probes a candidate."""

    def call() -> Sequence[int]:
        started = time.perf_counter_ns()
        run()
        return (0, 0, time.perf_counter_ns() - started, 0)

    warm_up(call, time.perf_counter, seconds * _WARM_UP_SHARE)
    timings = run_windows(call, time.perf_counter, seconds, samples=1, least_calls=least, enough_calls=enough)
    return median(timings.model)


def _turn(run: Callable[[], Array], seconds: float) -> float:
    """Median milliseconds of the calls of one turn; the first is left out where it may have found the caches cold."""
    found: list[float] = []
    began = time.perf_counter()
    while True:
        started = time.perf_counter_ns()
        run()
        found.append((time.perf_counter_ns() - started) / 1e6)
        if time.perf_counter() - began >= seconds and (len(found) > 1 or found[0] >= _SHORT_MS):
            return median(found[1:] if found[0] < _SHORT_MS else found)


def _load(job: dict[str, Any]) -> Callable[[], Array]:
    folder, threads = Path(job["folder"]), int(job["threads"])
    batch: Array = np.load(folder / "input.npy")
    if job["runtime"].startswith("torch"):
        return _torch(job["model"], batch, threads, Path(job["weights"]), compiled=job["runtime"] == "torch-compile")
    file = folder / ("int8.onnx" if job["precision"] == "int8" else "fp32.onnx")
    session = registry.get("runtimes", job["runtime"]).load(file, job["precision"], threads)
    return lambda: session.run(batch)


def _torch(name: str, batch: Array, threads: int, weights: Path, *, compiled: bool) -> Callable[[], Array]:
    import torch
    from _runtime_models import MODELS

    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    module = MODELS[name].build().eval()
    module.load_state_dict(torch.load(weights, weights_only=True))
    network: Any = torch.compile(module, dynamic=False) if compiled else module
    tensor = torch.from_numpy(batch)

    def run() -> Array:
        with torch.inference_mode():
            output: Array = network(tensor).float().numpy()
        return output

    return run


if __name__ == "__main__":
    main()
