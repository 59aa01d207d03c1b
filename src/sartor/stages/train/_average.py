"""Exponential moving average of a network's state, statistics of its norms included."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from sartor.stages.train._adapters import moving_names, state_of
from sartor.stages.train._cutting import own, share_like, whole


class Average:
    """A second copy of the network that follows the trained one; it is what is scored and kept.

    Norm statistics are averaged like weights: they lag by the same number of steps and so stay consistent with them.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._names = moving_names(module)
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self._decay = decay
        self._shares: dict[str, Tensor] = {}  # where the network is cut: this rank's
        self._is_scored = True  # here; where the network is cut, on the leading rank only

    def state(self) -> dict[str, Tensor]:
        """What of its state training changes; where the network is cut, as it was put together last."""
        return state_of(self.module, self._names)

    def moving(self) -> Mapping[str, Tensor]:
        """The same as it is now; in shares where the network is cut."""
        return self._shares or self.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        self.module.load_state_dict({**self.module.state_dict(), **state})

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the network; faster in the first steps, so that the random start is forgotten."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for kept, new in zip(self.moving().values(), state_of(module, self._names).values(), strict=True):
            if kept.is_floating_point():
                own(kept).lerp_(own(new), share)
            else:
                own(kept).copy_(own(new))

    @torch.no_grad()
    def cut(self, module: nn.Module, leads: bool) -> None:
        """Follow in shares a network that was cut; the leading rank keeps a whole copy aside, to be scored."""
        like = state_of(module, self._names)
        self._shares = {name: share_like(value, like[name]).clone() for name, value in self.state().items()}
        self._is_scored = leads
        if not leads:
            self.module.to("meta")
        self.set_aside()

    @torch.no_grad()
    def collect(self, device: torch.device) -> None:
        """Put the whole copy together on the leading rank and on a device, from what all ranks have."""
        if self._is_scored:
            self.module.to(device)
        state = self.state()
        for name, share in self._shares.items():
            full = whole(share)
            if self._is_scored:
                state[name].copy_(full)

    def set_aside(self) -> None:
        """Take the whole copy from the device where the network is cut; on a CPU it stays where it is."""
        if self._shares and self._is_scored:
            self.module.to("cpu")


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
