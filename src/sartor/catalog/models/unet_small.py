"""A small U-Net: every pixel is judged by what is near it and by what the whole scene is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import scaling, segmenting
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

# Widths of the map at 1/2 of the input's side, at 1/4, and so on.
_SIZES = (
    scaling.Size("xs", {"widths": [12, 16, 32, 64, 96]}, "balanced"),
    scaling.Size("s", {"widths": [16, 24, 48, 96, 160]}, "quick"),
    scaling.Size("m", {"widths": [24, 40, 80, 144, 224]}, "quick"),
    scaling.Size("l", {"widths": [32, 64, 128, 224, 320]}, "thorough"),
)
SMALLEST_SIDE = 16


@register("models", "unet-small")
class UNetSmall:
    """Stages of 3x3 convolutions that halve the map, and as many that double it again, joined at equal size.

    Logits are at a quarter of the input's side: finer maps cost most of a U-Net's time and carry little. The deepest
    stage has a residual block more, so that it sees the whole scene.

    Source: Ronneberger, Fischer and Brox 2015, arXiv:1505.04597, with batch norm behind every convolution.
    """

    name: str
    tasks = frozenset({"image-segmentation"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1505.04597")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Widths from 12 to 32 in the first stage."""
        return scaling.sized_variants(_SIZES, sizes, effort, smallest_side=SMALLEST_SIDE)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs, H / 4, W / 4)."""
        module: nn.Module = _unet(network.options["widths"], network.input_size, network.outputs)
        return module

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the filters."""
        return segmenting.recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "unet-small is trained by gradient")


def _unet(widths: Sequence[int], input_size: Sequence[int], outputs: int) -> Any:
    import torch
    from torch import nn

    from sartor.blocks import ConvNorm, PatchStem, Residual

    stages = segmenting.even_halvings(input_size, len(widths))
    widths = widths[:stages]

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = PatchStem(widths[0], side=2, stride=2)
            pairs = list(zip(widths, widths[1:], strict=False))
            self.down = nn.ModuleList(
                nn.Sequential(ConvNorm(inputs, width, pool=2), ConvNorm(width, width)) for inputs, width in pairs
            )
            deepest = widths[-1]
            self.context = Residual(nn.Sequential(ConvNorm(deepest, deepest), ConvNorm(deepest, deepest)), active=True)
            self.up = nn.ModuleList(
                ConvNorm(above + width, width) for above, width in zip(widths[:1:-1], widths[-2:0:-1], strict=True)
            )
            self.grow = nn.Upsample(scale_factor=2.0)
            self.head = nn.Conv2d(widths[1] if len(widths) > 1 else widths[0], outputs, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            maps = []
            for stage in self.down:
                x = stage(x)
                maps.append(x)
            x = self.context(x)
            for stage, skip in zip(self.up, maps[-2::-1], strict=True):
                x = stage(torch.cat([self.grow(x), skip], dim=1))
            logits: Tensor = self.head(x)
            return logits

    return UNet()
