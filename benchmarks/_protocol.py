"""How two models are compared here: fresh processes in ABBA blocks, ratios with their spread, rows with conditions.

A block is four fresh processes, ours, other, other, ours: a drift of the machine that is linear in time cancels out of
its ratio. Each process is one ``sartor.stages.measure.measure``: one live runtime, pinned threads, warm-up, timed from
an input's bytes to its answer. The two processes of one side in a block measure the same thing twice, so their ratio
is the noise floor of this very run.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

from sartor.catalog.devices.local import identify
from sartor.evidence import Workspace
from sartor.intervals import percentile
from sartor.jobs import MeasureJob
from sartor.stages.measure import measure
from sartor.types import Measurement, Pipeline

BLOCKS = 6  # the least and the largest of six ratios enclose their median with 97 % confidence
SECONDS = 1.0  # timed per process
CONFIDENCE = 0.95
FLOORS = 3.0  # a ratio is claimed only beyond so many times the noise floor (in logarithms)
RESULTS = Path(__file__).resolve().parent / "results"
Turn = Mapping[str, Measurement]  # by the metric's name; one fresh process
Say = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """One model file (its SHA-256 in the workspace) and how it is run."""

    name: str
    artifact: str
    pipeline: Pipeline


@dataclass(frozen=True)
class Block:
    """Four processes in the order ours, other, other, ours."""

    ours: tuple[Turn, Turn]
    other: tuple[Turn, Turn]


@dataclass(frozen=True)
class Row:
    """One line of a table and of the CSV. ``ratio`` is other / ours unless ``quantity`` says otherwise.

    Args:
        low, high: what the blocks (or the samples) leave open.
        noise_floor: how far two measurements of the same thing were apart, as a factor minus 1.
        claimed: the ratio is beyond ``FLOORS`` noise floors and its interval leaves out 1.
        n: blocks, or samples.
        against: the other side, where a file holds rows of several.
    """

    quantity: str
    unit: str
    ours: float | None
    other: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    noise_floor: float | None = None
    claimed: str = ""
    n: int = 0
    noisy: str = ""
    against: str = ""


def alternate(
    ours: Side, other: Side, *, data: str, workspace: Workspace, blocks: int, seconds: float, say: Say
) -> list[Block]:
    """Measure two sides in turn.

    Raises:
        Unsupported: one of them cannot be run.
    """
    device = identify().id

    def turn(side: Side) -> Turn:
        job = MeasureJob(side.artifact, side.pipeline, data, device, CONFIDENCE, seconds)
        return {one.metric.name: one for one in measure(job, workspace).measurements}

    made = []
    for number in range(1, blocks + 1):
        say(f"block {number} of {blocks}: {ours.name}, {other.name}, {other.name}, {ours.name}")
        first, second, third, fourth = (turn(side) for side in (ours, other, other, ours))
        made.append(Block((first, fourth), (second, third)))
    return made


def compare(blocks: Sequence[Block], metric: str, quantity: str, unit: str) -> Row:
    """The row of a cost metric: other / ours, above 1 where ours is cheaper."""
    ratios, floors = [], []
    seen = [turn for block in blocks for turn in (*block.ours, *block.other)]
    if any(metric not in turn for turn in seen):
        return Row(quantity, unit, None, None, noisy="too few calls")
    for block in blocks:
        ours = [math.log(turn[metric].value) for turn in block.ours]
        other = [math.log(turn[metric].value) for turn in block.other]
        ratios.append(math.exp((sum(other) - sum(ours)) / 2))
        floors += [abs(ours[0] - ours[1]), abs(other[0] - other[1])]
    value, low, high = median(ratios), *spread(ratios)
    floor = median(floors)
    beyond = (low > 1 or high < 1) and abs(math.log(value)) > FLOORS * floor
    claimed = "yes" if beyond else "no, within noise"
    return Row(
        quantity,
        unit,
        median(turn[metric].value for block in blocks for turn in block.ours),
        median(turn[metric].value for block in blocks for turn in block.other),
        value,
        low,
        high,
        math.exp(floor) - 1,
        claimed if len(blocks) >= BLOCKS else f"no, {len(blocks)} of {BLOCKS} blocks",
        len(blocks),
        _noise(seen, metric),
    )


def spread(ratios: Iterable[float]) -> tuple[float, float]:
    """Order-statistic interval of the median; all of the values where they are too few for one."""
    ordered = sorted(ratios)
    _, low, high = percentile(ordered, 0.5, CONFIDENCE)
    return low, ordered[-1] if high is None else high


def plain(quantity: str, unit: str, ours: float, other: float) -> Row:
    """A row of a quantity that does not vary, e.g. bytes."""
    ratio = other / ours if ours else None
    return Row(quantity, unit, ours, other, ratio, ratio, ratio, 0.0, "", 1)


def _noise(turns: Sequence[Turn], metric: str) -> str:
    noisy = [turn[metric] for turn in turns if turn[metric].noisy]
    reasons = sorted({str(reason) for one in noisy for reason in one.conditions.get("noise", ())})
    return f"{len(noisy)} of {len(turns)} processes: {'; '.join(reasons[:3])}" if noisy else ""


def busyness(blocks: Sequence[Block]) -> Mapping[str, float]:
    """The worst share of cores others used, and the most cores stolen, in any process."""
    conditions = [turn["latency_p50_ms"].conditions for block in blocks for turn in (*block.ours, *block.other)]
    return {
        "foreign_load_max": max(float(one["foreign_load"]) for one in conditions),
        "steal_max": max(float(one["steal"]) for one in conditions),
    }


# ---------------------------------------------------------------------------------------------- words and files


def table(rows: Sequence[Row], ours: str, other: str) -> str:
    """Rows as aligned text."""
    head = ("", ours, other, "ratio", "spread", "A/A noise", "claimed")
    body = [
        (
            row.quantity,
            _number(row.ours, row.unit),
            _number(row.other, row.unit),
            f"{row.ratio:.3g} ×" if row.ratio is not None else "",
            f"{row.low:.3g} … {row.high:.3g}" if row.low is not None and row.high is not None and row.n > 1 else "",
            f"{row.noise_floor:.1%}" if row.noise_floor else "",
            row.claimed,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *body)]
    noisy = [f"noisy: {row.quantity}: {row.noisy}" for row in rows if row.noisy]
    return "\n".join(line.rstrip() for line in (*lines, *noisy))


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if not unit else f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"


def write_rows(folder: Path, stem: str, rows: Sequence[Row], conditions: Mapping[str, object]) -> Path:
    """Write a CSV whose name says under which conditions it holds; every row carries the rest of them."""
    everything = {**surroundings(), **conditions}
    path = folder / f"{slug(stem)}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*(field.name for field in fields(Row)), *everything])
        writer.writeheader()
        for row in rows:
            writer.writerow({**asdict(row), **everything})
    return path


def write_table(path: Path, rows: Sequence[Mapping[str, object]], around: Mapping[str, object]) -> Path:
    """Write rows whose columns differ as one CSV; ``around`` stands in each. Floats get six digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*columns, *around])
        writer.writeheader()
        for row in rows:
            rounded = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            writer.writerow({**rounded, **around})
    return path


def slug(text: str) -> str:
    """A part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")


def surroundings() -> Mapping[str, object]:
    """Machine, load, versions, and a digest over every package installed."""
    device = identify()
    installed = sorted({f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions()})
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": device.name,
        "cores": device.cores,
        "load_1m": round(os.getloadavg()[0], 2),
        **{name: version for name, version in sorted(device.runtimes.items())},
        "packages_sha256": hashlib.sha256("\n".join(installed).encode()).hexdigest()[:16],
    }


def conditions_line() -> str:
    """The surroundings for a reader."""
    return " · ".join(f"{name} {value}" for name, value in surroundings().items())
