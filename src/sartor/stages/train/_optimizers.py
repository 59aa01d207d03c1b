"""Which optimizer moves which parameter, and how fast at each step. Needs torch; import it inside functions only."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.stages.train._cutting import share_like, whole
from sartor.stages.train._layers import rate_shares

# An odd polynomial that drives singular values in (0, 1] near to 1 in few steps; Jordan et al. 2024, "Muon: An
# optimizer for hidden layers in neural networks".
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 3
_REST_RATE = 0.025  # AdamW's rate as a share of Muon's: 3e-3 at batch 512


def _leave_compiler_out() -> None:
    """Keep torch's optimizers from importing its compiler, for two seconds, only to tell it that they are not for it.

    They look for this mark first (``torch/_compile.py``). Nothing here is compiled; a torch that knows no mark imports.
    """
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dynamo_disable = plain


def _uncompiled(optimizer: type[torch.optim.Optimizer]) -> Any:
    """Its step below the wrapper that imports the compiler and turns gradients off."""
    return torch.no_grad()(inspect.unwrap(optimizer.step))


class AdamW(torch.optim.AdamW):
    """Torch's, without its compiler."""

    step = _uncompiled(torch.optim.AdamW)


class SGD(torch.optim.SGD):
    """Torch's, without its compiler."""

    step = _uncompiled(torch.optim.SGD)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose step is made orthogonal, for convolution filters that a norm follows.

    Such filters have no scale of their own, so their norm is put back to a fixed value each step and the learning
    rate is the angle of a step. Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), airbench94.
    """

    def __init__(self, filters: Iterable[Tensor], *, lr: float, momentum: float, dtype: torch.dtype) -> None:
        super().__init__(list(filters), {"lr": lr, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every filter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                gradient = weight.grad.add(velocity, alpha=group["momentum"])
                full = whole(gradient)  # of a share of its rows the orthogonal step would be another
                direction = orthogonal(full.flatten(1).to(self._dtype)).to(weight.dtype).view(weight.shape)
                direction = share_like(direction, weight)
                weight.mul_(math.sqrt(len(weight)) / weight.norm().clamp_min(1e-12))
                weight.add_(direction, alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (rows, columns) with all singular values moved near to 1."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


def normed_filters(module: nn.Module) -> list[Tensor]:
    """Weights of full convolutions directly followed by a batch norm, but not of the layer that reads the colours."""
    filters: list[Tensor] = []
    parts = [part for part in module.modules() if not list(part.children())]
    for part, following in zip(parts, parts[1:], strict=False):
        if (
            isinstance(part, nn.Conv2d)
            and isinstance(following, nn.BatchNorm2d)
            and part.out_channels == following.num_features
            and part.groups == 1
            and part.in_channels > 4
        ):
            filters.append(part.weight)
    return filters


def make_optimizers(module: nn.Module, recipe: Recipe, dtype: torch.dtype) -> list[torch.optim.Optimizer]:
    """The optimizers of a recipe; each group keeps its full rate as ``peak``. Muon moves its filters all alike.

    Args:
        module: to be trained.
        recipe: how.
        dtype: of Muon's inner products.

    Raises:
        Unsupported: the recipe names an optimizer there is not.
    """
    _leave_compiler_out()
    optimizers: list[torch.optim.Optimizer] = []
    rest, rate = [parameter for parameter in module.parameters() if parameter.requires_grad], recipe.learning_rate
    if recipe.optimizer == "muon":
        filters = normed_filters(module)
        if filters:
            optimizers.append(Muon(filters, lr=rate, momentum=0.6, dtype=dtype))
        taken = {id(weight) for weight in filters}
        rest, rate = [parameter for parameter in rest if id(parameter) not in taken], rate * _REST_RATE
    groups = _grouped(rest, recipe.weight_decay, rate, _shares(module, recipe.lowest_rate))
    if recipe.optimizer in ("muon", "adamw"):
        optimizers.append(AdamW(groups, lr=rate, betas=(0.9, 0.99)))
    elif recipe.optimizer == "nesterov":
        optimizers.append(SGD(groups, lr=rate, momentum=0.9, nesterov=True))
    else:
        raise Unsupported("UNKNOWN_OPTIMIZER", f"{recipe.optimizer!r} is not muon, adamw, nesterov or closed-form")
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _shares(module: nn.Module, lowest: float) -> dict[int, float]:
    """By the id of a parameter: its share of the learning rate; empty where all have the whole."""
    if lowest == 1:
        return {}
    shares = rate_shares(module, lowest)
    return {id(parameter): shares[name] for name, parameter in module.named_parameters()}


def _grouped(
    parameters: Sequence[nn.Parameter], decay: float, rate: float, shares: Mapping[int, float]
) -> list[dict[str, Any]]:
    """Matrices and filters decay, biases and norms do not; a group of each per rate, the highest first."""
    groups = []
    for share in sorted({shares.get(id(parameter), 1.0) for parameter in parameters}, reverse=True):
        alike = [parameter for parameter in parameters if shares.get(id(parameter), 1.0) == share]
        wide = [parameter for parameter in alike if parameter.ndim >= 2]
        narrow = [parameter for parameter in alike if parameter.ndim < 2]
        for chosen, weight_decay in ((wide, decay), (narrow, 0.0)):
            groups.append({"params": chosen, "weight_decay": weight_decay, "lr": rate * share})
    return [group for group in groups if group["params"]]


def rate_share(step: int, steps: int, warmup_share: float) -> float:
    """Share of the full learning rate at a step: linear warm-up, then linearly to zero."""
    warmup = max(1.0, warmup_share * steps)
    return min((step + 1) / warmup, (steps - step) / max(1.0, steps - warmup), 1.0)


def set_rate(optimizers: Iterable[torch.optim.Optimizer], share: float) -> float:
    """Set every group's rate; returns the first one."""
    first = 0.0
    for optimizer in reversed(list(optimizers)):
        for group in reversed(optimizer.param_groups):
            first = group["lr"] = group["peak"] * share
    return first
