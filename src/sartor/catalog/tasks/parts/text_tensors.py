"""Torch side of text tasks: the module that ships, and augmentation on whole batches of ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

CHANGED = 0.1  # of the ids of a text, by each augmentation


class ShippedTexts(nn.Module):
    """Ids (n, length) int32 -> module -> probabilities (n, classes) float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return torch.softmax(self.module(input).float(), dim=1)


def augment(batch: torch.Tensor, names: Sequence[str], generator: torch.Generator) -> torch.Tensor:
    """Change a tenth of the ids of each text; 0, the rest of a short text, stays.

    Args:
        batch: (n, length) ids.
        names: any of ``drop`` (ids become 0), ``swap`` (neighbours change places), ``noise`` (ids become others of the
            batch: misspellings where ids are characters).
            Wei and Zou 2019, arXiv:1901.11196; Iyyer et al. 2015, "Deep unordered composition" (dropping).
        generator: source of all randomness; batch and generator fix the result.
    """
    for name, change in (("swap", _swapped), ("noise", _noisy), ("drop", _dropped)):
        if name in names:
            batch = change(batch, generator)
    return batch


def _chosen(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(n, length) bool, True for a tenth of the ids that are something."""
    return (torch.rand(batch.shape, generator=generator).to(batch.device) < CHANGED) & (batch != 0)


def _dropped(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    gone = _chosen(batch, generator)
    gone &= ~(gone | (batch == 0)).all(dim=1, keepdim=True)  # nothing would be left of the text
    return batch.masked_fill(gone, 0)


def _noisy(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    others = batch[torch.randperm(len(batch), generator=generator).to(batch.device)]
    return torch.where(_chosen(batch, generator) & (others != 0), others, batch)


def _swapped(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Neighbours change places where chosen; a place takes part in one exchange only."""
    first = _chosen(batch, generator)[:, :-1] & (batch[:, 1:] != 0)
    free = torch.ones_like(first)
    free[:, 1:] = ~first[:, :-1]
    first &= free
    moved = batch.clone()
    moved[:, :-1] = torch.where(first, batch[:, 1:], moved[:, :-1])
    moved[:, 1:] = torch.where(first, batch[:, :-1], moved[:, 1:])
    return moved
