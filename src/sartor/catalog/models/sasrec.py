"""Self-attention over the latest items: what comes next by their order."""

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

_SIZES = (("s", 32, 1, "quick"), ("m", 64, 2, "quick"), ("l", 128, 2, "balanced"))  # name, width, blocks, effort
_WINDOW = 50  # items
_DROPOUT = 0.3


@register("models", "sasrec")
class Sasrec:
    """Causal self-attention; the item vectors that are read are also those that are recommended.

    Source: Kang and McAuley 2018, arXiv:1808.09781, with a softmax over drawn items as in Klenitskiy and Vasilev 2023,
    arXiv:2309.07602.
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1808.09781")
    fitting = "gradient"
    baseline = False
    most_epochs = 200

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By width and depth."""
        efforts = ("quick", "balanced", "thorough")
        for name, width, blocks, least in _SIZES:
            if efforts.index(least) <= efforts.index(effort):
                options = {"width": width, "blocks": blocks, "window": min(_WINDOW, *max(sizes))}
                yield Variant(name, options, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs); in training see :class:`_next_items.NextItems`."""
        import torch
        from torch import nn

        from sartor.catalog.models._next_items import HIDDEN, NextItems

        width, window = network.options["width"], network.options["window"]

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
                self.parts, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
                self.drop = nn.Dropout(_DROPOUT)

            def forward(self, x: Tensor, mask: Tensor) -> Tensor:
                query, key, value = self.parts(self.before(x)).chunk(3, 2)
                attention = torch.softmax(query @ key.transpose(1, 2) / width**0.5 + mask, 2)
                x = x + self.drop(self.joined(attention @ value))
                bent: Tensor = self.drop(self.narrow(torch.relu(self.wide(self.between(x)))))
                return bent + x

        class Tower(nn.Module):
            later: Tensor  # (window, window)

            def __init__(self) -> None:
                super().__init__()
                self.places = nn.Parameter(torch.randn(window, width) * 0.02)
                self.blocks = nn.ModuleList(Block() for _ in range(network.options["blocks"]))
                self.last, self.drop = nn.LayerNorm(width), nn.Dropout(_DROPOUT)
                self.register_buffer("later", torch.full((window, window), HIDDEN).triu(1), persistent=False)

            def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
                length = vectors.shape[1]
                mask = self.later[:length, :length] + (~there).float()[:, None, :] * HIDDEN
                x = self.drop(vectors * width**0.5 + self.places[-length:])
                for block in self.blocks:
                    x = block(x, mask)
                users: Tensor = self.last(x)
                return users

        return NextItems(Tower(), network.outputs, width, window)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """See :func:`_next_items.recipe`."""
        from sartor.catalog.models._next_items import recipe

        return recipe(samples, epochs, 3e-3)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Mean loss over all places."""
        from sartor.catalog.models._next_items import mean_loss

        return mean_loss(outputs)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "sasrec is trained by gradient")
