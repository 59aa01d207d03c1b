"""The commonest class, whatever the input: the floor that every model has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
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
        yield Variant("", {}, min(sizes))

    def build(self, network: Network) -> nn.Module:
        """Any (n, …) to the same logits (n, outputs)."""
        import torch
        from torch import nn

        class Shares(nn.Module):
            logits: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("logits", torch.zeros(network.outputs))

            def forward(self, x: Tensor) -> Tensor:
                # Tied to the input: runtimes drop or refuse an input that nothing uses.
                return self.logits + 0.0 * x.flatten(1)[:, :1].float()

        return Shares()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Counting is not repeated."""
        return Recipe(1.0, 512, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Count the classes; one is added to each count, so that no share is zero."""
        import torch

        logits = module.get_buffer("logits")
        counts = torch.ones(len(logits), dtype=torch.float64)
        for _, truths in batches():
            counts += torch.bincount(truths.cpu(), minlength=len(logits))
        logits.copy_((counts / counts.sum()).log())
