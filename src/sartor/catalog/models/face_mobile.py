"""Inverted residuals for face embeddings: the most accuracy per operation and per byte of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import margin, scaling
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    scaling.Size("s", {"widths": [24, 48, 96], "depth": 1, "dimension": 64, "mirrored": False}, "quick"),
    scaling.Size("m", {"widths": [32, 64, 128], "depth": 2, "dimension": 128, "mirrored": True}, "thorough"),
    scaling.Size("l", {"widths": [64, 128, 192], "depth": 4, "dimension": 128, "mirrored": True}, "thorough"),
)
_EXPANSION, _LAST = 2, 4


@register("models", "face-mobile")
class FaceMobile:
    """A MobileFaceNet for inputs of any size: strided stem, inverted residuals, a filter over the whole map.

    Source: Chen et al. 2018, "MobileFaceNets", arXiv:1804.07573; ReLU in place of PReLU, which int8 kernels fuse.
    """

    name: str
    tasks = frozenset({"face-recognition"})
    provenance = Provenance("own, after MobileFaceNet and CosFace", "Apache-2.0", "arXiv:1804.07573")
    fitting = "gradient"
    baseline = False
    most_epochs = margin.MOST_EPOCHS

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Widths from 24 to 64 in the first stage, at the natural input size; all with effort ``thorough``."""
        chosen = sizes if effort == "thorough" else sizes[:1]
        for variant in scaling.sized_variants(_SIZES, chosen, effort, smallest_side=16):
            options = {**variant.options, "people": margin.people(card)}
            yield Variant(variant.name, options, variant.input_size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to embeddings (n, dimension); in training to cosines (n, people)."""
        from torch import nn

        from sartor.blocks import ConvNorm, InvertedResidual

        widths = network.options["widths"]
        inputs = widths[0]
        layers: list[nn.Module] = [ConvNorm(3, inputs, stride=2), ConvNorm(inputs, inputs, groups=inputs)]
        area = [(side - 1) // 2 + 1 for side in network.input_size]
        for width, halve in zip(widths, scaling.halvings(min(area), len(widths), smallest=3), strict=True):
            for position in range(network.options["depth"] + 1):
                pool = 2 if halve and position == 0 else 1
                layers.append(InvertedResidual(inputs, width, expansion=_EXPANSION, pool=pool))
                inputs = width
            area = [side // 2 for side in area] if halve else area
        last = _LAST * inputs
        layers.append(ConvNorm(inputs, last, 1))
        return margin.embedding_network(nn.Sequential(*layers), last, (area[0], area[1]), network)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Cosine loss with a margin (CosFace)."""
        return margin.margin_loss(outputs, targets)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the 1x1 filters."""
        return margin.recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "face-mobile is trained by gradient")
