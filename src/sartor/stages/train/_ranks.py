"""Several processes that train one network: who computes which samples, and how they agree. Needs torch.

Every process (a rank) holds the network, or its share of it (``_cutting``), and sees the batch of every step whole, in
the same order and augmented alike; it computes its own share of it. So a batch is that of the recipe, however many
processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

_PATIENCE = timedelta(minutes=10)  # with others that score, or write a checkpoint


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training; alone, nothing is exchanged."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """True for the one that scores, tells, and writes."""
        return self.rank == 0

    def of(self, rank: int) -> Ranks:
        """Another one of the same training."""
        return Ranks(rank, self.world)

    def share(self, size: int) -> slice:
        """This rank's samples of so many, as even as can be."""
        return slice(size * self.rank // self.world, size * (self.rank + 1) // self.world)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def least(self, value: int) -> int:
        """The smallest of all ranks' numbers."""
        if self.world == 1:
            return value
        box = torch.tensor(value, dtype=torch.int64)
        dist.all_reduce(box, dist.ReduceOp.MIN)
        return int(box)

    def told(self, *values: Any) -> tuple[Any, ...]:
        """What the leading rank says; the others' own values are dropped."""
        if self.world == 1:
            return values
        box = [values]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gathered(self, rows: Tensor, sizes: list[int]) -> Tensor:
        """The rows of all ranks one after another; ``sizes`` says how many each has."""
        if self.world == 1:
            return rows
        # of one size, as backends want it
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded.contiguous())
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """The ranks that torchrun started this process among; alone where it did not.

    Tensors go by NCCL between CUDA devices (RCCL on ROCm) and by gloo otherwise; what is agreed upon goes by gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    store, rank, world = next(rendezvous("env://", timeout=_PATIENCE))
    # torchrun keeps its store for a restart, and with it the addresses of the dead, which gloo would try
    life = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{world}"
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    own = dist.PrefixStore(life, store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class _SharedStatistics(torch.autograd.Function):
    """Sums per channel over all ranks; the gradient of a sum reaches every rank's samples."""

    @staticmethod
    def forward(_: Any, sums: Tensor) -> Tensor:
        total = sums.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def share_norms(module: nn.Module) -> None:
    """Let batch norms normalise by the samples of all ranks together, on any device.

    torch's own ``SyncBatchNorm`` wants CUDA; this one computes in torch's operators what it does.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            kind = type(part)
            part.__class__ = _shared_kind(kind)  # keeps parameters, buffers and hooks where they are


def _shared_kind(kind: type) -> type:
    return type(f"Shared{kind.__name__}", (kind,), {"forward": _normalised})


def _normalised(self: Any, x: Tensor) -> Tensor:
    if not self.training:
        found: Tensor = nn.modules.batchnorm._BatchNorm.forward(self, x)
        return found
    wide = x.float()
    axes = [axis for axis in range(x.ndim) if axis != 1]
    count = wide.new_full((1,), x.numel() / x.shape[1])
    sums = _SharedStatistics.apply(torch.cat([wide.sum(axes), count]))  # type: ignore[no-untyped-call]
    mean = sums[:-1] / sums[-1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    centred = wide - mean.view(shape)
    # a second round, as E(x²) − E(x)² loses digits where the mean is large
    squares = _SharedStatistics.apply(centred.square().sum(axes))  # type: ignore[no-untyped-call]
    variance = squares / sums[-1]
    if self.track_running_stats and self.running_mean is not None:
        _remember(self, mean.detach(), variance.detach() * (sums[-1] / (sums[-1] - 1).clamp_min(1)).detach())
    scale = (variance + self.eps).rsqrt()
    result: Tensor = centred * scale.view(shape)
    if self.affine:
        result = result * self.weight.view(shape) + self.bias.view(shape)
    return result.to(x.dtype)


@torch.no_grad()
def _remember(norm: Any, mean: Tensor, variance: Tensor) -> None:
    norm.num_batches_tracked.add_(1)
    share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)
