"""Torch side of predicting ratings: the module that ships."""

from __future__ import annotations

import torch
from torch import nn


class ShippedRater(nn.Module):
    """Questions (n, 1 + 2 L) float32 -> the module's ratings (n, 1), none outside the scale of train's."""

    def __init__(self, module: nn.Module, lowest: float, highest: float) -> None:
        super().__init__()
        self.module, self.lowest, self.highest = module, lowest, highest

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        ratings: torch.Tensor = self.module(input.float()).float()
        return ratings.clamp(self.lowest, self.highest)
