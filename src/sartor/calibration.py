"""Calibrates this machine: times drawn graphs in every runtime and precision, and keeps the speeds they show.

What was timed is evidence, so a calibration that was killed goes on where it was; what it learnt lies beside the
device's profile in the workspace and serves every estimate for that device.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sartor import registry
from sartor.codec import from_plain
from sartor.devices import device_of
from sartor.drawings import KERNELS, NETWORKS
from sartor.errors import DeviceError
from sartor.evidence import Workspace, write_json
from sartor.execute import Executor
from sartor.jobs import TimedGraph, TimeGraphsJob
from sartor.progress import Tell, silent
from sartor.stages.measure.graph_child import is_off_pace
from sartor.stages.measure.graphs import file_of
from sartor.stages.predict import Speeds, TimedKernels, as_run, kernels_of, learn
from sartor.types import Device

SECONDS = 600.0
CHUNK = 8  # graphs of one process: what a kill may cost
ROUNDS = 12  # a graph of each family in each; every kind of kernel has more
KERNELS_PER_ROUND = {"convolutions": 4, "products": 2, "recurrences": 1}
BATCHES = (1, 8)
DRAWN = frozenset({"none", "int8-static"})  # compressors whose files graphs are drawn as
TIMED_S = 0.2  # per graph
NOISY = 0.15  # share of the cores that others may take while a graph is timed

Graph = tuple[str, int, int]


@dataclass(frozen=True)
class Setting:
    """One way to run graphs."""

    runtime: str
    precision: str
    threads: int


def calibrate_device(
    workspace: Workspace, *, seconds: float = SECONDS, tell: Tell = silent, rounds: int = ROUNDS
) -> Speeds:
    """Time graphs for so many seconds (what was timed before counts as done) and keep the speeds.

    Every setting gets its turn in every round, so that the time is spread evenly wherever it ends.

    Raises:
        DeviceError: there was too little time for any setting.
        StorageError: full disk.

    Example:
        >>> calibrate_device(Workspace(Path(".sartor"))).graphs  # doctest: +SKIP
    """
    device = device_of("local", workspace, tell)
    began, spent, until = time.monotonic(), 0.0, time.monotonic() + seconds
    evidence, drawings = workspace.evidence(), workspace.root / "drawings"
    found: dict[Setting, list[tuple[Graph, TimedGraph]]] = defaultdict(list)
    try:
        with Executor(workspace, evidence, f"calibrate-{device.id[:12]}") as executor:
            turns = list(_turns(settings_of(device), rounds))
            for place, (setting, graphs) in enumerate(turns):
                job = TimeGraphsJob(setting.runtime, setting.precision, setting.threads, graphs, device.id, TIMED_S)
                known = executor.find("time_graphs", job)
                if known is None and time.monotonic() > until:
                    break
                tell(f"timing {setting.runtime} {setting.precision}, {setting.threads} threads", place / len(turns))
                outcome = known or executor.do("time_graphs", job, tell)
                spent += executor.evidence.get(outcome.key).seconds if known else 0.0  # type: ignore[union-attr]
                if outcome.refusal is None:
                    found[setting] += zip(graphs, outcome.result.timed, strict=True)
    finally:
        evidence.close()
    tell("learning speeds", 0.99)
    speeds = {
        f"{one.runtime} {one.precision} {one.threads}": speed
        for one, timed in found.items()
        if (speed := learn(_quiet(timed, one, drawings), device, one.precision, one.threads)) is not None
    }
    if not speeds:
        raise DeviceError("too few graphs were timed to learn from; run it again, it goes on where it was")
    made = Speeds(device.id, speeds, round(spent + time.monotonic() - began, 1))
    write_json(workspace.root / "devices" / f"{device.id}.speeds.json", made)
    shutil.rmtree(drawings, ignore_errors=True)  # hundreds of megabytes, and drawn again in seconds
    return made


def speeds_of(device: Device, workspace: Workspace) -> Speeds | None:
    """What a calibration of the device found, where there was one."""
    path = workspace.root / "devices" / f"{device.id}.speeds.json"
    return from_plain(Speeds, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def settings_of(device: Device) -> list[Setting]:
    """Every runtime and precision that may ship, on one core and on all of them."""
    found = []
    for threads in dict.fromkeys((1, device.cores)):
        for name in device.runtimes:
            runtime = registry.get("runtimes", name)
            if not runtime.reference and "onnx" in runtime.accepts:
                ways = runtime.precisions(device).items()
                found += [Setting(name, precision, threads) for precision, made_by in ways if made_by in DRAWN]
    return found


def _turns(settings: Sequence[Setting], rounds: int) -> Iterator[tuple[Setting, tuple[Graph, ...]]]:
    for number in range(rounds):
        graphs = list(_graphs(number))
        for start in range(0, len(graphs), CHUNK):
            for setting in settings:
                yield setting, tuple(graphs[start : start + CHUNK])


def _graphs(number: int) -> Iterator[Graph]:
    """The graphs of a round: networks of all families, then more of each kind of kernel."""
    for place, family in enumerate(NETWORKS):
        yield family, number, BATCHES[(number + place) % 4 == 3]
    for family in KERNELS:
        for more in range(KERNELS_PER_ROUND.get(family, 1)):
            numbered = number * KERNELS_PER_ROUND.get(family, 1) + more
            yield family, numbered, BATCHES[numbered % 3 == 2]


def _quiet(timed: Sequence[tuple[Graph, TimedGraph]], setting: Setting, folder: Path) -> Iterator[TimedKernels]:
    """Graphs that were timed on a quiet machine at its usual pace, with their kernels as the setting runs them."""
    import onnx

    kept = [(graph, one) for graph, one in timed if not one.refusal and one.foreign_load <= NOISY]
    # with several threads, a runtime's own are taken for a slower pace
    pace = median(one.pace_ns for _, one in kept) if kept and setting.threads == 1 else 0.0
    for (family, number, batch), one in kept:
        if not is_off_pace(one.pace_ns, pace):
            model = onnx.load(file_of(folder, family, number, "fp32"))
            kernels = as_run(kernels_of(model, setting.runtime, batch), setting.precision)
            yield TimedKernels(family, kernels, one.p50_ms, family in NETWORKS, one.p10_ms)
