"""Filters over 3, 4 and 5 neighbouring words, and for each the strongest answer in the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import scaling, text_layers, text_sizes
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    scaling.Size("s", {"vocabulary": 8_000, "width": 32, "filters": 48}, "quick"),
    scaling.Size("m", {"vocabulary": 20_000, "width": 64, "filters": 100}, "quick"),
    scaling.Size("l", {"vocabulary": 40_000, "width": 128, "filters": 128}, "thorough"),
)
_REACHES = (3, 4, 5)  # words
_DROPOUT = 0.5


@register("models", "text-cnn")
class TextCnn:
    """One layer of convolutions over word vectors, maximum over time, dropout, linear.

    Source: Kim 2014, "Convolutional neural networks for sentence classification", arXiv:1408.5882.
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("yoonkim/CNN_sentence (the method)", "none stated", "arXiv:1408.5882")
    fitting = "gradient"
    baseline = False
    most_epochs = 25.0  # as its author trains

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Three widths."""
        return text_sizes.sequence_variants(_SIZES, card, sizes, effort)

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs)."""
        import torch
        from torch import nn

        options, length = network.options, network.input_size[0]
        width, filters = int(options["width"]), int(options["filters"])
        reaches = [min(reach, length) for reach in _REACHES]

        class Filters(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.vectors = text_layers.word_vectors(int(options["vocabulary"]), width, spread=0.3)
                self.filters = nn.ModuleList(nn.Conv1d(width, filters, reach) for reach in reaches)
                self.inner = nn.Dropout(_DROPOUT / 2)
                self.dropout = nn.Dropout(_DROPOUT)
                self.head = nn.Linear(filters * len(reaches), network.outputs)

            def forward(self, ids: Tensor) -> Tensor:
                words = self.inner(self.vectors(ids)).transpose(1, 2)  # (n, width, length)
                strongest = [convolution(words).amax(2).relu() for convolution in self.filters]
                logits: Tensor = self.head(self.dropout(torch.cat(strongest, 1)))
                return logits

        return Filters()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW."""
        return text_sizes.recipe(samples, epochs, rate=4e-3)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "text-cnn is trained by gradient")
