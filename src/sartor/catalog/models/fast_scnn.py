"""Fast-SCNN: one shallow path keeps borders, one deep and cheap path sees the scene."""

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

_SIZES = (
    scaling.Size("s", {"shallow": [16, 32, 48], "deep": [64, 96, 128], "expansion": 3}, "balanced"),
    scaling.Size(
        "m", {"shallow": [24, 48, 64], "deep": [64, 96, 128], "expansion": 6}, "quick"
    ),  # the paper's deep path
    scaling.Size("l", {"shallow": [32, 64, 96], "deep": [96, 144, 192], "expansion": 6}, "thorough"),
)
SMALLEST_SIDE = 64
COARSE = 512  # pixels: pictures with a longer side are judged at an eighth of it, as in the paper, others at a quarter
BINS = (1, 2, 4)  # a side, of the pyramid that looks at the whole scene


@register("models", "fast-scnn")
class FastSCNN:
    """Learning to down-sample, a deep path of inverted residuals with a pyramid of means, both added, a slim head.

    Source: Poudel, Liwicki and Cipolla 2019, arXiv:1902.04502; Zhao et al. 2017, arXiv:1612.01105 (the pyramid). Max
    pooling behind depthwise filters in place of strides, nearest in place of bilinear growth inside the network.
    """

    name: str
    tasks = frozenset({"image-segmentation"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1902.04502")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Three widths."""
        fitting = [size for size in sizes if all(side % 32 == 0 for side in size)]
        return scaling.sized_variants(_SIZES, fitting, effort, smallest_side=SMALLEST_SIDE)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs, h, w) at a quarter or an eighth of a side."""
        module: nn.Module = _network(network)
        return module

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the filters."""
        return segmenting.recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "fast-scnn is trained by gradient")


def _network(network: Network) -> Any:
    import torch
    from torch import nn

    from sartor.blocks import ConvNorm, InvertedResidual, PatchStem

    first, second, third = network.options["shallow"]
    deep, expansion = network.options["deep"], network.options["expansion"]
    stride = 8 if max(network.input_size) > COARSE else 4
    area = [side // (stride * 4) for side in network.input_size]  # of the deepest map

    def separable(inputs: int, outputs: int, pool: int = 1) -> nn.Module:
        return nn.Sequential(
            ConvNorm(inputs, inputs, groups=inputs, active=False, pool=pool), ConvNorm(inputs, outputs, 1)
        )

    def stage(inputs: int, outputs: int, pool: int) -> nn.Module:
        return nn.Sequential(
            InvertedResidual(inputs, outputs, expansion=expansion, pool=pool),
            InvertedResidual(outputs, outputs, expansion=expansion),
        )

    class Pyramid(nn.Module):
        """Means over coarse cells beside the map itself."""

        def __init__(self, width: int) -> None:
            super().__init__()
            cells = [(max(1, area[0] // count), max(1, area[1] // count)) for count in BINS]
            self.means = nn.ModuleList(nn.AvgPool2d(cell) for cell in dict.fromkeys(cells))
            self.narrow = nn.ModuleList(ConvNorm(width, width // 4, 1) for _ in self.means)
            self.grow = nn.Upsample(size=tuple(area))
            self.join = ConvNorm(width + len(self.means) * (width // 4), width, 1)

        def forward(self, x: Tensor) -> Tensor:
            seen = [self.grow(narrow(mean(x))) for mean, narrow in zip(self.means, self.narrow, strict=True)]
            joined: Tensor = self.join(torch.cat([x, *seen], dim=1))
            return joined

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shallow = nn.Sequential(
                PatchStem(first, side=2, stride=2),
                separable(first, second, pool=2),
                separable(second, third, pool=stride // 4),
            )
            self.deep = nn.Sequential(
                stage(third, deep[0], 2), stage(deep[0], deep[1], 2), stage(deep[1], deep[2], 1), Pyramid(deep[2])
            )
            self.grow = nn.Upsample(scale_factor=4.0)
            self.refine = nn.Sequential(
                ConvNorm(deep[2], deep[2], groups=deep[2]), ConvNorm(deep[2], deep[2], 1, active=False)
            )
            self.fine = ConvNorm(third, deep[2], 1, active=False)
            self.act = nn.ReLU()
            self.head = nn.Sequential(
                separable(deep[2], deep[2]), separable(deep[2], deep[2]), nn.Conv2d(deep[2], network.outputs, 1)
            )

        def forward(self, x: Tensor) -> Tensor:
            fine = self.shallow(x)
            coarse = self.refine(self.grow(self.deep(fine)))
            logits: Tensor = self.head(self.act(coarse + self.fine(fine)))
            return logits

    return Net()
