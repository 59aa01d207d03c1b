"""Residual networks of 3x3 convolutions for face embeddings: the most accurate where there are many people."""

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

_STEM = 16  # channels
_SIZES = (
    scaling.Size("xs", {"widths": [16, 32, 48], "depth": 1, "dimension": 64, "mirrored": False}, "balanced"),
    scaling.Size("s", {"widths": [32, 64, 96], "depth": 1, "dimension": 64, "mirrored": True}, "quick"),
    scaling.Size("m", {"widths": [48, 96, 160], "depth": 2, "dimension": 128, "mirrored": True}, "balanced"),
    scaling.Size("l", {"widths": [64, 128, 256], "depth": 3, "dimension": 256, "mirrored": True}, "thorough"),
)


@register("models", "face-residual")
class FaceResidual:
    """Strided stem, then stages that widen and halve and add residual blocks; a margin between people in training.

    Source: He et al. 2016, arXiv:1512.03385, and Deng et al. 2019, ArcFace, arXiv:1801.07698, section 3.1.
    """

    name: str
    tasks = frozenset({"face-recognition"})
    provenance = Provenance("own, after ResNet and CosFace", "Apache-2.0", "arXiv:1801.07698")
    fitting = "gradient"
    baseline = False
    most_epochs = margin.MOST_EPOCHS

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Widths from 16 to 64 in the first stage; two input sizes, all with effort ``thorough``."""
        chosen = sizes if effort == "thorough" else sizes[:2]
        for variant in scaling.sized_variants(_SIZES, chosen, effort, smallest_side=16):
            options = {**variant.options, "people": margin.people(card)}
            yield Variant(variant.name, options, variant.input_size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to embeddings (n, dimension); in training to cosines (n, people)."""
        from torch import nn

        from sartor.blocks import ConvNorm, Residual

        layers: list[nn.Module] = [ConvNorm(3, _STEM, stride=2)]
        area = [(side - 1) // 2 + 1 for side in network.input_size]
        inputs = _STEM
        widths = network.options["widths"]
        for width, halve in zip(widths, scaling.halvings(min(area), len(widths), smallest=3), strict=True):
            layers.append(ConvNorm(inputs, width, pool=2 if halve else 1))
            layers += [
                Residual(nn.Sequential(ConvNorm(width, width), ConvNorm(width, width, active=False)))
                for _ in range(network.options["depth"])
            ]
            area = [side // 2 for side in area] if halve else area
            inputs = width
        return margin.embedding_network(nn.Sequential(*layers), inputs, (area[0], area[1]), network)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Cosine loss with a margin (CosFace)."""
        return margin.margin_loss(outputs, targets)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the filters."""
        return margin.recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "face-residual is trained by gradient")
