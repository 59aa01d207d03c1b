"""Ratings from who rates high and what is rated high: what any predictor of ratings has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.baselines import one_pass
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("models", "rating-biases")
class RatingBiases:
    """The mean rating, plus the item's and the user's deviations from it, both held back where ratings are few.

    How strongly is chosen by a tenth of train, held out for it. Source: Koren 2010, "Factor in the neighbors", section
    2.1.
    """

    name: str
    tasks = frozenset({"rating-prediction"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1145/1644873.1644874")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One."""
        yield Variant("", {"items": int(card.facts["rated"][0])}, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Questions (n, 1 + 2 L) to ratings (n, 1)."""
        from torch import nn

        from sartor.catalog.models.parts.rating_biases import Biases, split

        class Rater(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.biases = Biases(network.options["items"])

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = self.biases(*split(x))[0]
                return found[:, None]

        return Rater()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Adding up is not repeated."""
        return one_pass(512)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Set the deviations."""
        from sartor.catalog.models.parts.rating_biases import Biases, gathered

        assert isinstance(module.biases, Biases)
        questions = gathered(batches)
        module.biases.set(questions, *module.biases.choose(*questions.held_out()))
