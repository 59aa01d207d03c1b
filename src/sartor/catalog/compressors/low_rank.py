"""Products of low rank: a wide layer becomes two thin ones where its outputs hardly leave a few directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.compressors.parts.factors import Product, Space, factored, products_of, ranks, spaces_of
from sartor.catalog.compressors.parts.noise import Judge
from sartor.catalog.compressors.parts.options import settings_of
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

WORTH = 0.8  # of a layer's weights, at most, its two factors have: two kernels take longer than one of as much work
SMALL = 0.01  # of the whole work: what is less is left alone
HALF = 0.5  # of a layer's weights are left where it is found out what the network makes of such an error
MOST_TRIED = 32  # layers that are tried alone: where there are more, neighbours are tried together


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Args:
        share: of the work that is left, above 0, below 1.
        of: what work is: ``operations`` of a call, or ``weights`` of the file.
    """

    share: float = 0.8
    of: Literal["operations", "weights"] = "operations"


@dataclass(frozen=True)
class _Layer:
    """A product, its outputs, and how much noise it makes at the network's end for each share of them that is lost."""

    product: Product
    space: Space
    work: float  # per weight
    cost: float = 1.0

    def noise(self, rank: int) -> float:
        return self.cost * self.space.lost(rank)


@register("compressors", "low-rank")
class LowRank:
    """Low-rank factorisation after training, by the outputs that calibration samples give.

    A product of rank ``r`` is a projection of its outputs on ``r`` directions. The best are their principal ones, which
    is the SVD of weights whitened by the moments of the inputs. Each layer is then tried alone, to see what
    the network makes of such an error; ranks fall where that costs least for the work that it saves, until the share
    wanted is left. Nothing is trained. The file is run like what is uncompressed, and can be compressed further.

    Source: Zhang et al. 2015, arXiv:1505.06798 (response reconstruction, ranks by energy); Wang et al. 2024,
    arXiv:2403.07378 (truncation-aware SVD); Ashkboos et al. 2024, arXiv:2404.00456 (rotation before 8 bits).
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "fp32"
    needs_products = True
    reshapes = True
    extra = ""
    provenance = Provenance(source="own", licence="Apache-2.0", paper="https://arxiv.org/abs/1505.06798")

    def options(self, device: Device) -> Options:
        """The share is the planner's to choose."""
        return {}

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> str:
        """Factor products of the ONNX file ``source``.

        Args:
            source: a graph with one input of static shape (batch, …).
            target: written whole.
            calibration: (n, …) of the input's type; half of it shows outputs, the other half judges.
            options: see :class:`Settings`.
            seed: unused; samples are taken in order.

        Returns:
            What was factored, in one sentence.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NO_CALIBRATION`` without samples; ``NOTHING_TO_FACTOR`` for a graph without
                products large enough; ``NOT_FACTORED`` where the lowest ranks leave more than the share.
        """
        import onnx

        settings = read_settings(options)
        if len(calibration) == 0:
            raise Unsupported("NO_CALIBRATION", "low-rank needs calibration samples and was given none")
        model = onnx.load(source)
        products = [product for product in products_of(model) if ranks(product, WORTH)]
        if not products:
            raise Unsupported("NOTHING_TO_FACTOR", "the graph has no product that two thinner ones could replace")
        half = calibration[::2]
        whole = [
            _Layer(product, space, space.positions if settings.of == "operations" else 1)
            for product, space in zip(products, spaces_of(model, products, half), strict=True)
        ]
        total = sum(layer.work * layer.product.numbers() for layer in whole)
        layers = [layer for layer in whole if layer.work * layer.product.numbers() >= SMALL * total]
        judge = Judge(model, calibration[1::2] if len(calibration) > 1 else calibration)
        chosen, left = _within(_judged(model, layers, judge), settings.share * total, total)
        if left > settings.share:
            raise Unsupported(
                "NOT_FACTORED",
                f"with the lowest ranks {left:.0%} of its {settings.of} are left, not {settings.share:.0%}",
            )
        onnx.save(factored(model, {one.product.output: (one.product, one.space, rank) for one, rank in chosen}), target)
        few, all_ = len(chosen), len(whole)
        if settings.of == "weights":
            return f"{few} of {all_} products became two thinner ones, with {left:.0%} of their weights"
        return f"{few} of {all_} products became two thinner ones, with {left:.0%} of their operations"


def _judged(model: Any, layers: Sequence[_Layer], judge: Judge) -> list[_Layer]:
    """Layers with what the network makes of their errors: each is tried alone, or with its neighbours."""
    size = -(-len(layers) // MOST_TRIED)
    found = []
    for start in range(0, len(layers), size):
        group = layers[start : start + size]
        tried = {one.product.output: (one.product, one.space, _at_half(one.product)) for one in group}
        lost = sum(space.lost(rank) for _, space, rank in tried.values())
        cost = judge.noise(factored(model, tried)) / max(lost, 1e-9)
        found += [_Layer(one.product, one.space, one.work, cost) for one in group]
    return found


def _at_half(product: Product) -> int:
    return min(ranks(product, WORTH), key=lambda rank: abs(product.numbers(rank) - HALF * product.numbers()))


def _within(layers: Sequence[_Layer], most: float, total: float) -> tuple[list[tuple[_Layer, int]], float]:
    """Ranks that leave at most so much work, by the least noise for each bit of work saved; and the share left."""
    steps = sorted(
        (slope, place, rank, saved)
        for place, layer in enumerate(layers)
        for slope, rank, saved in _steps(layer)
    )  # fmt: skip
    left, ranks_of = total, dict[int, int]()
    for _, place, rank, saved in steps:
        if left <= most:
            break
        ranks_of[place] = rank
        left -= saved
    return [(layers[place], rank) for place, rank in sorted(ranks_of.items())], left / total


def _steps(layer: _Layer) -> list[tuple[float, int, float]]:
    """From its whole work down, along the lower hull of noise over work: noise per work saved, rank, work saved."""
    work = layer.work * layer.product.numbers()
    points = [(work, 0.0, 0)] + [
        (layer.work * layer.product.numbers(rank), layer.noise(rank), rank) for rank in ranks(layer.product, WORTH)
    ]
    found, here = [], 0
    while here < len(points) - 1:
        work, noise, _ = points[here]
        slopes = [(max(0.0, n - noise) / (work - w), -place) for place, (w, n, _) in enumerate(points) if place > here]
        slope, place = min(slopes)
        here = -place
        found.append((slope, points[here][2], work - points[here][0]))
    return found


def read_settings(options: Options) -> Settings:
    """Check options by name, type and range.

    Raises:
        Unsupported: ``BAD_OPTION``, with what is allowed.
    """
    settings = settings_of("low-rank", Settings, options)
    share = settings.share
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise Unsupported("BAD_OPTION", f"share is {share!r}; it must be above 0 and below 1")
    if settings.of not in ("operations", "weights"):
        raise Unsupported("BAD_OPTION", f"of is {settings.of!r}; it must be operations or weights")
    return settings
