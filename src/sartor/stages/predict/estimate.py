"""Cost of a candidate on a device from counts alone: a roofline, or a fit to what was measured, with an interval.

The low end of a latency is a floor that no measurement can undercut, so it may remove a candidate; the high end is
generous, so it promises nothing. A learned prediction without such a floor explodes on what it has not seen (Habitat:
4,530 % on one GPU), and prediction alone breaks promises (HELP: 5 of 15 limits), so an estimate never accepts.

Source: roofline, Williams et al. 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from dataclasses import dataclass

from sartor import registry
from sartor.jobs import NetworkCost
from sartor.metrics import COST_METRICS, index
from sartor.stages.predict.calibrate import Calibration
from sartor.stages.predict.kernels import as_run, in_batch
from sartor.stages.predict.speeds import COVERAGE, Predicted, Speeds
from sartor.types import Candidate, Device, Measurement

METRICS = index(COST_METRICS)
MB = 1e6

# Why a measurement may beat operations / ceiling: Winograd convolutions need up to 2.25 × fewer multiplications
# than are counted, and a probe on a busy machine sees a lower ceiling than there is.
COMPUTE_HEADROOM = 3.0
# Weights that fit the caches are read again and again at cache speed, not at the memory's.
CACHE_HEADROOM = 20.0
DECODING_HEADROOM = 0.7  # of what decoding a call's inputs was measured to take: a quieter moment may be so much faster

TYPICAL_SHARE = {"fp32": 0.75, "bf16": 0.35, "int8": 0.35}  # of the ceiling that whole networks reached
TYPICAL_CALL_MS, TYPICAL_LAYER_MS = 0.15, 0.005
LAUNCH_MS = 0.02  # of a layer on a card: starting it costs more than a small layer computes
CACHE_GAIN = 4.0  # activations of small networks mostly stay in the caches
# The high end leaves room for what is not counted at all: decoding a large picture, a slow kernel, a busy machine.
# Of 120 networks measured on two cores of an EPYC 9004, 120 lay within, by its probe and by its datasheet alike; of 480
# latencies that others published for nine devices, 472 (benchmarks/quoted_devices.py).
HIGH_FACTOR, HIGH_MS = 8.0, 5.0
AROUND_MS = 0.1  # of a call beside the runtime's own time: decoding a small input, reading the answer
PAIRS_OVER_SPEEDS = 8  # candidates measured in this run that say more than what the device was calibrated on
UNKNOWN_FACTOR = 2.0  # wider still, for each of ceiling and bandwidth that the profile does not tell
TAIL = {"latency_p50_ms": (1.0, 1.0), "latency_p95_ms": (1.2, 2.0), "latency_p99_ms": (1.4, 3.0)}
"""Latency percentile: factor on the median's value, and on its high end."""

COMPRESSED_BYTES = {"int8": 1.0}
"""Bytes of a weight in the file where its compressor does not say; bf16 is made by the runtime from the fp32 file."""


@dataclass(frozen=True)
class Range:
    """A value and the range it is believed to lie in."""

    low: float
    value: float
    high: float


def estimate(
    cost: NetworkCost,
    candidate: Candidate,
    device: Device,
    calibration: Calibration | None = None,
    *,
    speeds: Speeds | None = None,
    batch: int = 1,
    decoding_ms: float = 0.0,
) -> tuple[Measurement, ...]:
    """Latency (p50, p95, p99), file size and peak memory of a candidate, before it exists.

    Args:
        cost: static cost at batch 1.
        candidate: gives runtime, precision, compression and threads.
        device: gives ceilings and bandwidth.
        calibration: fits to measured candidates of this run.
        speeds: of the device, from ``sartor device calibrate``. Where neither speaks of this candidate, the roofline
            is used.
        batch: samples of one call.
        decoding_ms: what decoding the inputs of one call took there at the least, whatever the model that followed.

    Returns:
        Measurements with basis ``estimated`` and n 0; low ≤ value ≤ high in each.

    Example:
        >>> estimate(cost, candidate, device)[0].low  # ms that no run can undercut  # doctest: +SKIP
    """
    fit = calibration.of(candidate) if calibration is not None and batch == 1 else None
    speed = speeds.find(candidate.runtime, candidate.precision, candidate.threads) if speeds is not None else None
    kernels = cost.kernels.get(candidate.runtime)
    floor = latency_floor_ms(cost, candidate, device, batch=batch) + DECODING_HEADROOM * decoding_ms
    by = "roofline"
    if speed is not None and kernels and (fit is None or fit.pairs < PAIRS_OVER_SPEEDS):
        by = "calibration"
        median = _call(speed.predict(as_run(in_batch(kernels, batch), candidate.precision), floor))
    elif fit is None:
        median = _roofline(cost, candidate, device, floor, batch)
    else:
        by = "run"
        value = max(fit.predict(cost), floor)
        spread = fit.spread_at(cost)
        median = Range(max(floor, value / spread), value, value * spread)
    ranges = {
        name: Range(median.low, median.value * on_value, median.high * on_high)
        for name, (on_value, on_high) in TAIL.items()
    }
    ranges["size_mb"] = _size(cost, candidate)
    ranges["memory_peak_mb"] = _memory(cost, candidate, batch)
    basis = {
        "floor_ms": floor,
        "by": by,
        "pairs": fit.pairs if fit else 0,
        "threads": candidate.threads,
        "batch": batch,
        **({"coverage": COVERAGE, "graphs": speed.graphs} if speed is not None and by == "calibration" else {}),
    }
    return tuple(
        Measurement(
            METRICS[name],
            found.value,
            found.low,
            found.high,
            n=0,
            basis="estimated",
            device=device.id if name != "size_mb" else "",
            trained=False,
            conditions=basis if name.startswith("latency") else {},
        )
        for name, found in ranges.items()
    )


