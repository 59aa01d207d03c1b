"""Training on what comes next at every place of a history, and scoring all items at its end. Needs torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sartor.catalog.models._scaling import averaging
from sartor.jobs import Recipe

NEGATIVES = 1000  # items drawn per batch that a next item is told apart from
HIDDEN = -1e9


class NextItems(nn.Module):
    """Item vectors, and a tower that turns the vectors of a history into a user's vector at every place.

    In evaluation: histories (n, L) to scores (n, items). In training: to (n, 2), the summed loss and the number of
    places it is of, by softmax over the next item and drawn ones (Jean et al. 2015, arXiv:1412.2007).

    Args:
        tower: (n, W, width) vectors and (n, W) bool where there is an item -> (n, W, width); each place sees itself
            and those before.
        items: of the catalogue.
        width: of vectors.
        window: W, items of a history that are looked at.
    """

    def __init__(self, tower: nn.Module, items: int, width: int, window: int) -> None:
        super().__init__()
        self.tower, self.window, self.items = tower, window, items
        self.vectors = nn.Embedding(items + 1, width)
        self.frequency = nn.Parameter(torch.zeros(items + 1))
        nn.init.normal_(self.vectors.weight, std=width**-0.5)

    def forward(self, history: Tensor) -> Tensor:
        """See the class."""
        if self.training:
            return self._losses(history)
        users = self._users(history[:, -self.window :])[:, -1]
        return users @ self.vectors.weight[1:].T + self.frequency[1:]

    def _users(self, history: Tensor) -> Tensor:
        there = history > 0
        vectors = self.vectors(history) * there[:, :, None]
        users: Tensor = self.tower(vectors, there)
        return users * there[:, :, None]

    def _losses(self, history: Tensor) -> Tensor:
        next_ones = history[:, -self.window :]
        given = nn.functional.pad(history, (1, 0))[:, -self.window - 1 : -1]
        counted = ((given > 0) & (next_ones > 0)).float()
        users = self._users(given)
        drawn = torch.randint(1, self.items + 1, (min(NEGATIVES, self.items),), device=history.device)
        others = users @ self.vectors(drawn).T + self.frequency[drawn]  # (n, W, drawn)
        others = others.masked_fill(next_ones[:, :, None] == drawn, HIDDEN)
        right = (users * self.vectors(next_ones)).sum(2) + self.frequency[next_ones]
        losses = torch.logsumexp(torch.cat((right[:, :, None], others), 2), 2) - right
        return torch.stack(((losses * counted).sum(1), counted.sum(1)), 1)


def mean_loss(outputs: Tensor) -> Tensor:
    """Of what :class:`NextItems` gives in training."""
    sums: Tensor = outputs.sum(0)
    return sums[0] / sums[1].clamp(min=1)


def recipe(samples: int, epochs: float, rate: float, **others: Any) -> Recipe:
    """AdamW on batches small enough for 16 steps an epoch."""
    batch = min(128, max(8, 2 ** (max(samples, 1) // 16).bit_length() // 2))
    return Recipe(
        epochs=epochs,
        batch_size=batch,
        optimizer="adamw",
        learning_rate=rate,
        weight_decay=0.1,
        label_smoothing=0.0,
        warmup_share=0.05,
        ema_decay=averaging(samples, batch, epochs),
        augment=("window",),
        **others,
    )
