"""Claim: from data larger than memory, a training computes for at least 95 % of the time that its steps take.

A made-up set is written as Parquet shards, prepared, and trained on in fresh processes, in turn: reading ahead in
blocks (what such data gets), reading ahead in any order, and in any order on the training thread (neither). Waiting is
the time that the training thread spends until it has a batch. Memory is not truly short: every 200 ms all that the
system keeps of the file is dropped, so that what is read comes from the disk; the order is that of --memory-mb.

    python benchmarks/streaming.py                    # 2 GB, 7 min
    python benchmarks/streaming.py --gigabytes 20 --memory-mb 2000 --seconds 120
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _protocol import RESULTS, Row, conditions_line, write_rows

from sartor import codec, registry
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, TrainJob
from sartor.media.image import to_png
from sartor.prepared import open_data
from sartor.stages.data import prepare, stamp
from sartor.types import DataSource, Network

TASK = "image-classification"
BUSY = 0.95
ROUNDS = 6  # the least and the largest of six enclose the median with 97 % confidence
DROP_S = 0.2
SIDES = {"ahead, in blocks": (True, True), "ahead, any order": (True, False), "not ahead, any order": (False, False)}


def main() -> int:
    """Make the set, prepare it, train in turn, print and write the lines, end with the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of decoded pictures (%(default)s)")
    parser.add_argument(
        "--memory-mb", type=int, default=250, help="of the machine that the order is made for (%(default)s)"
    )
    parser.add_argument("--side", type=int, default=96, help="of a picture, pixels (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of steps per process (%(default)s)")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be tried; a temporary one else")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="a few megabytes and steps; proves nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(trained(**json.loads(asked.child))))
        return 0
    print((__doc__ or "").split("\n", 1)[0].replace("Claim:", "CLAIM"))
    print(conditions_line(), flush=True)
    rounds = 1 if asked.smoke else ROUNDS
    if asked.smoke:
        asked.gigabytes, asked.memory_mb, asked.side, asked.seconds = 0.002, 1, 32, 0.3
    with tempfile.TemporaryDirectory(prefix="sartor-streaming-", dir=asked.folder) as scratch:
        root = Path(scratch)
        samples = int(asked.gigabytes * 1e9 / (3 * asked.side**2))
        write_shards(root / "shards", samples, asked.side)
        began = time.perf_counter()
        source = DataSource(str(root / "shards"))
        workspace = Workspace(root / "workspace")
        card = prepare(PrepareJob(source, TASK, 0, stamp(source)), workspace).card
        looked = time.perf_counter() - began
        job = training_job(card, asked.side)
        began = time.perf_counter()
        for split in ("train", "validation"):
            open_data(card.fingerprint, workspace).split(split).prepared(job.network.input_size)
        decoded = time.perf_counter() - began
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
        for number in range(rounds):
            for name in list(SIDES) if number % 2 == 0 else reversed(SIDES):
                found[name].append(in_child(root, job, asked, name))
                one = found[name][-1]
                print(f"round {number + 1}  {name:22}{one['busy']:8.1%} busy, {one['rate']:9,.0f}/s", flush=True)
    rows = lines(found, samples, looked, decoded)
    for row in rows:
        bounds = "" if row.low is None else f"{row.low:.4g} … {row.high:.4g}"
        print(f"{row.quantity:18}{row.against:22}{row.ours:12,.4g} {row.unit:14}{bounds}")
    print(f"order in blocks: {next(iter(found.values()))[0]['order']}")
    title = f"streaming {asked.gigabytes:g} GB {asked.side} px {os.cpu_count()} cores {rounds} rounds"
    write_rows(
        asked.results, title, rows, {"memory_mb": asked.memory_mb, "seconds": asked.seconds, "smoke": asked.smoke}
    )
    return verdict(rows, rounds)


def lines(found: dict[str, list[dict[str, Any]]], samples: int, looked: float, decoded: float) -> list[Row]:
    """A line per side and quantity; of rounds the median, the least and the largest."""
    rows = []
    for name, turns in found.items():
        for quantity, unit, key in (("busy", "of step time", "busy"), ("rate", "samples/s", "rate")):
            values = [turn[key] for turn in turns]
            rows.append(
                Row(
                    quantity, unit, median(values), None, low=min(values), high=max(values), n=len(values), against=name
                )
            )
    rows.append(Row("looked at", "samples/s", samples / looked, None, n=samples, against="Parquet shards"))
    rows.append(Row("decoded", "samples/s", samples / decoded, None, n=samples, against="on all cores"))
    return rows


