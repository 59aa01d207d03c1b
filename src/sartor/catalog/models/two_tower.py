"""Two towers: a user is the weighted mean of the items met, a learnt weight for each place back."""

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

_SIZES = (("s", 32, "quick"), ("m", 64, "quick"), ("l", 128, "balanced"))  # name, width, effort
_WINDOW = 50  # items
_DROPOUT = 0.3


@register("models", "two-tower")
class TwoTower:
    """The user's tower weighs the vectors of the latest items by how long ago they were met and bends the sum once.

    Source: Covington et al. 2016, "Deep neural networks for YouTube recommendations"; users as sums of items as in
    Kabbur et al. 2013, "FISM".
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1145/2959100.2959190")
    fitting = "gradient"
    baseline = False
    most_epochs = 200

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By width."""
        efforts = ("quick", "balanced", "thorough")
        for name, width, least in _SIZES:
            if efforts.index(least) <= efforts.index(effort):
                yield Variant(name, {"width": width, "window": min(_WINDOW, *max(sizes))}, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs); in training see :class:`_next_items.NextItems`."""
        import torch
        from torch import nn

        from sartor.catalog.models._next_items import NextItems

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
        raise Unsupported("NOT_CLOSED_FORM", "two-tower is trained by gradient")
