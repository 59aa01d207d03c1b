"""Items that the same users met: neighbours by cosine, a few per item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.neighbour_sizes import build, neighbour_options, recipe
from sartor.registry import register
from sartor.types import DataCard, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_ITEMS = 12_000  # the item-item matrix is whole while it is computed: 576 MB at most
_SHRINKAGE = 10.0  # co-occurrences; pairs that were rarely met together count for less
_SIZES = (("s", 2000, 20, 20), ("m", _MOST_ITEMS, 50, 50), ("l", _MOST_ITEMS, 200, 100))
"""Name, items that have neighbours, neighbours per item, latest items of a history that count."""

_OFFERED = ((0.0, _SHRINKAGE), (20.0, _SHRINKAGE), (5.0, _SHRINKAGE))  # half-life of pairs


@register("models", "item-neighbours")
class ItemNeighbours:
    """Sums the cosines of the user's latest items with all others.

    How fast pairs lose weight with their distance in order, and a history with age, is chosen by the last thing each
    user did in train. Source: Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms";
    shrinkage as in Bell and Koren 2007; weights by distance as in Ludewig and Jannach 2018, arXiv:1803.09587.
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1145/371920.372071")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By how many items have how many neighbours."""
        items, size = len(card.labels), max(sizes)
        for name, known, neighbours, recent in _SIZES[: 2 if effort == "quick" else 3]:
            if known < items or known == _MOST_ITEMS:
                yield Variant(name, neighbour_options(items, size, known, neighbours, recent), size)

    build = build
    recipe = recipe

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Count pairs, divide by the norms, keep the largest."""
        from sartor.catalog.models.parts.recommending import NeighbourScores

        def cosines(matrix: Tensor, shrinkage: float) -> Tensor:
            norms = matrix.diagonal().clamp(min=1e-9).sqrt()
            return (matrix / (norms[:, None] * norms[None, :] + shrinkage)).fill_diagonal_(0)

        assert isinstance(module, NeighbourScores)
        module.fit(batches, _OFFERED, cosines)
