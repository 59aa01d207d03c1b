"""The commonest class, whatever the input: the floor that every model has to beat."""

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


@register("models", "majority-class")
class MajorityClass:
    """Answers with the class shares of the training data."""

    name: str
    tasks = frozenset({"image-classification", "text-classification", "tabular-classification"})
    provenance = Provenance("own", "Apache-2.0", "")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One, at the smallest input size: the input does not matter."""
        return smallest_only(sizes)

    def build(self, network: Network) -> nn.Module:
        """Any (n, …) to the same logits (n, outputs)."""
        return constant("logits", network.outputs)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Counting is not repeated."""
        return one_pass(512)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Count the classes; one is added to each count, so that no share is zero."""
        import torch

        logits = module.get_buffer("logits")
        counts = torch.ones(len(logits), dtype=torch.float64)
        for _, truths in batches():
            counts += torch.bincount(truths.cpu(), minlength=len(logits))
        logits.copy_((counts / counts.sum()).log())
