"""Ratings from factors of items, on top of biases; the graph solves for the factors of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.baselines import one_pass
from sartor.catalog.models.parts.scaling import EFFORTS, Size
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.catalog.models.parts.rating_biases import Questions

_SIZES = (
    Size("s", {"width": 4}, "quick"),
    Size("m", {"width": 8}, "quick"),
    Size("l", {"width": 16}, "balanced"),
)
_RIDGES = (5.0, 10.0, 20.0)  # of users' and items' equations, in ratings; the last leaves little of the factors
_SWEEPS, _TRIAL_SWEEPS = 6, 4
_FOLD_STEPS = 6  # of conjugate gradients
_CHUNK = 1 << 14  # questions at a time


@register("models", "rating-factors")
class RatingFactors:
    """Factors of items times those of the user, found from the user's other ratings, on top of both biases.

    Items and users are solved for in turn, users always without the rating in question, just as they are met later.
    Source: Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems"; alternating least
    squares as in Zhou et al. 2008.
    """

    name: str
    tasks = frozenset({"rating-prediction"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1109/MC.2009.263")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By the length of the factors."""
        for row in _SIZES:
            if EFFORTS.index(row.effort) <= EFFORTS.index(effort):
                yield Variant(row.name, {**row.options, "items": int(card.facts["rated"][0])}, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Questions (n, 1 + 2 L) to ratings (n, 1)."""
        import torch
        from torch import nn

        from sartor.catalog.models.parts.rating_biases import Biases, split

        width, items = network.options["width"], network.options["items"]

        class Rater(nn.Module):
            factors: Tensor  # (items + 1, width)
            ridge: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.biases = Biases(items)
                self.register_buffer("factors", torch.randn(items + 1, width) * 0.3)
                self.register_buffer("ridge", torch.ones(()))

            def forward(self, x: Tensor) -> Tensor:
                item, rated, ratings = split(x)
                found, left = self.biases(item, rated, ratings)
                users = folded(self.factors, self.ridge, rated, left)
                rating: Tensor = found + (self.factors[item] * users).sum(1)
                return rating[:, None]

        return Rater()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Sweeps are inside the fit."""
        return one_pass(512)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose strengths and ridge by questions held out, then set the biases and solve in turn."""
        from sartor.catalog.models.parts.rating_biases import Biases, gathered

        assert isinstance(module.biases, Biases)
        questions, biases = gathered(batches), module.biases
        factors, ridge = module.get_buffer("factors"), module.get_buffer("ridge")
        start = factors.clone()
        kept, judged = questions.held_out()
        strengths = biases.choose(kept, judged)
        biases.set(kept, *strengths)
        errors = []
        for strength in _RIDGES:
            ridge.fill_(strength)
            factors.copy_(start)
            _sweep(biases, factors, ridge, kept, _TRIAL_SWEEPS)
            found, left = biases(judged.item, judged.rated, judged.ratings)
            users = folded(factors, ridge, judged.rated.long(), left)
            errors.append(float((found + (factors[judged.item] * users).sum(1) - judged.answers).square().mean()))
        ridge.fill_(_RIDGES[errors.index(min(errors))])
        biases.set(questions, *strengths)
        factors.copy_(start)
        _sweep(biases, factors, ridge, questions, _SWEEPS)


def folded(factors: Tensor, ridge: Tensor, rated: Tensor, left: Tensor) -> Tensor:
    """(n, width) factors of users that best explain what biases leave of their ratings (n, L)."""
    import torch

    from sartor.catalog.models.parts.recommending import conjugate_gradients

    there = (rated > 0).float()[:, :, None]
    met = factors[rated] * there  # (n, L, width)
    turned = met.transpose(1, 2)
    grams = turned @ met  # (n, width, width)

    def equations(users: Tensor) -> Tensor:
        return (grams @ users[:, :, None])[:, :, 0] + ridge * users

    wanted = (turned @ left[:, :, None])[:, :, 0]
    return conjugate_gradients(equations, wanted, torch.zeros_like(wanted), _FOLD_STEPS)


def _sweep(biases: nn.Module, factors: Tensor, ridge: Tensor, questions: Questions, sweeps: int) -> None:
    """Users by what else they rated, then items by what users' factors leave to explain."""
    import torch

    width = factors.shape[1]
    for _ in range(sweeps):
        grams = torch.zeros(len(factors), width, width)
        wanted = torch.zeros(len(factors), width)
        for begin in range(0, len(questions), _CHUNK):
            part = questions.take(torch.arange(begin, min(begin + _CHUNK, len(questions))))
            found, left = biases(part.item, part.rated, part.ratings)
            users = folded(factors, ridge, part.rated.long(), left)
            grams.index_add_(0, part.item, users[:, :, None] * users[:, None])
            wanted.index_add_(0, part.item, users * (part.answers - found)[:, None])
        grams.diagonal(dim1=1, dim2=2).add_(ridge)
        factors.copy_(torch.linalg.solve(grams, wanted))
        factors[0] = 0
