"""Hashed words, pairs and pieces of words, each a short vector; their mean decides. There is no vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import scaling, text_sizes
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    scaling.Size("8k", {"buckets": 1 << 13, "width": 16}, "quick"),
    scaling.Size("32k", {"buckets": 1 << 15, "width": 16}, "quick"),
    scaling.Size("128k", {"buckets": 1 << 17, "width": 16}, "balanced"),
    scaling.Size("512k", {"buckets": 1 << 19, "width": 32}, "thorough"),
)
_MOST_IDS = 1024
_DROPOUT = 0.3


@register("models", "text-hashing")
class TextHashing:
    """The mean of hashed n-gram vectors, then one linear layer.

    Source: Joulin et al. 2016, "Bag of tricks for efficient text classification", arXiv:1607.01759.
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("facebookresearch/fastText (the method)", "MIT", "arXiv:1607.01759")
    fitting = "gradient"
    baseline = False
    most_epochs = 25.0  # as its authors train on small data; more of them learn the texts by heart

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """From 8,192 buckets on."""
        length = (text_sizes.length(card, "pieces", _MOST_IDS),)
        for row in _SIZES:
            if scaling.EFFORTS.index(row.effort) <= scaling.EFFORTS.index(effort):
                yield Variant(row.name, dict(row.options), length, f"ngrams-{row.options['buckets']}")

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs)."""
        from torch import nn

        buckets, width = int(network.options["buckets"]), int(network.options["width"])

        class Bag(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.vectors = nn.Embedding(buckets, width, padding_idx=0)
                nn.init.uniform_(self.vectors.weight, -1 / width, 1 / width)
                nn.init.zeros_(self.vectors.weight[0].detach())
                self.dropout = nn.Dropout(_DROPOUT)
                self.head = nn.Linear(width, network.outputs)

            def forward(self, ids: Tensor) -> Tensor:
                count = (ids != 0).sum(1, keepdim=True).clamp_min(1).to(self.head.weight.dtype)
                mean = self.vectors(ids).sum(1) / count  # (n, width)
                logits: Tensor = self.head(self.dropout(mean))
                return logits

        return Bag()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """A high rate, as each vector is met rarely."""
        return text_sizes.recipe(samples, epochs, rate=1.5e-2)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "text-hashing is trained by gradient")
