"""The public function ``compare``: two artifacts side by side, in alternating fresh processes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.codec import digest
from sartor.evidence import Workspace
from sartor.intervals import percentile
from sartor.jobs import CompareJob, CompareResult
from sartor.metrics import Metric
from sartor.progress import Tell, silent
from sartor.stages.measure.staging import lay_out_package, pack_samples
from sartor.stages.measure.summary import Observation
from sartor.stages.measure.timing import PACES, Bench, observe
from sartor.stages.measure.windows import FEWEST_CALLS, NOISE_FLOOR
from sartor.types import Measurement

_ORDER = "ABBA"  # a drift of the machine that is linear in time cancels out
MOST_BLOCKS = 2  # the second one where the first was disturbed
_ENOUGH_CALLS = 40
SECONDS = 0.8  # for the timed windows of each of the four processes
_TITLES = {
    "latency_vs_parent": "latency against its uncompressed parent",
    "latency_vs_reference": "latency against torch, eager, fp32",
}


@dataclass(frozen=True)
class Block:
    """One round A B B A: what the processes of either side showed."""

    ours: list[Observation]
    theirs: list[Observation]

    @property
    def quiet(self) -> bool:
        """True when nothing disturbed any of its processes."""
        return not any(observation.noise for observation in (*self.ours, *self.theirs))


@dataclass(frozen=True)
class Median:
    """The median milliseconds of one process, with its interval."""

    value: float
    low: float
    high: float


def compare(job: CompareJob, workspace: Workspace, tell: Tell = silent) -> CompareResult:
    """Ratio of two artifacts' median latencies, each in fresh processes started in the order A B B A.

    A round that others disturbed is done once more, and the quiet one counts.

    Raises:
        Unsupported: one of them cannot be run; see :func:`sartor.stages.measure.measure`.
        StorageError: full disk, or an object is missing or has changed.

    Example:
        ``compare(CompareJob(child, parent, data, device.id, 0.95, "latency_vs_parent"), workspace).measurement``
    """
    folder = workspace.scratch(digest(job))
    try:
        places = pack_samples(folder / "samples.bin", job.data, workspace)
        bench = Bench(folder, places, SECONDS, FEWEST_CALLS, _ENOUGH_CALLS, job.device, workspace.root / PACES)
        blocks: list[Block] = []
        while len(blocks) < MOST_BLOCKS and not any(block.quiet for block in blocks):
            blocks.append(_block(job, bench, workspace, tell))
        return result_of(job, blocks)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _block(job: CompareJob, bench: Bench, workspace: Workspace, tell: Tell) -> Block:
    block = Block([], [])
    for turn, name in enumerate(_ORDER):
        side, seen = (job.ours, block.ours) if name == "A" else (job.other, block.theirs)
        tell("comparing side by side", turn / len(_ORDER))
        lay_out_package(bench.folder / "package", side.artifact, side.pipeline, workspace)
        seen.append(observe(bench, side.pipeline))
    return block


def result_of(job: CompareJob, blocks: Sequence[Block]) -> CompareResult:
    """The ratio over the quiet blocks; over all of them, marked as noisy, where none was quiet."""
    kept = [block for block in blocks if block.quiet] or blocks
    ours = [observation for block in kept for observation in block.ours]
    theirs = [observation for block in kept for observation in block.theirs]
    our_medians = [_median(observation, job.confidence) for observation in ours]
    their_medians = [_median(observation, job.confidence) for observation in theirs]
    ratio, low, high = ratio_of(our_medians, their_medians)
    every = [*ours, *theirs]
    noise = sorted({reason for observation in every for reason in observation.noise})
    conditions = {
        "order": _ORDER,
        "blocks": len(kept),
        "blocks_dropped_as_noisy": len(blocks) - len(kept),
        "noise_floor": NOISE_FLOOR,
        "other": job.other.artifact,
        "p50_ms": round(_middle(our_medians), 6),
        "other_p50_ms": round(_middle(their_medians), 6),
        "calls": [len(observation.timings.model) for observation in every],
        "foreign_load": round(max(observation.facts["load"]["share"] for observation in every), 6),
        **({"noise": noise} if noise else {}),
    }
    measurement = Measurement(
        Metric(job.metric, "×", "lower", "cost", _TITLES.get(job.metric, job.metric.replace("_", " "))),
        ratio,
        low,
        high,
        sum(len(observation.timings.model) for observation in every),
        "measured",
        confidence=job.confidence,
        artifact=job.ours.artifact,
        device=job.device,
        noisy=bool(noise),
        conditions=conditions,
    )
    return CompareResult(measurement, is_tie(low, high))


def ratio_of(ours: Sequence[Median], theirs: Sequence[Median]) -> tuple[float, float, float]:
    """Geometric mean of the ratios of neighbouring processes, and the hull of what each pair allows.

    A pair allows everything from its lowest possible ratio (our low over their high) to its highest.
    """
    pairs = list(zip(ours, theirs, strict=True))
    logs = [math.log(mine.value / other.value) for mine, other in pairs]
    low = min(mine.low / other.high for mine, other in pairs)
    high = max(mine.high / other.low for mine, other in pairs)
    return math.exp(math.fsum(logs) / len(logs)), low, high


def is_tie(low: float, high: float) -> bool:
    """True unless the whole interval of a ratio lies outside the noise floor around 1."""
    return low <= 1 + NOISE_FLOOR and high >= 1 - NOISE_FLOOR


def _median(observation: Observation, confidence: float) -> Median:
    totals = sorted(observation.timings.totals())
    value, low, high = percentile(totals, 0.5, confidence)
    return Median(value, low, totals[-1] if high is None else high)


def _middle(medians: Sequence[Median]) -> float:
    return math.exp(math.fsum(math.log(one.value) for one in medians) / len(medians))
