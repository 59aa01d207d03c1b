"""Items that the same users met: neighbours by cosine, a few per item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST_ITEMS = 12_000  # the item-item matrix is whole while it is computed: 576 MB at most
_SHRINKAGE = 10.0  # co-occurrences; pairs that were rarely met together count for less
_SIZES = (("s", 2000, 20), ("m", _MOST_ITEMS, 50), ("l", _MOST_ITEMS, 200))  # name, items, neighbours
_REACHES = (("", 0.0, 0.0), ("-near", 20.0, 2.0))  # suffix, half-life of pairs, half-life of the history


@register("models", "item-neighbours")
class ItemNeighbours:
    """Sums the cosines of the user's items with all others; ``near`` ones count neighbours in time more.

    Source: Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms"; shrinkage as in Bell and
    Koren 2007; fading with distance in order as in Ludewig and Jannach 2018, arXiv:1803.09587.
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1145/371920.372071")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By how many items have how many neighbours, with and without regard to order."""
        items = len(card.labels)
        offered = [size for size in _SIZES if size[1] == _MOST_ITEMS or size[1] < items]
        for name, known, neighbours in offered if effort != "quick" else offered[:2]:
            for suffix, reach, memory in _REACHES:
                options = {
                    "known": min(known, items),
                    "neighbours": min(neighbours, items, known),
                    "reach": reach,
                    "memory": memory,
                }
                yield Variant(name + suffix, options, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs)."""
        from sartor.catalog.models._recommending import NeighbourScores

        options = network.options
        size = (options["known"], options["neighbours"], options["memory"], network.input_size[0])
        module = NeighbourScores(network.outputs, *size)
        module.reach = options["reach"]
        return module

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Counting is not repeated."""
        return Recipe(1.0, 64, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Count pairs, divide by the norms, keep the largest."""
        from sartor.catalog.models._recommending import counts, together

        known, items = len(module.get_buffer("near")), len(module.get_buffer("prior"))
        matrix = together(batches, known, module.reach)  # type: ignore[arg-type]
        norms = matrix.diagonal().clamp(min=1e-9).sqrt()
        matrix /= norms[:, None] * norms[None, :] + _SHRINKAGE
        matrix.fill_diagonal_(0)
        module.keep(matrix, counts(batches, items))  # type: ignore[operator]
