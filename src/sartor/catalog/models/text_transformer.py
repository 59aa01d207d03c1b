"""A small encoder in which every word looks at every other, trained on the data alone."""

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
    scaling.Size("xs", {"vocabulary": 8_000, "width": 48, "layers": 1, "heads": 2}, "quick"),
    scaling.Size("s", {"vocabulary": 20_000, "width": 96, "layers": 2, "heads": 3}, "balanced"),
    scaling.Size("m", {"vocabulary": 20_000, "width": 192, "layers": 4, "heads": 6}, "thorough"),
)
_DROPOUT = 0.2


@register("models", "text-transformer")
class TextTransformer:
    """Word vectors with learnt places, layers of attention and two linear maps, norm first, mean over the words.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (norm first).
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1706.03762")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Three sizes."""
        return text_sizes.sequence_variants(_SIZES, card, sizes, effort)

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs)."""
        import torch
        from torch import nn

        options, length = network.options, network.input_size[0]
        width = int(options["width"])

        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.vectors = text_layers.word_vectors(int(options["vocabulary"]), width, spread=0.1)
                self.places = nn.Parameter(torch.randn(1, length, width) * 0.02)
                self.dropout = nn.Dropout(_DROPOUT)
                self.layers = nn.ModuleList(_layer(width, int(options["heads"])) for _ in range(options["layers"]))
                self.norm = nn.LayerNorm(width)
                self.head = nn.Linear(width, network.outputs)

            def forward(self, ids: Tensor) -> Tensor:
                held = (ids != 0).to(self.places.dtype)  # (n, length)
                unseen = (1 - held)[:, None, None, :] * -1e4
                words = self.dropout(self.vectors(ids) + self.places)
                for layer in self.layers:
                    words = layer(words, unseen)
                logits: Tensor = self.head(self.dropout(text_layers.mean_of(self.norm(words), held)))
                return logits

        return Encoder()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW."""
        return text_sizes.recipe(samples, epochs, rate=1e-3, decay=0.05)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "text-transformer is trained by gradient")


def _layer(width: int, heads: int) -> nn.Module:
    """Attention and two linear maps, each behind a norm and beside a shortcut, in plain products."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.asking = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
            self.dropout = nn.Dropout(_DROPOUT)

        def forward(self, words: Tensor, unseen: Tensor) -> Tensor:
            n, length, _ = words.shape
            parts = self.asking(self.before(words)).view(n, length, 3, heads, width // heads)
            query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (n, heads, length, width / heads)
            weights = torch.softmax(query @ key.transpose(2, 3) * (width // heads) ** -0.5 + unseen, dim=3)
            seen = (weights @ value).transpose(1, 2).reshape(n, length, width)
            words = words + self.dropout(self.out(seen))
            inner = nn.functional.gelu(self.wide(self.between(words)))
            added: Tensor = words + self.dropout(self.narrow(inner))
            return added

    return Layer()
