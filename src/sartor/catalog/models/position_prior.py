"""The class that train shows most often at each place: the floor that every segmenter has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.baselines import one_pass, smallest_only
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

GRID = 24  # cells a side: finer ones would remember single pictures
IGNORED = 255


@register("models", "position-prior")
class PositionPrior:
    """Answers with the class shares of the training masks in each of 24 x 24 cells, whatever the picture shows."""

    name: str
    tasks = frozenset({"image-segmentation"})
    provenance = Provenance("own", "Apache-2.0", "")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One, at the smallest input size: the picture does not matter."""
        return smallest_only(sizes)

    def build(self, network: Network) -> nn.Module:
        """Any (n, 3, H, W) to the same logits (n, outputs, rows, columns)."""
        import torch
        from torch import nn

        rows, columns = (min(GRID, side) for side in network.input_size)

        class Shares(nn.Module):
            logits: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("logits", torch.zeros(network.outputs, rows, columns))

            def forward(self, x: Tensor) -> Tensor:
                # Tied to the input: runtimes drop or refuse an input that nothing uses.
                return self.logits + 0.0 * x[:, :1, :1, :1].float()

        return Shares()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Counting is not repeated."""
        return one_pass(32)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Count the classes in each cell; the shares of the whole are added as one picture's worth."""
        import torch
        from torch.nn import functional

        logits = module.get_buffer("logits")
        classes, rows, columns = logits.shape
        counts = torch.zeros(classes, rows, columns, dtype=torch.float64)
        for _, masks in batches():
            for mask in masks.cpu():  # one at a time: a map per class is large
                of_class = functional.one_hot(torch.where(mask == IGNORED, classes, mask).long(), classes + 1)
                maps = of_class[..., :classes].permute(2, 0, 1)[None].double()
                counts += functional.adaptive_avg_pool2d(maps, (rows, columns))[0]
        overall = counts.sum(dim=(1, 2)) + 1e-6
        counts += (overall / overall.sum())[:, None, None]
        logits.copy_((counts / counts.sum(dim=0)).log())
