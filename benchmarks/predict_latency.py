"""Claim: latencies are predicted within 10 % for 95 of 100 networks of families that the device was not calibrated on.

Networks of twenty drawn families and of the catalogue, in three runtimes and two precisions. Each family is left out in
turn: the others, and graphs of single kernels, are what a calibration would have timed. Beside it stand a fit to the
operations, a plain roofline, a table of layers and the noise of the truth, each network of a part timed twice.

    python benchmarks/predict_latency.py                                 # judges the newest recording
    python benchmarks/predict_latency.py --record 280 --recording FILE   # times for so long; again until none is left
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _latency_catalogue import export, names, traced
from _latency_recording import plan, prepare, read, record
from _protocol import RESULTS

from sartor.codec import from_plain
from sartor.drawings import draw
from sartor.evidence import write_json
from sartor.jobs import Kernel
from sartor.stages.predict.estimate import CACHE_HEADROOM, COMPUTE_HEADROOM
from sartor.stages.predict.features import PRODUCTS
from sartor.stages.predict.kernels import as_run, kernels_of, total
from sartor.stages.predict.speeds import TimedKernels, learn
from sartor.types import Device

WITHIN, OF_ALL, COVERED = 0.10, 0.95, 0.90
RECORDINGS = RESULTS / "predict_latency"
SMOKE_FAMILIES = ("mlp", "keywords", "lstm", "text_cnn", "products", "recurrences")
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Network:
    """A graph as it was timed. ``times``: medians, once or twice, in different processes; ``quick``: tenths of them."""

    kind: str
    family: str
    kernels: tuple[Kernel, ...]
    times: tuple[float, ...]
    quick: tuple[float, ...]

    @property
    def ms(self) -> float:
        """The truth."""
        return float(np.exp(np.mean(np.log(self.times))))


@dataclass(frozen=True)
class Guess:
    """What a method says of a network."""

    ms: float
    low: float = 0.0
    high: float = 0.0


def main() -> None:
    """Record, or judge what was recorded."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--recording", type=Path, help="a CSV; the newest in results where left out")
    parser.add_argument("--record", type=float, metavar="SECONDS", help="time what is not in the recording yet")
    parser.add_argument("--files", type=Path, default=Path(tempfile.gettempdir()) / "sartor-drawings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="a few tiny graphs: nothing is a result")
    asked = parser.parse_args()
    print((__doc__ or "").split("\n", 1)[0].replace("Claim:", "CLAIM"))
    if asked.smoke:
        smoke(asked)
        return
    if asked.record:
        if asked.recording is None:
            parser.error("--record needs --recording FILE")
        left = make(asked.recording, asked.files, asked.threads, asked.record)
        print(f"{left} left")
        return
    recording = asked.recording or max(RECORDINGS.glob("*.csv"), key=lambda path: path.stat().st_mtime, default=None)
    if recording is None:
        parser.error("there is no recording; make one with --record")
    rows = judge(recording, say)
    write(asked.results / f"predict_latency-{recording.stem}.csv", rows)
    print("HOLDS" if holds(rows) else "FAILS")


def say(text: str) -> None:
    """A line of progress."""
    print(f"… {text}", flush=True)


def make(recording: Path, files: Path, threads: int, seconds: float) -> int:
    """Files first, then timing; returns how many timings are left."""
    export(files, (1, 8), say)
    asked = plan(names())
    prepare(asked, files, say)
    profile(recording)
    return record(recording, asked, files, threads, seconds, say)


def profile(recording: Path) -> Device:
    """The device of a recording, probed where it is not kept beside it."""
    path = recording.with_suffix(".device.json")
    if path.is_file():
        found: Device = from_plain(Device, json.loads(path.read_text(encoding="utf-8")))
        return found
    from sartor.catalog.devices.local import probe

    device = probe()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, device)
    return device


# ------------------------------------------------------------------------------------------------- methods


def ours(
    train: Sequence[Network], test: Sequence[Network], device: Device, precision: str, threads: int
) -> list[Guess]:
    """What a calibration would learn from the others."""
    timed = [
        TimedKernels(one.family, one.kernels, one.ms, one.kind != "kernel", float(np.exp(np.mean(np.log(one.quick)))))
        for one in train
    ]
    speed = learn(timed, device, precision, threads)
    if speed is None:
        return [Guess(1.0) for _ in test]
    found = [speed.predict(one.kernels, floor_ms(one.kernels, device, precision)) for one in test]
    return [Guess(one.value, one.low, one.high) for one in found]


