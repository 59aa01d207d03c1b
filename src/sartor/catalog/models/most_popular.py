"""What most people meet, whoever asks: the floor that every recommender has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("models", "most-popular")
class MostPopular:
    """Recommends the most frequent items that the user has not met."""

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One, with the longest history: it is there to leave out what was met."""
        yield Variant("", {}, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to the same scores (n, outputs): logarithms of frequencies."""
        import torch
        from torch import nn

        from sartor.catalog.models.parts.recommending import popularity

        class Frequencies(nn.Module):
            scores: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("scores", popularity(torch.ones(network.outputs)).log())

            def forward(self, history: Tensor) -> Tensor:
                # Tied to the input: runtimes drop or refuse an input that nothing uses.
                return self.scores + 0.0 * history[:, :1].float()

        return Frequencies()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Counting is not repeated."""
        return Recipe(1.0, 256, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Count the items."""
        from sartor.catalog.models.parts.recommending import counts, popularity

        scores = module.get_buffer("scores")
        scores.copy_(popularity(counts(batches, len(scores))).log())
