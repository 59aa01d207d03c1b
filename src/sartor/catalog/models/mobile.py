"""Inverted residuals on depthwise filters: the most accuracy per operation and per byte of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import scaling
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    scaling.Size("xs", {"widths": [12, 24, 48], "depth": 1, "expansion": 3}, "balanced"),
    scaling.Size("s", {"widths": [20, 40, 80], "depth": 2, "expansion": 3}, "quick"),
    scaling.Size("m", {"widths": [28, 56, 128], "depth": 3, "expansion": 4}, "balanced"),
    scaling.Size("l", {"widths": [40, 96, 192], "depth": 3, "expansion": 5}, "thorough"),
)


@register("models", "mobile")
class Mobile:
    """A MobileNetV2-like net for inputs of any size: patch stem, stages of inverted residuals, mean, linear.

    Source: Sandler et al. 2018, arXiv:1801.04381.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("own, after MobileNetV2", "Apache-2.0", "arXiv:1801.04381")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Widths from 12 to 40 in the first stage."""
        return scaling.sized_variants(_SIZES, sizes, effort, smallest_side=4)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs)."""
        from torch import nn

        from sartor.blocks import ConvNorm, InvertedResidual, PatchStem, PooledHead

        widths, expansion = network.options["widths"], network.options["expansion"]
        stride = scaling.stem_stride(network.input_size)
        stem_side = max(stride, 2)
        area = [(side - stem_side) // stride + 1 for side in network.input_size]
        layers: list[nn.Module] = [PatchStem(24, side=stem_side, stride=stride)]
        inputs = 24
        for width, halve in zip(widths, scaling.halvings(min(area), len(widths), smallest=3), strict=True):
            for position in range(network.options["depth"]):
                pool = 2 if halve and position == 0 else 1
                # The first block works on the largest map; like MobileNetV2's it does not expand.
                factor = expansion if len(layers) > 1 else 1
                layers.append(InvertedResidual(inputs, width, expansion=factor, pool=pool))
                inputs = width
            area = [side // 2 for side in area] if halve else area
        last = 4 * inputs
        return nn.Sequential(*layers, ConvNorm(inputs, last, 1), PooledHead(last, network.outputs, (area[0], area[1])))

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the 1x1 filters."""
        return scaling.muon_recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "mobile is trained by gradient")
