"""What one side does in a process of its own, in whichever environment it has: learn, answer, be timed.

Needs NumPy and what the side itself imports, nothing of Sartor. Called with one JSON object that says what to ``do``;
the last line printed is a JSON object of what was found. A file of sides holds ``SIDES``: name -> (learn, load).

``learn(given, folder)`` writes all that answering needs into the folder and returns a few words about it.
``load(folder)`` returns two functions: ``answer(raw)``, from an input's bytes to what a caller gets, which is timed;
and ``outputs(raws)``, from inputs to the array (n, …) that the task scores.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 0.3  # of the seconds that are timed
FEWEST = 60  # calls that are timed at least: fewer say nothing of a 95th percentile
PATIENCE = 6.0  # times the seconds, until even those are not waited for
BUSY = 0.1  # of the machine's cores, taken by others: then a process is called noisy


class Given:
    """What a side may learn from: raw inputs and truths of train and validation, and its limits.

    Args:
        ends: of its time, on ``time.monotonic``; learning that goes on beyond is late.
        seed, threads: to learn with.
        labels: of classes, or names of items.
        truth: ``class`` (numbers of labels), ``number`` or ``structure`` (bytes).
    """

    def __init__(self, request: Mapping[str, Any], started: float) -> None:
        self._folder = Path(request["data"])
        facts = json.loads((self._folder / "facts.json").read_text(encoding="utf-8"))
        self.labels, self.truth, self.facts = tuple(facts["labels"]), str(facts["truth"]), facts
        self.seconds, self.ends = float(request["seconds"]), started + float(request["seconds"])
        self.threads, self.seed = int(request["threads"]), int(request["seed"])

    @property
    def over(self) -> bool:
        """No time is left."""
        return time.monotonic() >= self.ends

    def raws(self, split: str) -> list[bytes]:
        """Inputs as they come."""
        return read_bytes(self._folder / f"{split}.raws.npz")

    def truths(self, split: str) -> Any:
        """(n,) int64 or float64, or a list of bytes."""
        path = self._folder / f"{split}.truths"
        return read_bytes(path.with_suffix(".truths.npz")) if self.truth == "structure" else np.load(f"{path}.npy")


def write_bytes(path: Path, parts: list[bytes]) -> None:
    """Keep byte strings in one file that any NumPy reads without unpickling."""
    np.savez(path, content=np.frombuffer(b"".join(parts), np.uint8), ends=np.cumsum([len(part) for part in parts]))


def read_bytes(path: Path) -> list[bytes]:
    """What :func:`write_bytes` kept."""
    with np.load(path, allow_pickle=False) as kept:
        content, ends = kept["content"].tobytes(), kept["ends"].tolist()
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def learn(side: Any, request: Mapping[str, Any], started: float) -> Mapping[str, Any]:
    """Let it learn; how long that took from the start of this process, imports included."""
    note = side[0](Given(request, started), Path(request["model"]))
    return {"note": str(note), "seconds": time.monotonic() - started}


def answer(side: Any, request: Mapping[str, Any], started: float) -> Mapping[str, Any]:
    """Write its outputs for all inputs."""
    _, outputs = side[1](Path(request["model"]))
    np.save(request["outputs"], np.asarray(outputs(read_bytes(Path(request["raws"])))))
    return {}


def timed(side: Any, request: Mapping[str, Any], started: float) -> Mapping[str, Any]:
    """Time its answers one by one in this fresh process."""
    raws = read_bytes(Path(request["raws"]))
    before_load = time.monotonic()
    call, _ = side[1](Path(request["model"]))
    call(raws[0])
    cold = time.monotonic() - before_load
    seconds = float(request["seconds"])
    calls(call, raws, seconds * WARM_UP, 3)
    before = cpu_times()
    spent = calls(call, raws, seconds, FEWEST)
    after = cpu_times()
    wall = max(1e-9, after[0] - before[0])
    foreign, stolen = max(0.0, (after[1] - before[1]) / wall), max(0.0, (after[2] - before[2]) / wall)
    p50, p95 = (float(np.quantile(spent, share)) / 1e6 for share in (0.5, 0.95))
    return {
        "calls": len(spent), "latency_p50_ms": p50, "latency_p95_ms": p95, "memory_peak_mb": peak_mb(),
        "cold_start_ms": cold * 1e3, "foreign_load": foreign / (os.cpu_count() or 1), "steal": stolen,
    }  # fmt: skip


def calls(call: Callable[[bytes], Any], raws: list[bytes], seconds: float, fewest: int) -> list[int]:
    """Nanoseconds of each call, for so many seconds and at least so many calls, within patience."""
    spent: list[int] = []
    started, clock = time.perf_counter(), time.perf_counter_ns
    while True:
        raw = raws[len(spent) % len(raws)]
        begun = clock()
        call(raw)
        spent.append(clock() - begun)
        passed = time.perf_counter() - started
        if passed > seconds and (len(spent) >= fewest or passed > PATIENCE * seconds):
            return spent


def cpu_times() -> tuple[float, float, float]:
    """Seconds: wall, busy with others, stolen; zeros for the last two where Linux does not tell."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except OSError:
        return time.monotonic(), 0.0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    busy = (sum(fields[:3]) + fields[5] + fields[6]) / tick
    return time.monotonic(), busy - time.process_time(), fields[7] / tick


def peak_mb() -> float:
    """Most resident memory this process ever held, in MB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Do what is asked for."""
    started = time.monotonic()
    request = json.loads(sys.argv[1])
    spec = importlib.util.spec_from_file_location("side", request["file"])
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["side"] = module  # what it pickles names it so
    sys.path.insert(0, str(Path(request["file"]).parent))
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    found = {"learn": learn, "answer": answer, "time": timed}[request["do"]](
        module.SIDES[request["side"]], request, started
    )
    print(f"\n{json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
