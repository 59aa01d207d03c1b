"""The mean of the training truths, whatever the input: the floor that every model of numbers has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.baselines import constant, one_pass, smallest_only
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("models", "mean-value")
class MeanValue:
    """Answers with the mean of the training data."""

    name: str
    tasks = frozenset({"rating-prediction", "tabular-regression"})
    provenance = Provenance("own", "Apache-2.0", "")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One, at the smallest input size: the input does not matter."""
        return smallest_only(sizes)

    def build(self, network: Network) -> nn.Module:
        """Any (n, …) to the same numbers (n, outputs)."""
        return constant("value", network.outputs)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Adding up is not repeated."""
        return one_pass(512)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """The mean of the targets, as they are scaled."""
        total, count = 0.0, 0
        for _, targets in batches():
            total, count = total + float(targets.double().sum()), count + len(targets)
        module.get_buffer("value").fill_(total / max(count, 1))
