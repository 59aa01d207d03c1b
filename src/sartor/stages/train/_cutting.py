"""One network cut over several ranks: each keeps its share of every weight, and of what moves it. Needs torch.

Weights are put together block by block when they are wanted, gradients are summed and cut again (fully sharded data
parallel, Rajbhandari et al. 2020, arXiv:1910.02054; torch's ``fully_shard``).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sartor.stages.train._ranks import Ranks
from sartor.stages.train._recompute import blocks_of
from sartor.stages.train.environment import CUT

Parts = set[nn.Module]


def is_asked_for() -> bool:
    """True where the environment wants networks cut, whether they fit whole or not."""
    return os.environ.get(CUT, "").strip() == "1"


def can_be_cut(module: nn.Module) -> bool:
    """A single number cannot be cut, and what is exchanged at once has to be of one type."""
    weights = list(module.parameters())
    return all(weight.ndim > 0 for weight in weights) and len({weight.dtype for weight in weights}) == 1


@contextmanager
def watched(*modules: nn.Module) -> Iterator[Parts]:
    """Fills a set with the parts of modules that are called; of others the weights alone are used."""
    called: Parts = set()
    hooks = [
        part.register_forward_pre_hook(lambda part, _: called.add(part))
        for module in modules
        for part in module.modules()
    ]
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()


def pieces_of(module: nn.Module, called: Parts) -> list[nn.Module]:
    """The blocks that can be put together one at a time: they are called, and share no weight with what is around."""
    blocks = [block for block in dict.fromkeys(blocks_of(module)) if block in called]
    named = module.named_parameters(remove_duplicate=False)
    owners = Counter(id(weight) for _, weight in named)
    pieces = []
    for block in blocks:
        inside = Counter(id(weight) for _, weight in block.named_parameters(remove_duplicate=False))
        if all(owners[key] == times for key, times in inside.items()):
            pieces.append(block)
    return pieces


def cut(module: nn.Module, ranks: Ranks, device: torch.device, called: Parts) -> None:
    """Leave every rank its share of the weights, in place; the parameters are others afterwards."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    mesh = init_device_mesh(device.type, (ranks.world,))
    for piece in pieces_of(module, called):
        fully_shard(piece, mesh=mesh)
    fully_shard(module, mesh=mesh)


def gathered_bytes(module: nn.Module, called: Parts) -> int:
    """Bytes of weights that are whole at once in a step: what lies in no block, a block, and the one that follows."""
    pieces = pieces_of(module, called)
    sizes = sorted((_bytes_of(piece) for piece in pieces), reverse=True)
    return _bytes_of(module) - sum(sizes) + sum(sizes[:2])


def share_like(value: Tensor, like: Tensor) -> Tensor:
    """This rank's share of a whole tensor that every rank has, cut as another is; whole where that is whole."""
    if not is_cut(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(like, DTensor)
    every = DTensor.from_local(value.contiguous(), like.device_mesh, [Replicate()], run_check=False)
    return every.redistribute(placements=like.placements)


def is_cut(tensor: Tensor) -> bool:
    """True where this rank has a share of it only; torch's DTensor takes long to import, so not by its class."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from all ranks, which all have to ask for it; itself where it is not cut."""
    full: Tensor = tensor.full_tensor() if is_cut(tensor) else tensor  # type: ignore[attr-defined]
    return full


def own(tensor: Tensor) -> Tensor:
    """This rank's share, to be changed in place."""
    local: Tensor = tensor.to_local() if is_cut(tensor) else tensor  # type: ignore[attr-defined]
    return local


def move_over(optimizers: list[torch.optim.Optimizer], before: dict[str, nn.Parameter], module: nn.Module) -> None:
    """Let optimizers of whole weights move their shares instead, with this rank's share of what they remember.

    Args:
        optimizers: changed in place.
        before: the weights that they move, by name.
        module: whose weights of the same names they are to move.
    """
    now = dict(module.named_parameters())
    instead = {id(weight): now[name] for name, weight in before.items()}
    for optimizer in optimizers:
        remembered: defaultdict[Tensor, Any] = defaultdict(dict)
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight in optimizer.state:
                    share, entries = instead[id(weight)], optimizer.state[weight]
                    remembered[share] = {key: share_like(value, share).clone() for key, value in entries.items()}
            group["params"] = [instead[id(weight)] for weight in group["params"]]
        optimizer.state = remembered


def _bytes_of(module: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
