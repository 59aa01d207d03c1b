"""One form in a process of its own: loads it, answers the test rows, is timed when it is its turn.

Run as ``python child.py JSON``: ``folder`` of the subject, ``file``, ``runtime``, ``precision``, ``threads``,
``inputs``. A line on standard output for each on standard input, all JSON: first nothing (or an ``error``), then for
``{"do": "answer", "target": PATH}`` and for ``{"do": "turn", "seconds": S, "fewest": N}`` what they are called for.
Calls are of the model alone, from one prepared row to its output, the rows of test one after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE = 8.0  # times the seconds of a turn, until the fewest calls are not waited for
TIMED_ROWS = 64
Array = np.ndarray[Any, np.dtype[Any]]


def load(job: Mapping[str, Any]) -> tuple[Callable[[Array], Array], Callable[[], str]]:
    """What answers a row (1, …), and what tells the precision that truly runs (it may load the file again)."""
    folder, threads = Path(job["folder"]), int(job["threads"])
    if job["runtime"].startswith("torch"):
        return _torch(folder, Path(job["file"]), threads, compiled=job["runtime"] == "torch-compile"), str
    from sartor import registry

    session = registry.get("runtimes", job["runtime"]).load(folder / job["file"], job["precision"], threads)
    return session.run, lambda: str(session.effective_precision)


def _torch(folder: Path, file: Path, threads: int, *, compiled: bool) -> Callable[[Array], Array]:
    import torch

    from frontier.makers import torchao_module

    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    module = torchao_module(folder, (folder / file).with_name("config").read_text(encoding="utf-8"))
    network: Any = torch.compile(module, dynamic=False) if compiled else module

    def run(row: Array) -> Array:
        with torch.no_grad():  # as torchao's guide runs it
            output: Array = network(torch.from_numpy(row)).float().numpy()
        return output

    return run


def turn(run: Callable[[Array], Array], rows: list[Array], seconds: float, fewest: int) -> dict[str, float]:
    """Milliseconds of the calls of one turn; the first finds the caches cold and is left out."""
    clock, spent = time.perf_counter_ns, []
    run(rows[0])
    ends = time.perf_counter() + seconds
    while True:
        row = rows[len(spent) % len(rows)]
        began = clock()
        run(row)
        spent.append(clock() - began)
        now = time.perf_counter()
        if now > ends and (len(spent) >= fewest or now > ends + PATIENCE * seconds):
            p50, p95 = (float(np.quantile(spent, share)) / 1e6 for share in (0.5, 0.95))
            return {"p50": p50, "p95": p95, "calls": len(spent)}


def answers(run: Callable[[Array], Array], inputs: Array) -> Array:
    """Outputs of all rows (n, …)."""
    return np.concatenate([run(np.ascontiguousarray(row[None])) for row in inputs])


def main() -> None:
    """Load, then obey."""
    job = json.loads(sys.argv[1])
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def tell(found: Mapping[str, Any]) -> None:
        told.write(json.dumps(found) + "\n")
        told.flush()

    inputs = np.load(Path(job["folder"]) / job["inputs"], mmap_mode="r")
    rows = [np.ascontiguousarray(row[None]) for row in inputs[:TIMED_ROWS]]
    try:
        run, ran = load(job)
        run(rows[0])
    except Exception as error:  # a form that does not run is a line of the result
        words = (str(error).strip() or "?").splitlines()
        tell({"error": f"{type(error).__name__}: {words[0]}"[:300]})
        return
    tell({})
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "answer":
            np.save(order["target"], answers(run, inputs))
            tell({"ran": ran()})
        else:
            tell(turn(run, rows, order["seconds"], order["fewest"]))


if __name__ == "__main__":
    main()
