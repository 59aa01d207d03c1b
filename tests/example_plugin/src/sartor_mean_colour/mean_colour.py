"""Mean colours of a coarse grid of fields, then one linear layer: knows grass from sky, and not much more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("models", "mean-colour")
class MeanColour:
    """Average the picture over ``grid`` × ``grid`` fields, then a linear layer.

    Source: Swain and Ballard 1991, "Color indexing", with means in place of histograms.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("https://example.org/sartor-mean-colour", "Apache-2.0", "doi:10.1007/BF00130487")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Grids that divide the smallest input size, coarse first."""
        size = min(sizes)
        for grid in (1, 2, 4):
            if all(side % grid == 0 for side in size):
                yield Variant(f"g{grid}", {"grid": grid}, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs)."""
        from torch import nn

        grid = network.options["grid"]
        height, width = network.input_size
        return nn.Sequential(
            nn.AvgPool2d((height // grid, width // grid)),
            nn.Flatten(),
            nn.Linear(3 * grid * grid, network.outputs),
        )

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW without augmentation: there are at most 48 numbers to learn from."""
        return Recipe(
            epochs=epochs, batch_size=min(256, samples), optimizer="adamw", learning_rate=0.01, weight_decay=0.0
        )

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "mean-colour is trained by gradient")
