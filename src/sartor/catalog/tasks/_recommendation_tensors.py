"""Torch side of recommending: the module that ships, and windows of histories for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

LISTED = 100
SEEN = 1e9  # taken off the score of what the user has met


class ShippedRecommender(nn.Module):
    """Histories (n, L) int32 -> module's scores (n, items) -> the best new items, (n, K, 2) float32: number and score.

    K is 100, or all items where there are fewer; the best first. Numbers begin at 0.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        history = input.long()
        scores = self.module(history).float()
        n, items = scores.shape
        met = torch.zeros(n, items + 1, device=scores.device).scatter(1, history, SEEN)
        best = torch.topk(scores - met[:, 1:], min(LISTED, items), dim=1)
        return torch.stack((best.indices.float(), best.values), dim=2)


def windows(
    batch: torch.Tensor, targets: torch.Tensor, names: Sequence[str], generator: torch.Generator
) -> torch.Tensor:
    """With ``window``: histories (n, L) that end anywhere in what the users did, (n, T), but at its first item."""
    if "window" not in names:
        return batch
    length, total = batch.shape[1], targets.shape[1]
    done = (targets > 0).sum(1)
    back = torch.rand(len(batch), generator=generator, device=generator.device).to(batch.device)
    back = (back * (done - 1).clamp(min=1)).long()  # so many of the latest are left out
    places = torch.arange(length, device=batch.device)[None, :] + (total - length - back)[:, None]
    return torch.where(places >= 0, targets.gather(1, places.clamp(min=0)), 0).to(batch)
