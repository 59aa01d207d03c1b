"""Factors of users and items for implicit feedback, by alternating least squares; the graph folds new users in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_UNMET = 0.1  # weight of what a user did not meet against what they did
_REGULARISATION = 0.01  # per interaction, so that busy users and items are held back alike
_SWEEPS, _STEPS = 6, 3  # over users and items; of conjugate gradients in each
_FOLD_STEPS = 4
_CHUNK = 1 << 20  # interactions whose factors are in memory at a time
_TRIAL_SWEEPS = 2  # to choose how a history fades
_RECENT = 100  # latest items of a history that count
_SIZES = (("s", 16), ("m", 64), ("l", 128))  # name, length of vectors


@register("models", "als")
class Als:
    """Items as vectors; the graph solves for the vector of the user, in which older items may weigh less.

    How fast they fade is chosen by the last thing each user did in train. Source: Hu, Koren and Volinsky 2008,
    "Collaborative filtering for implicit feedback datasets"; weights as in Rendle et al. 2022, arXiv:2110.14037;
    conjugate gradients as in Takács, Pilászy and Tikk 2011.
    """

    name: str
    tasks = frozenset({"recommendation"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1109/ICDM.2008.22")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By the length of the vectors."""
        for name, width in _SIZES[: 2 if effort == "quick" else 3]:
            yield Variant(name, {"width": width, "recent": min(_RECENT, *max(sizes))}, max(sizes))

    def build(self, network: Network) -> nn.Module:
        """Histories (n, L) to scores (n, outputs): the reconstructed preference, of which the logarithm counts."""
        import torch
        from torch import nn

        from sartor.catalog.models.parts.recommending import PRIOR, conjugate_gradients, popularity

        width, recent = network.options["width"], network.options["recent"]

        class Factors(nn.Module):
            sums = True
            factors: Tensor  # (items, width)
            gram: Tensor  # (width, width): what a user's equations share
            prior: Tensor  # (items,)
            fade: Tensor  # (recent,)

            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("factors", torch.randn(network.outputs, width) / width**0.5)
                self.register_buffer("gram", torch.eye(width))
                self.register_buffer("prior", popularity(torch.ones(network.outputs)) * PRIOR)
                self.register_buffer("fade", torch.ones(recent))

            def forward(self, history: Tensor) -> Tensor:
                latest = history[:, -recent:]
                weights = ((latest > 0).float() * self.fade)[:, :, None]  # (n, recent, 1)
                met_in_all = (history > 0).float().sum(1)[:, None, None]
                weights = weights * met_in_all / weights.sum(1, keepdim=True).clamp(min=1)  # what fades, others gain
                met = self.factors[(latest - 1).clamp(min=0)]  # (n, recent, width)
                ridge = _REGULARISATION * (weights.sum(1) + _UNMET * network.outputs)  # (n, 1)

                def equations(users: Tensor) -> Tensor:
                    seen = (met * users[:, None]).sum(2, keepdim=True) * weights
                    return users @ self.gram + ridge * users + (met * seen).sum(1)

                wanted = (met * weights).sum(1)
                users = conjugate_gradients(equations, wanted, torch.zeros_like(wanted), _FOLD_STEPS)
                return users @ self.factors.T + self.prior

        return Factors()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Sweeps are inside the fit."""
        return Recipe(1.0, 64, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Solve for users and items in turn; before, in a few sweeps, for how a history fades."""
        from sartor.catalog.models.parts.recommending import (
            MEMORIES,
            PRIOR,
            counts,
            fading,
            gain,
            held_out,
            popularity,
            without_last,
        )

        fade, factors, gram = (module.get_buffer(name) for name in ("fade", "factors", "gram"))
        start = factors.clone()
        histories, wanted = held_out(batches)
        _sweep(factors, gram, without_last(batches), _TRIAL_SWEEPS)
        reached = []
        for memory in MEMORIES:
            fade.copy_(fading(len(fade), memory))
            reached.append(gain(module(histories), histories, wanted))
        fade.copy_(fading(len(fade), MEMORIES[reached.index(max(reached))]))
        factors.copy_(start)
        _sweep(factors, gram, batches, _SWEEPS)
        module.get_buffer("prior").copy_(popularity(counts(batches, len(factors))) * PRIOR)


def _sweep(items: Tensor, gram: Tensor, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]], sweeps: int) -> None:
    """Set vectors of items (items, width), and what users' equations share (width, width)."""
    import torch

    from sartor.catalog.models.parts.recommending import in_a_row

    user_of, item_of = in_a_row(batches)
    count = int(user_of[-1]) + 1
    users = torch.zeros(count, items.shape[1])
    for _ in range(sweeps):
        users = _solved(users, items, user_of, item_of)
        items.copy_(_solved(items, users, item_of, user_of))
    gram.copy_(_UNMET * items.T @ items)


def _solved(start: Tensor, fixed: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """One half of a sweep: least-squares vectors (n, width) of ``rows``, given those of what they met."""
    import torch

    from sartor.catalog.models.parts.recommending import conjugate_gradients

    gram = _UNMET * fixed.T @ fixed
    met = torch.bincount(rows, minlength=len(start)).to(fixed)[:, None]
    ridge = _REGULARISATION * (met + _UNMET * len(fixed))

    def summed(weigh: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        total = torch.zeros_like(start)
        for begin in range(0, len(rows), _CHUNK):
            row, vectors = rows[begin : begin + _CHUNK], fixed[columns[begin : begin + _CHUNK]]
            total.index_add_(0, row, weigh(row, vectors))
        return total

    def equations(x: Tensor) -> Tensor:
        return x @ gram + ridge * x + summed(lambda row, vectors: vectors * (vectors * x[row]).sum(1, keepdim=True))

    return conjugate_gradients(equations, summed(lambda row, vectors: vectors), start, _STEPS)
