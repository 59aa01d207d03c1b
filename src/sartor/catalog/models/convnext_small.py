"""ConvNeXt for small inputs: large depthwise filters and wide 1x1 layers, built to fold and to quantise."""

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
    scaling.Size("xs", {"widths": [24, 48], "depths": [1, 2], "kernel": 5}, "balanced"),
    scaling.Size("s", {"widths": [40, 80], "depths": [2, 2], "kernel": 5}, "quick"),
    scaling.Size("m", {"widths": [64, 128], "depths": [2, 4], "kernel": 5}, "balanced"),
    scaling.Size("l", {"widths": [80, 160, 320], "depths": [2, 4, 2], "kernel": 7}, "thorough"),
)


@register("models", "convnext-small")
class ConvNextSmall:
    """Patches of 2x2 pixels (more for photos), then stages of depthwise mixers with 2x2 reductions between.

    Source: Liu et al. 2022, arXiv:2201.03545.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("own, after ConvNeXt", "Apache-2.0", "arXiv:2201.03545")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Widths from 24 to 80 in the first stage."""
        return scaling.sized_variants(_SIZES, sizes, effort, smallest_side=4)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs)."""
        from torch import nn

        from sartor.blocks import ConvNorm, PatchStem, PooledHead, depthwise_mixer

        widths, depths, kernel = (network.options[key] for key in ("widths", "depths", "kernel"))
        patch = 2 * scaling.stem_stride(network.input_size) if min(network.input_size) >= 16 else 1
        stem_side = max(patch, 2)
        area = [(side - stem_side) // patch + 1 for side in network.input_size]
        layers: list[nn.Module] = [PatchStem(widths[0], side=stem_side, stride=patch)]
        reduces = (False, *scaling.halvings(min(area), len(widths) - 1, smallest=3))
        inputs = widths[0]
        for width, depth, reduce in zip(widths, depths, reduces, strict=True):
            if width != inputs:
                step = 2 if reduce else 1
                layers.append(ConvNorm(inputs, width, 3, stride=step, active=False))
                area = [(side + 1) // 2 for side in area] if reduce else area
            side = min(kernel, 2 * (min(area) // 2) + 1)  # no filter larger than the map
            layers += [depthwise_mixer(width, kernel=side, expansion=4) for _ in range(depth)]
            inputs = width
        return nn.Sequential(*layers, PooledHead(inputs, network.outputs, (area[0], area[1])))

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Muon on the 1x1 filters."""
        return scaling.muon_recipe(network, samples, epochs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "convnext-small is trained by gradient")
