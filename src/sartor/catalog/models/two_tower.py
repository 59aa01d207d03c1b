"""Two towers: a user is the weighted mean of items met, an item its own vector; features join both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.recommender_training import (
    MOST_EPOCHS,
    features_of,
    fit,
    furnish,
    loss,
    recipe,
    windowed,
)
from sartor.catalog.models.parts.scaling import Size
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    Size("s", {"width": 32}, "quick"),
    Size("m", {"width": 64}, "quick"),
    Size("l", {"width": 128}, "balanced"),
)
_DROPOUT = 0.3


@register("models", "two-tower")
class TwoTower:
    """The user's tower weighs the vectors of the latest items by how long ago they were met and bends the sum once.

    Features join where there are any: to an item's own vector, the mean of those of its features, which stand alone for
    items that train lacks; to a user's vector, the mean of those of the user's, which stand alone without a history.

    Source: Covington et al. 2016, "Deep neural networks for YouTube recommendations"; users as sums of items as in
    Kabbur et al. 2013, "FISM".
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1145/2959100.2959190")
    fitting = "gradient"
    baseline = False
    most_epochs = MOST_EPOCHS
    loss_spans_batch = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By width."""
        encoding, features = features_of(card)
        sizes_of_it = [Size(row.name, {**row.options, **features}, row.effort) for row in _SIZES]
        yield from windowed(sizes_of_it, sizes, effort, encoding)

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs); in training see :class:`_next_items.NextItems`."""
        import torch
        from torch import nn

        from sartor.catalog.models.parts.next_items import NextItems

        width, window = network.options["width"], network.options["window"]

        class Tower(nn.Module):
            ages: Tensor  # (window, window) places back; ``window`` for what comes later

            def __init__(self) -> None:
                super().__init__()
                self.fade = nn.Parameter(-0.1 * torch.arange(window + 1).float())  # log weight by places back
                self.own = nn.Linear(width, width)
                self.wide, self.drop = nn.Linear(width, 2 * width), nn.Dropout(_DROPOUT)
                self.narrow = nn.Linear(2 * width, width)
                places = torch.arange(window)
                back = places[:, None] - places[None, :]
                self.register_buffer("ages", torch.where(back >= 0, back, window), persistent=False)

            def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
                length = vectors.shape[1]
                ages = self.ages[:length, :length]
                weights = self.fade.exp()[ages] * (ages < window) * there[:, None, :]
                mean = weights @ self.drop(vectors) / (weights.sum(2, keepdim=True) + 1e-6)
                users: Tensor = self.own(mean) + self.narrow(self.drop(torch.relu(self.wide(mean))))
                return users

        return NextItems(Tower(), network.outputs, width, window, dict(network.options))

    recipe = recipe
    loss = loss
    fit = fit
    furnish = furnish