def _call(predicted: Predicted) -> Range:
    """The runtime's time with what stands around it: decoding and preparing the input, reading the answer."""
    return Range(predicted.low, predicted.value + AROUND_MS, predicted.high + HIGH_MS)


def latency_floor_ms(cost: NetworkCost, candidate: Candidate, device: Device, *, batch: int = 1) -> float:
    """Milliseconds that no run of a network on a device can undercut: its arithmetic and its weights, at their best.

    It takes the whole device's ceiling whatever the number of threads: one core may run faster alone than its share.
    """
    ceilings = device.ceilings
    # a card may compute fp32 in its faster formats (TF32), so there no ceiling is sure but the highest
    known = ceilings.get(_computed_in(candidate)) if device.kind == "cpu" else None
    fastest = known or max(ceilings.values(), key=lambda ceiling: ceiling.operations_per_s, default=None)
    compute_s = batch * cost.operations / (fastest.operations_per_s * COMPUTE_HEADROOM) if fastest else 0.0
    weights = (cost.parameters - cost.looked_up) * _weight_bytes(candidate)
    memory_s = weights / (device.bandwidth_bytes_per_s * CACHE_HEADROOM) if device.bandwidth_bytes_per_s else 0.0
    return max(compute_s, memory_s) * 1e3


def _roofline(cost: NetworkCost, candidate: Candidate, device: Device, floor: float, batch: int) -> Range:
    """Arithmetic at a typical share of the ceiling, plus bytes moved, plus overhead per layer and call."""
    precision = _computed_in(candidate)
    ceiling = device.ceilings.get(precision) or device.ceilings.get("fp32")
    cores = min(candidate.threads, device.cores) / max(device.cores, 1) if device.kind == "cpu" else 1.0
    rate = (ceiling.operations_per_s if ceiling else 1e9) * cores * TYPICAL_SHARE.get(precision, 0.35)
    moved = (cost.parameters - cost.looked_up) * _weight_bytes(candidate) + 2 * batch * cost.activation_bytes
    bandwidth = device.bandwidth_bytes_per_s * CACHE_GAIN
    busy_ms = (batch * cost.operations / rate + (moved / bandwidth if bandwidth else 0.0)) * 1e3
    layer_ms = TYPICAL_LAYER_MS if device.kind == "cpu" else LAUNCH_MS
    value = max(floor, busy_ms + cost.layers * layer_ms + TYPICAL_CALL_MS)
    factor = HIGH_FACTOR * (1.0 if ceiling else UNKNOWN_FACTOR) * (1.0 if bandwidth else UNKNOWN_FACTOR)
    return Range(floor, value, factor * value + HIGH_MS)


def _weight_bytes(candidate: Candidate) -> float:
    if candidate.compressor == "none":
        return 4.0
    compressor = registry.get("compressors", candidate.compressor)
    return float(getattr(compressor, "weight_bytes", COMPRESSED_BYTES.get(candidate.precision, 4.0)))


def _computed_in(candidate: Candidate) -> str:
    """The precision of the arithmetic: another than the candidate's where only its weights are stored smaller."""
    compressor = registry.get("compressors", candidate.compressor)
    return str(getattr(compressor, "computed_in", candidate.precision))


def _size(cost: NetworkCost, candidate: Candidate) -> Range:
    """Weights, and the graph around them; batch normalisation folds away, which may take a fifth of a small net."""
    weights = cost.parameters * _weight_bytes(candidate) / MB
    graph = (cost.layers * 1.0e3 + 2e3) / MB
    return Range(0.75 * weights, weights + graph, 4 * cost.parameters / MB + cost.layers * 10e3 / MB + 0.05)


def _memory(cost: NetworkCost, candidate: Candidate, batch: int) -> Range:
    """Peak resident memory of a process that holds interpreter, runtime, weights (twice while loading), activations."""
    weights = cost.parameters * _weight_bytes(candidate) / MB
    activations = batch * cost.activation_bytes / MB
    return Range(10 + 0.75 * weights, 120 + 2.5 * weights + 0.3 * activations, 700 + 12 * weights + 4 * activations)
