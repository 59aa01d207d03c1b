"""Exponential moving average of a network's state, statistics of its norms included."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from sartor.stages.train._adapters import moving_names, state_of


class Average:
    """A second copy of the network that follows the trained one; it is what is scored and kept.

    Norm statistics are averaged like weights: they lag by the same number of steps and so stay consistent with them.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._names = moving_names(module)
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self._decay = decay

    def state(self) -> dict[str, Tensor]:
        """What of its state training changes."""
        return state_of(self.module, self._names)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        self.module.load_state_dict({**self.module.state_dict(), **state})

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the network; faster in the first steps, so that the random start is forgotten."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for own, new in zip(self.state().values(), state_of(module, self._names).values(), strict=True):
            if own.is_floating_point():
                own.lerp_(new, share)
            else:
                own.copy_(new)


@torch.no_grad()
def recalibrate_norms(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the statistics of batch norms to their mean over batches, in the precision that ships (fp32).

    Training collects them in bf16 from weights that still move. Source: Wu and Johnson 2021, "Rethinking Batch in
    BatchNorm", arXiv:2105.07576, section 3 (PreciseBN).
    """
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean over the batches
        norm.train()
    for batch in batches:
        module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
