"""ResNet-9 and its kin: a short stack of wide 3x3 convolutions, the fastest to train to a good accuracy."""

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
    scaling.Size("xs", {"widths": [16, 32, 64], "depth": 2}, "balanced"),
    scaling.Size("s", {"widths": [32, 64, 128], "depth": 2}, "quick"),
    scaling.Size("m", {"widths": [48, 128, 192], "depth": 2}, "balanced"),
    scaling.Size("l", {"widths": [64, 256, 256], "depth": 2}, "quick"),  # the shape of airbench94
    scaling.Size("xl", {"widths": [96, 256, 320], "depth": 3}, "thorough"),
)
_STEM_CHANNELS = 24


@register("models", "resnet9")
class ResNet9:
    """Patch stem, then stages of 3x3 convolutions: widen and halve, refine, at depth 3 with a residual.

    ``depth`` counts the convolutions of a stage: 2 gives the plain net of airbench94, 3 a residual one.

    Source: Page 2018, "How to train your ResNet", and Jordan 2024, arXiv:2404.00498.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("davidcpage/cifar10-fast and KellerJordan/cifar10-airbench", "MIT", "arXiv:2404.00498")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Widths from 16 to 96 in the first stage."""
        return scaling.sized_variants(_SIZES, sizes, effort, smallest_side=4)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs)."""
        from torch import nn

        from sartor.blocks import PatchStem, PooledHead

        widths, depth = network.options["widths"], network.options["depth"]
        stride = scaling.stem_stride(network.input_size)
        stem_side = max(stride, 2)
        area = [(side - stem_side) // stride + 1 for side in network.input_size]
        layers: list[nn.Module] = [PatchStem(_STEM_CHANNELS, side=stem_side, stride=stride)]
        inputs = _STEM_CHANNELS
        for width, halve in zip(widths, scaling.halvings(min(area), len(widths)), strict=True):
            layers.append(_stage(inputs, width, depth, halve=halve))
            area = [side // 2 for side in area] if halve else area
            inputs = width
        return nn.Sequential(*layers, PooledHead(inputs, network.outputs, (area[0], area[1]), by="max"))

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the filters."""
        return scaling.muon_recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "resnet9 is trained by gradient")


def _stage(inputs: int, width: int, depth: int, *, halve: bool) -> nn.Module:
    from torch import nn

    from sartor.blocks import ConvNorm, Residual, start_as_identity

    first = ConvNorm(inputs, width, pool=2 if halve else 1)
    rest = nn.Sequential(*(ConvNorm(width, width) for _ in range(depth - 1)))
    residual = depth >= 3
    for block in (first,) if residual else (first, *rest):
        start_as_identity(block)
    return nn.Sequential(first, Residual(rest) if residual else rest)
