"""What recommenders share: counting who met what with what, and scoring from a few neighbours per item. Needs torch.

Items have numbers from 1 in histories, 0 stands for nothing; item 1 is the most frequent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]

HALVINGS = 8  # lags beyond so many half-lives weigh less than 1/256 and are not counted
PRIOR = 1e-4  # weight of popularity: it orders items about which nothing else is known
BLOCK_ROWS = 512  # rows of an item-item matrix that are cut at a time


def counts(batches: Batches, items: int) -> Tensor:
    """(items,) how often each item was met."""
    total = torch.zeros(items + 1)
    for _, done in batches():
        total += torch.bincount(done.flatten().long(), minlength=items + 1)
    return total[1:]


def popularity(counted: Tensor) -> Tensor:
    """(items,) in 0..1, strictly falling, so that no two items tie: the more frequent first, then by number."""
    places = torch.arange(len(counted), dtype=counted.dtype) / len(counted)
    return (counted + 1 - places) / (counted.max() + 1)


def together(batches: Batches, items: int, half_life: float) -> Tensor:
    """(items, items) how often two of the ``items`` most frequent were met by one user, near in order weighs more.

    Args:
        batches: what users did, (n, T), oldest first.
        items: those considered.
        half_life: so many places apart a pair weighs one half; 0: all pairs of a user weigh 1.
    """
    matrix, alone = torch.zeros(items, items), torch.zeros(items)
    for _, done in batches():
        kept = torch.where(done <= items, done, 0).long()
        if not half_life:
            met = torch.zeros(len(kept), items + 1).scatter_(1, kept, 1.0)[:, 1:]
            matrix += met.T @ met
            continue
        alone += torch.bincount(kept.flatten(), minlength=items + 1)[1:]
        flat = matrix.view(-1)
        for lag in range(1, min(kept.shape[1], int(HALVINGS * half_life) + 1)):
            earlier, later = kept[:, :-lag].flatten(), kept[:, lag:].flatten()
            both = (earlier > 0) & (later > 0)
            places = (earlier[both] - 1) * items + later[both] - 1
            flat.index_add_(0, places, torch.full((len(places),), 0.5 ** (lag / half_life)))
    if half_life:
        matrix += matrix.T.clone()
        matrix.diagonal().copy_(alone)
    return matrix


class NeighbourScores(nn.Module):
    """Histories (n, L) to scores (n, items): each recent item adds its weights to its neighbours.

    Only ``neighbours`` weights per item are kept, in half precision, of the ``known`` most frequent items; popularity
    orders the others. Scores are logarithms, so that a softmax of them shares like the sums themselves.

    Args:
        items: of the catalogue.
        known: items that have neighbours.
        neighbours: per item.
        memory: half-life in items by which older items of the history weigh less; 0: all weigh the same.
        length: L, of the histories.
    """

    near: Tensor  # (known, neighbours) numbers from 0
    weights: Tensor  # (known, neighbours)
    prior: Tensor  # (items,)
    fade: Tensor  # (recent,)

    def __init__(self, items: int, known: int, neighbours: int, memory: float, length: int) -> None:
        super().__init__()
        self.recent = min(length, int(HALVINGS * memory) + 1) if memory else length
        kind = torch.int16 if known < 1 << 15 else torch.int32
        self.register_buffer("near", torch.zeros(known, neighbours, dtype=kind))
        self.register_buffer("weights", torch.zeros(known, neighbours, dtype=torch.float16))
        self.register_buffer("prior", popularity(torch.ones(items)) * PRIOR)
        ages = torch.arange(self.recent - 1, -1, -1, dtype=torch.float32)
        self.register_buffer("fade", 0.5 ** (ages / memory) if memory else torch.ones(self.recent), persistent=False)

    def forward(self, history: Tensor) -> Tensor:
        """See the class."""
        recent = history[:, -self.recent :]
        counted = ((recent > 0) & (recent <= len(self.near))).float() * self.fade
        rows = (recent - 1).clamp(0, len(self.near) - 1)
        added = self.weights[rows].float() * counted[:, :, None]  # (n, recent, neighbours)
        scores = self.prior.expand(len(history), -1).scatter_add(1, self.near[rows].long().flatten(1), added.flatten(1))
        return scores.clamp(min=1e-9).log()

    def keep(self, matrix: Tensor, counted: Tensor) -> None:
        """Keep the largest weights of each row of an item-item matrix (known, known), scaled to at most 1."""
        near, weights = self.get_buffer("near"), self.get_buffer("weights")
        scale = matrix.max().clamp(min=1e-9)
        for start in range(0, len(matrix), BLOCK_ROWS):
            best = torch.topk(matrix[start : start + BLOCK_ROWS], near.shape[1], dim=1)
            near[start : start + BLOCK_ROWS] = best.indices.to(near)
            weights[start : start + BLOCK_ROWS] = (best.values / scale).clamp(min=0).to(weights)
        self.get_buffer("prior").copy_(popularity(counted) * PRIOR)
