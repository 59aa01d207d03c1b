"""Gradient checkpointing: blocks keep their inputs only, and compute the rest again on the way back. Needs torch.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

_HOLDERS = (nn.ModuleList, nn.ModuleDict)  # never called themselves


def recompute_blocks(module: nn.Module) -> int:
    """Let the blocks of a network be computed twice in training; returns how many there are.

    Blocks are the outermost members of sequences and lists that hold weights. Dropout draws the same both times, and
    batch norms remember the first time only.
    """
    blocks = blocks_of(module)
    for block in blocks:
        block.forward = partial(_forward, block)
    return len(blocks)


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The outermost members of sequences and lists that hold weights; of lists of lists, those that can be called."""
    return [block for block in _blocks(module) if any(True for _ in block.parameters())]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, (nn.Sequential, nn.ModuleList)) and len(module) > 1:
        yield from _callable(module)
        return
    for child in module.children():
        yield from _blocks(child)


def _callable(holder: nn.Module) -> Iterator[nn.Module]:
    for member in holder.children():
        if isinstance(member, _HOLDERS):
            yield from _callable(member)
        else:
            yield member


def _forward(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = type(block).forward  # as its class has it now: norms may have become shared ones since
    if not block.training:
        return forward(block, *args, **kwargs)
    return checkpoint(
        partial(forward, block), *args, use_reentrant=False, context_fn=lambda: _contexts(block), **kwargs
    )


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), norms_untouched(block)


@contextmanager
def norms_untouched(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch as in training, but do not remember it."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() if norm.num_batches_tracked is not None else None for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # statistics stay what they are, and still go into the operator as in the first pass
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