def verdict(rows: list[Row], rounds: int) -> int:
    """Print HOLDS, FAILS or OPEN; 1 where it fails."""
    ours = next(row for row in rows if row.quantity == "busy" and row.against == next(iter(SIDES)))
    assert ours.low is not None
    assert ours.high is not None
    if rounds < ROUNDS:
        print(f"OPEN    {rounds} of {ROUNDS} rounds")
        return 0
    word = "HOLDS" if ours.low >= BUSY else "FAILS" if ours.high < BUSY else "OPEN"
    print(f"{word:8}{ours.ours:.1%} busy, {ours.low:.1%} … {ours.high:.1%} in {rounds} rounds")
    return 1 if word == "FAILS" else 0


def write_shards(folder: Path, samples: int, side: int) -> None:
    """Noise with one bright colour, as PNG, ten Parquet shards; the same colours in every shard."""
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    chance = np.random.default_rng(0)
    for shard, numbers in enumerate(np.array_split(np.arange(samples), 10)):
        schema = pyarrow.schema([("image", pyarrow.binary()), ("label", pyarrow.int64())])
        with parquet.ParquetWriter(folder / f"train-{shard:03}.parquet", schema) as writer:
            for some in np.array_split(numbers, max(1, len(numbers) // 256)):
                pixels = chance.integers(0, 120, (len(some), side // 4, side // 4, 3), dtype=np.uint8)
                pixels[np.arange(len(some)), :, :, some % 3] += 90
                pictures = [to_png(one.repeat(4, 0).repeat(4, 1)) for one in pixels]
                writer.write_table(pyarrow.table({"image": pictures, "label": some % 3}, schema=schema))


def training_job(card: Any, side: int) -> TrainJob:
    """The smallest network of a family of CNNs, on pictures as they are."""
    family = registry.get("models", "resnet9")
    variant = next(iter(family.variants(card, [(side, side)], "quick")))
    network = Network("resnet9", variant.name, dict(variant.options), tuple(variant.input_size), len(card.labels))
    recipe = family.recipe(network, card.splits["train"].samples, 100.0)
    return TrainJob(TASK, network, card.fingerprint, recipe, 0, os.cpu_count() or 1)


def in_child(root: Path, job: TrainJob, asked: argparse.Namespace, side: str) -> dict[str, Any]:
    """What one process found; a smoke run starts one for the first side alone."""
    given = {"root": str(root), "job": codec.to_plain(job), "side": side}
    given |= {"memory_mb": asked.memory_mb, "seconds": asked.seconds}
    if asked.smoke and side != next(iter(SIDES)):
        return trained(**given)
    command = [sys.executable, __file__, "--child", json.dumps(given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def trained(root: str, job: Any, side: str, memory_mb: int, seconds: float) -> dict[str, Any]:
    """Take steps for some seconds; the share of them that was not waiting, and samples per second."""
    from sartor.stages.train import _order
    from sartor.stages.train._ahead import Ahead
    from sartor.stages.train._steps import Training

    asked = codec.from_plain(TrainJob, job)
    ahead, blocks = SIDES[side]
    data = open_data(asked.data, Workspace(Path(root) / "workspace"))
    rows = data.split("train").prepared(asked.network.input_size)
    window = _order.window_for(len(rows), rows[:1].nbytes + 8, memory_mb * 1_000_000) if blocks else 0
    training = Training(asked, data, window=window)
    feed = training.feed
    feed._reader = Ahead(feed._read, max(1, feed.ahead) if ahead else 0)
    waited, take = 0.0, feed.batch

    def batch(step: int) -> Any:
        nonlocal waited
        began = time.perf_counter()
        found = take(step)
        waited += time.perf_counter() - began
        return found

    feed.batch = batch  # type: ignore[method-assign]
    with forgotten(feed.samples):
        for step in range(3):
            training.take_step(step)
        waited, steps, began = 0.0, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            float(training.take_step(3 + steps))  # waits for the device
            steps += 1
        took = time.perf_counter() - began
    training.close()
    return {"busy": 1 - waited / took, "rate": steps * feed.batch_size / took, "order": feed.order}


@contextmanager
def forgotten(samples: Any) -> Iterator[None]:
    """Keep dropping what the system holds of the file; pages that are mapped stay, so the map lets go of them first."""
    ended = threading.Event()
    with open(samples.filename, "rb") as file:

        def drop() -> None:
            while True:
                samples._mmap.madvise(mmap.MADV_DONTNEED)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if ended.wait(DROP_S):
                    return

        dropper = threading.Thread(target=drop, daemon=True)
        dropper.start()
        try:
            yield
        finally:
            ended.set()
            dropper.join()


if __name__ == "__main__":
    sys.exit(main())
