"""Self-attention over the latest items: what comes next by their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.recommender_training import MOST_EPOCHS, fit, furnish, loss, recipe, windowed
from sartor.catalog.models.parts.scaling import Size
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    Size("s", {"width": 32, "blocks": 1}, "quick"),
    Size("m", {"width": 64, "blocks": 2}, "quick"),
    Size("l", {"width": 128, "blocks": 2}, "balanced"),
)
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
    most_epochs = MOST_EPOCHS
    loss_spans_batch = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By width and depth."""
        yield from windowed(_SIZES, sizes, effort, "")

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs); in training see :class:`_next_items.NextItems`."""
        import torch
        from torch import nn

        from sartor.catalog.models.parts.next_items import HIDDEN, NextItems

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

    recipe = recipe
    loss = loss
    fit = fit
    furnish = furnish
