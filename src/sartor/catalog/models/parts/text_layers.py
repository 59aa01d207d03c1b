"""Layers that the networks of texts share. Torch inside functions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def word_vectors(entries: int, width: int, spread: float) -> nn.Embedding:
    """Vectors (entries, width), normally distributed; that of 0, which stands for nothing, is zero and stays so."""
    from torch import nn

    vectors = nn.Embedding(entries, width, padding_idx=0)
    nn.init.normal_(vectors.weight, std=spread)
    nn.init.zeros_(vectors.weight[0].detach())
    return vectors


def mean_of(states: Tensor, held: Tensor) -> Tensor:
    """Mean (n, width) of states (n, length, width) where ``held`` (n, length) is 1; zero where it nowhere is."""
    mean: Tensor = (states * held[:, :, None]).sum(1) / held.sum(1, keepdim=True).clamp_min(1)
    return mean