def by_operations(
    train: Sequence[Network], test: Sequence[Network], device: Device, precision: str, threads: int
) -> list[Guess]:
    """A line through operations and time, fitted to the networks on a logarithmic scale."""
    known = [one for one in train if one.kind != "kernel"]
    logs = [np.log(total(one.kernels) + 1e4) for one in known]
    slope, constant = np.polyfit(logs, np.log([one.ms for one in known]), 1)
    return [Guess(float(np.exp(constant + slope * np.log(total(one.kernels) + 1e4)))) for one in test]


def roofline(
    train: Sequence[Network], test: Sequence[Network], device: Device, precision: str, threads: int
) -> list[Guess]:
    """Of every kernel the longer of its arithmetic and its traffic, at what the device was probed to reach."""
    ceiling = device.ceilings.get(precision, device.ceilings["fp32"]).operations_per_s * threads / device.cores

    def kernel_ms(one: Kernel) -> float:
        size = 1 if one.int8 else 4
        moved = (one.read + one.written + one.weights) * size
        return one.count * max(one.operations / ceiling, moved / device.bandwidth_bytes_per_s) * 1e3

    return [Guess(max(sum(map(kernel_ms, one.kernels)), 1e-6)) for one in test]


def layer_table(
    train: Sequence[Network], test: Sequence[Network], device: Device, precision: str, threads: int
) -> list[Guess]:
    """Sum over layers of a table: per kind, the median time per unit of work of graphs of that kind alone."""

    def work(one: Kernel) -> float:
        return one.count * (one.operations if one.kind in PRODUCTS else 10.0 * (one.read + one.written) + 100.0)

    rates = defaultdict(list)
    for one in train:
        if one.kind == "kernel":
            most = max(one.kernels, key=work)
            rates[most.kind].append(one.ms / sum(map(work, one.kernels)))
    every = float(np.median([rate for some in rates.values() for rate in some]))
    table = {kind: float(np.median(some)) for kind, some in rates.items()}
    return [Guess(sum(work(k) * table.get(k.kind, every) for k in one.kernels)) for one in test]


METHODS: dict[str, Callable[..., list[Guess]]] = {
    "sartor": ours,
    "operations": by_operations,
    "roofline": roofline,
    "layer table": layer_table,
}


def floor_ms(kernels: Sequence[Kernel], device: Device, precision: str) -> float:
    """What no run can undercut, as ``sartor.stages.predict.latency_floor_ms`` reckons it."""
    ceiling = device.ceilings.get(precision, device.ceilings["fp32"]).operations_per_s
    weights = sum(one.weights * one.count * (1 if one.int8 else 4) for one in kernels)
    compute = total(kernels) / (ceiling * COMPUTE_HEADROOM)
    return max(compute, weights / (device.bandwidth_bytes_per_s * CACHE_HEADROOM)) * 1e3


# ------------------------------------------------------------------------------------------------- judging


def judge(recording: Path, tell: Callable[[str], None]) -> list[dict[str, object]]:
    """A row per setting and method, printed as it is made."""
    device = profile(recording)
    rows, print_row = [], "{:22}{:13}{:>5}{:>8}{:>8}{:>8}{:>8}{:>9}{:>8}{:>8}".format
    print(print_row("setting", "method", "n", "≤10 %", "≤5 %", "mean", "median", "covered", "below", "A/A ≤10"))
    for setting, networks in gathered(recording, tell).items():
        runtime, precision, threads = setting
        tested = [one for one in networks if one.kind != "kernel"]
        pairs = [abs(one.times[0] / one.times[1] - 1) for one in tested if len(one.times) > 1]
        for name, method in METHODS.items():
            if method is layer_table and all(one.kind != "kernel" for one in networks):
                continue  # single layers were not timed in this runtime yet
            guesses: list[tuple[Network, Guess]] = []
            for family in sorted({one.family for one in tested}):
                train = [one for one in networks if one.family != family]
                test = [one for one in tested if one.family == family]
                guesses += zip(test, method(train, test, device, precision, threads), strict=True)
            errors = np.array([abs(guess.ms / one.ms - 1) for one, guess in guesses])
            inside = [guess.low <= one.ms <= guess.high for one, guess in guesses]
            floors = [floor_ms(one.kernels, device, precision) for one, _ in guesses]
            below = sum(guess.ms < floor for (_, guess), floor in zip(guesses, floors, strict=True))
            row: dict[str, object] = {
                "setting": f"{runtime} {precision}",
                "threads": threads,
                "method": name,
                "networks": len(errors),
                "families": len({one.family for one, _ in guesses}),
                "within_10": round(float((errors <= WITHIN).mean()), 4),
                "within_5": round(float((errors <= WITHIN / 2).mean()), 4),
                "mean_error": round(float(errors.mean()), 4),
                "median_error": round(float(np.median(errors)), 4),
                "covered": round(float(np.mean(inside)), 4) if name == "sartor" else "",
                "below_floor": below,
                "noise_pairs": len(pairs),
                "noise_within_10": round(float(np.mean(np.array(pairs) <= WITHIN)), 4) if pairs else "",
                "noise_median": round(float(np.median(pairs)), 4) if pairs else "",
                "processor": device.name,
                "cores": device.cores,
                "date": device.probed_at,
            }
            rows.append(row)
            shares = [row[key] for key in ("within_10", "within_5", "mean_error", "median_error", "covered")]
            cells = [f"{share:.0%}" if isinstance(share, float) else "" for share in shares]
            noise = f"{row['noise_within_10']:.0%}" if pairs else ""
            print(print_row(str(row["setting"]), name, len(errors), *cells, below, noise))
    return rows


