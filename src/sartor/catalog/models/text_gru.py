"""A recurrent network that reads the words in both directions."""

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
    scaling.Size("s", {"vocabulary": 8_000, "width": 32, "state": 32}, "balanced"),
    scaling.Size("m", {"vocabulary": 20_000, "width": 64, "state": 64}, "thorough"),
)
_DROPOUT = 0.4
_LONGEST = 128  # words: a step each, one after the other


@register("models", "text-gru")
class TextGru:
    """Word vectors, one bidirectional layer of gated recurrent units, the strongest of their states over time.

    Source: Cho et al. 2014, arXiv:1406.1078; Conneau et al. 2017, arXiv:1705.02364, section 3.2 (maximum over time).
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1406.1078")
    fitting = "gradient"
    baseline = False
    autocast = False  # thousands of small steps: bf16 loses more than it saves

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Two widths, for texts of at most 128 words.

        Raises:
            Unsupported: all lengths are longer, or the effort is quick.
        """
        fitting = [size for size in sizes if size[0] <= _LONGEST]
        if not fitting:
            raise Unsupported("TOO_LONG", f"reads word after word, so at most {_LONGEST} of them, not {list(sizes)}")
        if effort == "quick":
            raise Unsupported("EFFORT", "reading word after word takes long to train; set effort: balanced")
        return text_sizes.sequence_variants(_SIZES, card, fitting, effort)

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs)."""
        from torch import nn

        options = network.options
        width, state = int(options["width"]), int(options["state"])

        class Reader(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.vectors = text_layers.word_vectors(int(options["vocabulary"]), width, spread=0.3)
                self.units = nn.GRU(width, state, batch_first=True, bidirectional=True)
                self.dropout = nn.Dropout(_DROPOUT)
                self.head = nn.Linear(2 * state, network.outputs)

            def forward(self, ids: Tensor) -> Tensor:
                states, _ = self.units(self.dropout(self.vectors(ids)))  # (n, length, 2 * state)
                empty = (ids == 0)[:, :, None].to(states.dtype)
                strongest = (states - 2.0 * empty).amax(1)  # states lie in -1 … 1
                logits: Tensor = self.head(self.dropout(strongest))
                return logits

        return Reader()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW."""
        return text_sizes.recipe(samples, epochs, rate=3e-3)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "text-gru is trained by gradient")
