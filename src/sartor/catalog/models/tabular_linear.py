"""One linear layer on the piecewise-linear encoding of every column: a sum of curves, small and quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_ENCODED = 33  # numbers per column: missing or not, and 32 steps
_PENALTIES = (3e-5, 3e-4, 3e-3)  # on the mean loss per squared weight; the best on rows held out is taken
_STEPS = 60  # of L-BFGS per penalty, each starting where the one before ended
_HELD_OUT = 5  # every fifth row
_CACHE_BYTES = 1 << 29


@register("models", "tabular-linear")
class TabularLinear:
    """Logistic or ridge regression, its penalty chosen on rows held out.

    On steps of columns it is an additive model. Source: Cox 1958, "The regression analysis of binary sequences", and
    Hoerl and Kennard 1970, "Ridge regression", doi:10.1080/00401706.1970.10488634.
    """

    name: str
    tasks = frozenset({"tabular-classification", "tabular-regression"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1111/j.2517-6161.1958.tb00292.x")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One."""
        yield Variant("", {}, min(sizes))

    def build(self, network: Network) -> nn.Module:
        """Encoded rows (n, inputs, 34) to logits (n, outputs), or numbers (n, 1)."""
        import torch
        from torch import nn

        class Linear(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(network.input_size[0] * _ENCODED, network.outputs)

            def forward(self, x: Tensor) -> Tensor:
                logits: Tensor = self.linear(torch.flatten(x[:, :, :_ENCODED], 1))
                return logits

        return Linear()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Rows pass in batches as often as the solver asks."""
        return Recipe(1.0, 4096, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """L-BFGS on all rows but a fifth for each penalty, then on all rows with the best."""
        import torch

        rows = _Rows(batches)
        linear: nn.Linear = module.get_submodule("linear")  # type: ignore[assignment]
        linear.weight.zero_()
        linear.bias.zero_()
        losses = {}
        for penalty in sorted(_PENALTIES, reverse=True):
            _descend(linear, rows, penalty, "kept")
            losses[penalty] = sum(float(loss) for loss, _ in rows.losses(linear, "held out"))
        best = min(_PENALTIES, key=lambda penalty: losses[penalty])
        if not torch.isfinite(linear.weight).all():
            linear.weight.zero_()
            linear.bias.zero_()
        _descend(linear, rows, best, "all")


class _Rows:
    """Encoded rows and targets; in memory where they are few."""

    def __init__(self, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        self._batches = batches
        self._kept: list[tuple[Tensor, Tensor]] | None = []
        size = 0
        for features, targets in self._read():
            size += features.numel() * 4
            if size > _CACHE_BYTES:
                self._kept = None
                return
            self._kept.append((features, targets))

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in self._batches():
            yield inputs[:, :, :_ENCODED].flatten(1), targets

    def losses(self, linear: nn.Linear, which: str) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
        """Per batch the sum of losses, and the rows with the gradients of their sum by outputs."""
        import torch
        from torch.nn.functional import cross_entropy, one_hot

        for features, targets in self._kept if self._kept is not None else self._read():
            if which != "all":
                held = torch.arange(len(targets)) % _HELD_OUT == 0
                chosen = held if which == "held out" else ~held
                features, targets = features[chosen], targets[chosen]
            outputs = linear(features)
            if targets.is_floating_point():
                gap = outputs[:, 0] - targets
                yield gap.square().sum() / 2, (features, gap[:, None])
            else:
                gap = torch.softmax(outputs, 1) - one_hot(targets, outputs.shape[1])
                yield cross_entropy(outputs, targets, reduction="sum"), (features, gap)


def _descend(linear: nn.Linear, rows: _Rows, penalty: float, which: str) -> None:
    """Minimise the mean loss with a penalty on squared weights."""
    import torch

    solver = torch.optim.LBFGS(
        linear.parameters(), max_iter=_STEPS, history_size=10, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        total, count = torch.zeros(()), 0
        weight, bias = torch.zeros_like(linear.weight), torch.zeros_like(linear.bias)
        for loss, (features, gap) in rows.losses(linear, which):
            total, count = total + loss, count + len(gap)
            weight += gap.T @ features
            bias += gap.sum(0)
        linear.weight.grad = weight / max(count, 1) + penalty * linear.weight
        linear.bias.grad = bias / max(count, 1)
        return total / max(count, 1) + penalty / 2 * linear.weight.square().sum()

    with torch.no_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    linear.weight.grad = linear.bias.grad = None
