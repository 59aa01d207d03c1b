"""Repairs what 8 bits lose: better ranges, channels made alike, then the most sensitive operators back to float."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.compressors.parts.options import require_tolerance, settings_of
from sartor.catalog.compressors.parts.qdq import prepare, suiting, weighted_places
from sartor.catalog.compressors.parts.trials import Method, Trials
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

METHODS: tuple[Method, ...] = ("MinMax", "Percentile", "Entropy")
SHARES = (0.5, 0.65, 0.8)  # of the loudness of a channel that goes into weights
GAIN = 0.8  # of the noise is all that multiplications may leave, which cost time, where more is not enough
MOST_FLOAT = 0.5  # of the operators: with more of them in float there is little left to gain
MOST_RANKED = 32  # each costs a trial: where there are more operators, neighbours are ranked together


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Args:
        tolerance: share of the noise of plain int8 that may be left, above 0, at most 1.
        smooth: make channels of activations alike where that leaves less noise.
        per_channel, activation, reduce_range: as for ``int8-static``.
    """

    tolerance: float = 1.0
    smooth: bool = True
    per_channel: bool = True
    activation: Literal["uint8", "int8"] = "uint8"
    reduce_range: bool = False


@register("compressors", "int8-mixed")
class Int8Mixed:
    """Mixed precision by measured sensitivity: static int8 with the operators in float that lose most in 8 bits.

    Noise is measured at the last products (the logits), between the float graph and the quantised one, on calibration
    samples that gave no range; no labels are used. Of three ways to choose ranges the one with the least noise is
    taken, and the same with the loudness of single channels of activations moved into the weights behind them, where
    that leaves less: by constants that are there, then by multiplications too. Operators, a few neighbours at a time
    where there are many, are ranked by the noise that they make when nothing else is quantised; as few of the worst
    stay in float as the tolerance asks for, found by bisection.

    Source: Wu et al. 2020, arXiv:2004.09602, section 5.2 (partial quantisation by sensitivity); Dong et al. 2019,
    arXiv:1905.03696 (mixed precision by layer). Entropy: Migacz 2017, "8-bit inference with TensorRT". Loud channels:
    Xiao et al. 2022, arXiv:2211.10438 (SmoothQuant).
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "int8"
    needs_products = True
    repairs = "int8-static"
    extra = ""
    provenance = Provenance(
        source="own, on https://github.com/microsoft/onnxruntime",
        licence="Apache-2.0",
        paper="https://arxiv.org/abs/2004.09602",
    )

    def options(self, device: Device) -> Options:
        """Options that suit a device: what is fast and exact on its instruction sets."""
        return suiting(device)

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> str:
        """Quantise the ONNX file ``source`` into ``target``, in part.

        Args:
            source: a graph with one input of static shape (batch, …).
            target: written whole.
            calibration: (n, …) of the input's type; half of it gives ranges, the other half judges.
            options: see :class:`Settings`.
            seed: unused; samples are taken in order.

        Returns:
            What was left in float, in one sentence.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NOTHING_TO_QUANTISE`` for a graph without weighted operators;
                ``NO_CALIBRATION`` without samples; ``NOT_REPAIRED`` where half of the operators in float are too few;
                ``QUANTISATION_FAILED``.
        """
        import onnx

        settings = read_settings(options)
        if len(calibration) == 0:
            raise Unsupported("NO_CALIBRATION", "int8-mixed needs calibration samples and was given none")
        if not weighted_places(onnx.load(source, load_external_data=False).graph):
            raise Unsupported("NOTHING_TO_QUANTISE", "the graph has no convolution or matrix product that may be 8-bit")
        # the collectors of ranges print their progress
        with TemporaryDirectory(dir=target.parent, prefix="quantise-") as folder, redirect_stdout(StringIO()):
            prepared = Path(folder) / "prepared.onnx"
            try:
                prepare(source, prepared)
                trials = Trials(
                    prepared,
                    calibration,
                    per_channel=settings.per_channel,
                    reduce_range=settings.reduce_range,
                    activation=settings.activation,
                )
                model, sentence = repaired(trials, settings.tolerance, smooth=settings.smooth)
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise Unsupported(
                    "QUANTISATION_FAILED", f"ONNX Runtime cannot quantise this graph: {reason}"
                ) from error
            onnx.save(model, target)
        return sentence


def repaired(trials: Trials, tolerance: float, *, smooth: bool = True) -> tuple[Any, str]:
    """The quantised graph (a ``ModelProto``) that leaves at most a share of the noise of plain int8, and what was done.

    Raises:
        Unsupported: ``NOT_REPAIRED``.
    """
    plain = [_tried(trials, method) for method in METHODS]
    allowed = tolerance * plain[0].noise
    best = min(plain, key=_noise)
    if smooth:
        best = min(best, _smoothed(trials, multiply=False) or best, key=_noise)
        if best.noise > allowed:
            multiplied = _smoothed(trials, multiply=True)
            if multiplied and multiplied.noise <= max(allowed, GAIN * best.noise):
                best = multiplied
    if best.noise <= allowed:
        return best.model, _sentence(best, 0)
    trials, ranges = best.trials, best.ranges
    groups = _neighbours(trials.weighted)
    alone = {group: trials.noise(trials.made(ranges, group), roughly=True) for group in groups}
    worst = sorted(groups, key=lambda group: (-alone[group], group))
    most = int(MOST_FLOAT * len(worst))

    def without(count: int) -> Any:
        return trials.made(ranges, sorted(place for group in worst[count:] for place in group))

    def in_float(count: int) -> int:
        return sum(len(group) for group in worst[:count])

    model = without(most)
    if not most or trials.noise(model) > allowed:
        few, all_ = in_float(most), len(trials.weighted)
        raise Unsupported("NOT_REPAIRED", f"with {few} of {all_} operators in float it still loses too much")
    enough, short = most, 0
    while enough - short > 1:
        middle = (enough + short) // 2
        candidate = without(middle)
        if trials.noise(candidate) <= allowed:
            enough, model = middle, candidate
        else:
            short = middle
    return model, _sentence(best, in_float(enough))


@dataclass(frozen=True)
class _Tried:
    """One way to quantise all products, and the noise that it leaves; ``share`` is 0 where nothing was smoothed."""

    noise: float
    trials: Trials
    method: Method
    ranges: Any
    model: Any
    share: float


def _tried(trials: Trials, method: Method, share: float = 0.0) -> _Tried:
    ranges = trials.ranges(method)
    model = trials.made(ranges, trials.weighted)
    return _Tried(trials.noise(model), trials, method, ranges, model, share)


def _noise(tried: _Tried) -> float:
    return tried.noise


def _smoothed(trials: Trials, *, multiply: bool) -> _Tried | None:
    """The graph smoothed by the best share, with the best ranges; None where it cannot be."""
    made = ((trials.smoothed(share, multiply=multiply), share) for share in SHARES)
    shares = (_tried(smoothed, METHODS[0], share) for smoothed, share in made if smoothed is not None)
    best = min(shares, key=_noise, default=None)
    if best is None:
        return None
    ranges = (_tried(best.trials, method, best.share) for method in METHODS[1:])
    return min(chain((best,), ranges), key=_noise)


def _neighbours(weighted: Sequence[int]) -> list[tuple[int, ...]]:
    """Operators in order, each alone or in groups of neighbours of about one size."""
    count = min(len(weighted), MOST_RANKED)
    edges = [len(weighted) * place // count for place in range(count + 1)]
    return [tuple(weighted[start:end]) for start, end in pairwise(edges)]


def _sentence(best: _Tried, few: int) -> str:
    all_ = len(best.trials.weighted)
    if best.method == "Percentile":
        said = f"{few} of {all_} products stay in float, ranges by percentiles"
    elif best.method == "Entropy":
        said = f"{few} of {all_} products stay in float, ranges by entropy"
    else:
        said = f"{few} of {all_} products stay in float"
    return "; ".join((said, "loud channels of activations smoothed into weights") if best.share else (said,))


def read_settings(options: Options) -> Settings:
    """Check options by name, type and range.

    Raises:
        Unsupported: ``BAD_OPTION``, with what is allowed.
    """
    settings = settings_of("int8-mixed", Settings, options)
    require_tolerance(settings.tolerance)
    return settings
