"""Linear regression of every item on all others, in closed form, cut to a few weights per item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    ("s", 1000, 20, "quick"),
    ("m", 4000, 50, "quick"),
    ("l", 4000, 200, "balanced"),
    ("xl", 8000, 200, "thorough"),
)
"""Name, items, weights per item, least effort. The time to fit grows with the cube of the items."""

_REACHES = (("", 0.0, 0.0, 200.0), ("-near", 20.0, 5.0, 50.0), ("-next", 10.0, 2.0, 100.0))
"""Suffix, half-life of pairs, half-life of the history (places), regularisation (interactions)."""

_EFFORTS = ("quick", "balanced", "thorough")


@register("models", "ease")
class Ease:
    """Weights between items that predict each from the others: -P / diag(P) with P the inverse Gram matrix.

    ``near`` and ``next`` weigh pairs in the Gram matrix by how near they were met, an exponential kernel of the
    distance in order, and the user's latest items most. Source: Steck 2019, arXiv:1905.03375.
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:1905.03375")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By how many items have how many weights, with and without regard to order."""
        items, rank = len(card.labels), _EFFORTS.index(effort)
        offered = [size for size in _SIZES if _EFFORTS.index(size[3]) <= rank]
        smaller = [size for size in offered if size[1] < items] or offered[:1]
        for name, known, weights, _ in smaller:
            for suffix, reach, memory, regularisation in _REACHES:
                options = {
                    "known": min(known, items),
                    "neighbours": min(weights, known, items),
                    "reach": reach,
                    "memory": memory,
                    "regularisation": regularisation,
                }
                yield Variant(name + suffix, options, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs)."""
        from sartor.catalog.models._recommending import NeighbourScores

        options = network.options
        size = (options["known"], options["neighbours"], options["memory"], network.input_size[0])
        module = NeighbourScores(network.outputs, *size)
        module.reach, module.regularisation = options["reach"], options["regularisation"]
        return module

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Solving is not repeated."""
        return Recipe(1.0, 64, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Invert the Gram matrix, keep the largest weights: negative ones hardly change the head of a list."""
        import torch

        from sartor.catalog.models._recommending import counts, together

        known, items = len(module.get_buffer("near")), len(module.get_buffer("prior"))
        matrix = together(batches, known, module.reach)  # type: ignore[arg-type]
        matrix.diagonal().add_(module.regularisation)  # type: ignore[arg-type]
        inverse = torch.linalg.inv(matrix)
        weights = inverse / -inverse.diagonal()[None, :]  # column j predicts item j
        weights.fill_diagonal_(0)
        module.keep(weights, counts(batches, items))  # type: ignore[operator]
