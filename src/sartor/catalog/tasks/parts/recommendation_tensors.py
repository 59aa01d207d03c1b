"""Torch side of recommending: the module that ships, and windows of histories for training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

LISTED = 100
NEW = 10
SEEN = -1e9  # score of what the user has met
LEAST = 1e-9  # of which a logarithm is taken


class ShippedRecommender(nn.Module):
    """Histories (n, L) int32 -> module's scores (n, items) -> the best new items, (n, K + C, 2) float32: number, score.

    First K, the best of all: 100, or all items where there are fewer; the best first. Numbers begin at 0. Then C, the
    best of those that train lacks: 10, or all of them where there are fewer; item number i stands there as -1 - i.

    Args:
        module: gives scores, or by ``sums = True`` what the logarithm counts of; that is taken of what is listed alone.
        warm: items that train holds; 0: all of them.
    """

    def __init__(self, module: nn.Module, warm: int = 0) -> None:
        super().__init__()
        self.module, self.warm = module, warm

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        history = input.long()
        scores = self.module(history).float()
        n, items = scores.shape
        padded = torch.cat((scores[:, :1], scores), dim=1)  # the first place takes what stands for nothing
        scores = padded.scatter(1, history.clamp(min=0), SEEN)[:, 1:]
        best = torch.topk(scores, min(LISTED, items), dim=1)
        listed = torch.stack((best.indices.float(), self._told(best.values)), dim=2)
        if not 0 < self.warm < items:
            return listed
        new = torch.topk(scores[:, self.warm :], min(NEW, items - self.warm), dim=1)
        numbers = -1.0 - (new.indices + self.warm).float()
        return torch.cat((listed, torch.stack((numbers, self._told(new.values)), dim=2)), dim=1)

    def _told(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as they are told: logarithms of sums, but of what was met."""
        if not getattr(self.module, "sums", False):
            return scores
        return torch.where(scores > SEEN / 2, scores.clamp(min=LEAST).log(), scores)


def windows(
    batch: torch.Tensor, targets: torch.Tensor, names: Sequence[str], generator: torch.Generator
) -> torch.Tensor:
    """With ``window``: histories (n, L) that end anywhere in what the users did, (n, T), but at its first item.

    What is below 0 in front of a history, features of the user, stays as it is.
    """
    if "window" not in names:
        return batch
    length, total = batch.shape[1], targets.shape[1]
    done = (targets > 0).sum(1)
    back = torch.rand(len(batch), generator=generator, device=generator.device).to(batch.device)
    back = (back * (done - 1).clamp(min=1)).long()  # so many of the latest are left out
    places = torch.arange(length, device=batch.device)[None, :] + (total - length - back)[:, None]
    found = torch.where(places >= 0, targets.gather(1, places.clamp(min=0)), 0).to(batch)
    return torch.where(batch < 0, batch, found)