def gathered(recording: Path, tell: Callable[[str], None]) -> dict[tuple[str, str, int], list[Network]]:
    """By runtime, precision and threads: what was timed, with its kernels."""
    times: dict[tuple[str, str, int], dict[tuple[str, Key], list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for asked, threads, timed in read(recording):
        if not timed.refusal:
            key = (asked.family, asked.number, asked.batch)
            times[asked.runtime, asked.precision, threads][asked.kind, key].append((timed.p50_ms, timed.p10_ms))
    graphs: dict[tuple[str, Key], dict[str, tuple[Kernel, ...]]] = {}
    wanted = sorted({one for some in times.values() for one in some})
    for place, (kind, key) in enumerate(wanted):
        if place % 50 == 0:
            tell(f"reading graphs: {place} of {len(wanted)}")
        graphs[kind, key] = kernels_by_runtime(kind, key)
    return {
        setting: [
            Network(kind, key[0], as_run(graphs[kind, key][setting[0]], setting[1]), *zip(*values, strict=True))
            for (kind, key), values in sorted(some.items())
        ]
        for setting, some in times.items()
    }


def kernels_by_runtime(kind: str, key: Key) -> dict[str, tuple[Kernel, ...]]:
    """A graph as each runtime fuses it: of the catalogue as traced before it is exported, of others from ONNX."""
    family, number, batch = key
    if kind == "catalogue":
        return traced(family, number, batch)
    model = draw(family, int(number))
    return {runtime: kernels_of(model, runtime, batch) for runtime in ("onnxruntime", "openvino", "torch")}


def holds(rows: Sequence[dict[str, object]]) -> bool:
    """Whether the claim holds in every setting."""
    mine = [row for row in rows if row["method"] == "sartor"]
    return all(
        float(str(row["within_10"])) >= OF_ALL and float(str(row["covered"])) >= COVERED and not row["below_floor"]
        for row in mine
    )


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"WRITTEN {path}")


def smoke(asked: argparse.Namespace) -> None:
    """Record a few tiny graphs in a temporary folder and judge them."""
    with tempfile.TemporaryDirectory() as folder:
        recording, files = Path(folder) / "smoke.csv", Path(folder) / "files"
        few = [one for one in plan([], 6) if one.family in SMOKE_FAMILIES and one.runtime == "onnxruntime"]
        few = [replace(one, batch=1) for one in few if one.precision == "fp32"]
        few = list(dict.fromkeys(few))
        prepare(few, files, say)
        device = Device("smoke", "smoke", 1, 1 << 33, (), {}, 1e10, {})
        from sartor.types import Ceiling

        write_json(recording.with_suffix(".device.json"), replace(device, ceilings={"fp32": Ceiling(1e11, "made up")}))
        left = record(recording, few, files, 1, 40.0, say, busy=1.0)
        rows = judge(recording, say)
        write(asked.results / "predict_latency-smoke.csv", rows)
        print("OPEN   a smoke run: nothing is claimed" + (f"; {left} left" if left else ""))


if __name__ == "__main__":
    main()
