"""Repairs what 8 bits lose: better ranges first, then the most sensitive operators back to float."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
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
MOST_FLOAT = 0.5  # of the operators: with more of them in float there is little left to gain
MOST_RANKED = 32  # each costs a trial: where there are more operators, neighbours are ranked together


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Args:
        tolerance: share of the noise of plain int8 that may be left, above 0, at most 1.
        per_channel, activation, reduce_range: as for ``int8-static``.
    """

    tolerance: float = 1.0
    per_channel: bool = True
    activation: Literal["uint8", "int8"] = "uint8"
    reduce_range: bool = False


@register("compressors", "int8-mixed")
class Int8Mixed:
    """Mixed precision by measured sensitivity: static int8 with the operators in float that lose most in 8 bits.

    Noise is measured at the last products (the logits), between the float graph and the quantised one, on calibration
    samples that gave no range; no labels are used. Of three ways to choose ranges the one with the least noise is
    taken. Operators, a few neighbours at a time where there are many, are ranked by the noise that they make when
    nothing else is quantised; as few of the worst stay in float as the tolerance asks for, found by bisection.

    Source: Wu et al. 2020, arXiv:2004.09602, section 5.2 (partial quantisation by sensitivity); Dong et al. 2019,
    arXiv:1905.03696 (mixed precision by layer). Entropy: Migacz 2017, "8-bit inference with TensorRT".
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
                model, sentence = repaired(trials, settings.tolerance)
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise Unsupported(
                    "QUANTISATION_FAILED", f"ONNX Runtime cannot quantise this graph: {reason}"
                ) from error
            onnx.save(model, target)
        return sentence


def repaired(trials: Trials, tolerance: float) -> tuple[Any, str]:
    """The quantised graph whose noise is at most ``tolerance`` times that of plain int8, and what was done.

    Raises:
        Unsupported: ``NOT_REPAIRED``.
    """
    tried = []
    for method in METHODS:
        ranges = trials.ranges(method)
        model = trials.made(ranges, trials.weighted)
        tried.append((trials.noise(model), method, ranges, model))
    allowed = tolerance * tried[0][0]
    noise, method, ranges, model = min(tried, key=lambda trial: trial[0])
    if noise <= allowed:
        return model, _sentence(trials, 0, method)
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
    return model, _sentence(trials, in_float(enough), method)


def _neighbours(weighted: Sequence[int]) -> list[tuple[int, ...]]:
    """Operators in order, each alone or in groups of neighbours of about one size."""
    count = min(len(weighted), MOST_RANKED)
    edges = [len(weighted) * place // count for place in range(count + 1)]
    return [tuple(weighted[start:end]) for start, end in pairwise(edges)]


def _sentence(trials: Trials, few: int, method: Method) -> str:
    all_ = len(trials.weighted)
    if method == "Percentile":
        return f"{few} of {all_} products stay in float, ranges by percentiles"
    if method == "Entropy":
        return f"{few} of {all_} products stay in float, ranges by entropy"
    return f"{few} of {all_} products stay in float"


def read_settings(options: Options) -> Settings:
    """Check options by name, type and range.

    Raises:
        Unsupported: ``BAD_OPTION``, with what is allowed.
    """
    settings = settings_of("int8-mixed", Settings, options)
    require_tolerance(settings.tolerance)
    return settings
