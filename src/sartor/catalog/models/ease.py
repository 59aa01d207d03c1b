"""Linear regression of every item on all others, in closed form, cut to a few weights per item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.neighbour_sizes import build, neighbour_options, recipe
from sartor.registry import register
from sartor.types import DataCard, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    ("s", 1000, 20, 20),
    ("lean", 4000, 16, 50),
    ("m", 4000, 50, 50),
    ("l", 4000, 200, 100),
    ("xl", 8000, 200, 100),
)
"""Name, items, weights per item, latest items of a history that count; the time to fit grows with the cube of items."""

_OFFERED = ((0.0, 200.0), (20.0, 50.0), (10.0, 100.0))  # half-life of pairs, regularisation in interactions
_OFFERS = {"quick": 3, "balanced": 4, "thorough": 5}  # sizes


@register("models", "ease")
class Ease:
    """Weights between items that predict each from the others: -P / diag(P) with P the inverse Gram matrix.

    Pairs may weigh less in the Gram matrix the further apart they were met, an exponential kernel of their distance in
    order, and items of a history the older they are; how fast is chosen by the last thing each user did in train.
    Source: Steck 2019, arXiv:1905.03375.
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1905.03375")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By how many items have how many weights."""
        items, size = len(card.labels), max(sizes)
        smallest = _SIZES[0][1]
        for name, known, weights, recent in _SIZES[: _OFFERS[effort]]:
            if known <= max(items, smallest):
                yield Variant(name, neighbour_options(items, size, known, weights, recent), size)

    build = build
    recipe = recipe

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Invert the Gram matrix, keep the largest weights: negative ones hardly change the head of a list."""
        import torch

        from sartor.catalog.models.parts.recommending import NeighbourScores

        def weights(gram: Tensor, regularisation: float) -> Tensor:
            gram.diagonal().add_(regularisation)
            root, failed = torch.linalg.cholesky_ex(gram)  # half the work of an inverse by elimination
            inverse = torch.linalg.inv(gram) if failed else torch.cholesky_inverse(root)
            found: Tensor = inverse / -inverse.diagonal()[None, :]  # column j predicts item j
            return found.fill_diagonal_(0)

        assert isinstance(module, NeighbourScores)
        module.fit(batches, _OFFERED, weights)
