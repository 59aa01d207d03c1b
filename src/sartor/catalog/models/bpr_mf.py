"""Factors of items that rank pairs rightly: what a user met before what the user did not."""

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
    Size("s", {"width": 16}, "quick"),
    Size("m", {"width": 64}, "quick"),
    Size("l", {"width": 128}, "balanced"),
)
_DROPOUT = 0.3


@register("models", "bpr-mf")
class BprMf:
    """Matrix factorisation by Bayesian personalised ranking; order does not count.

    A user's factors are a linear map of the mean of the vectors of the latest items, so that users whom training has
    not seen are answered too. Source: Rendle et al. 2009, arXiv:1205.2618; users as sums of items as in Kabbur et al.
    2013, "FISM".
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1205.2618")
    fitting = "gradient"
    baseline = False
    most_epochs = MOST_EPOCHS
    loss_spans_batch = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By width."""
        yield from windowed(_SIZES, sizes, effort, "")

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs); in training see :class:`_next_items.NextItems`."""
        from torch import nn

        from sartor.catalog.models.parts.next_items import NextItems

        width, window = network.options["width"], network.options["window"]

        class Mean(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.factors, self.drop = nn.Linear(width, width, bias=False), nn.Dropout(_DROPOUT)

            def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
                met = there.float().cumsum(1)[:, :, None].clamp(min=1)
                users: Tensor = self.factors(self.drop(vectors).cumsum(1) / met)
                return users

        return NextItems(Mean(), network.outputs, width, window, judged="pairs")

    recipe = recipe
    loss = loss
    fit = fit
    furnish = furnish
