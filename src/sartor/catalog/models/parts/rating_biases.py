"""What predictors of ratings share: who rates high, what is rated high, chosen by ratings held out. Needs torch.

A question is (1 + 2 L,): the item's number from 1, numbers of the items that the user rated, their ratings; 0: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRENGTHS = (2.0, 5.0, 10.0, 25.0)  # ratings of the mean that a bias is mixed with
ROUNDS = 3  # items given users, users given items
HELD_OUT = 10  # every so many-th question is kept to choose by
MOST = 2_000_000  # questions that are fitted to


@dataclass(frozen=True)
class Questions:
    """Items (n,), rated items (n, L), their ratings (n, L), and the answers (n,); empty where they are not known."""

    item: Tensor
    rated: Tensor
    ratings: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.item)

    def held_out(self) -> tuple[Questions, Questions]:
        """Those to fit to while something is chosen, and those to choose by."""
        numbers = torch.arange(len(self))
        return self.take(numbers % HELD_OUT != 0), self.take(numbers % HELD_OUT == 0)

    def take(self, rows: Tensor) -> Questions:
        """Some of them."""
        return Questions(self.item[rows], self.rated[rows], self.ratings[rows], self.answers[rows])


def split(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Items (n,) and rated items (n, L), int64, and ratings (n, L) of a batch (n, 1 + 2 L)."""
    length = (batch.shape[1] - 1) // 2
    return batch[:, 0].long(), batch[:, 1 : 1 + length].long(), batch[:, 1 + length :]


def gathered(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Questions:
    """All questions of train, at most two million of them, with small numbers of items."""
    found, count = [], 0
    for batch, answers in batches():
        item, rated, ratings = split(batch)
        found.append((item, rated.int(), ratings, answers.float()))
        count += len(batch)
        if count >= MOST:
            break
    return Questions(*(torch.cat(column) for column in zip(*found, strict=True)))


class Biases(nn.Module):
    """Mean, plus how much higher the item is rated than others, plus how much higher the user rates.

    Args:
        items: that train holds.
    """

    mean: Tensor
    bias: Tensor  # (items + 1,)
    strength: Tensor  # ratings of nobody in particular that a user's are mixed with

    def __init__(self, items: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("bias", torch.zeros(items + 1))
        self.register_buffer("strength", torch.ones(()))

    def forward(self, item: Tensor, rated: Tensor, ratings: Tensor) -> tuple[Tensor, Tensor]:
        """Ratings (n,), and what of the user's own ratings they leave unexplained (n, L), 0 where there is none."""
        there = (rated > 0).float()
        above = (ratings - self.mean - self.bias[rated.long()]) * there
        user = above.sum(1) / (there.sum(1) + self.strength)
        return self.mean + self.bias[item] + user, (above - user[:, None]) * there

    def choose(self, kept: Questions, judged: Questions) -> tuple[float, float]:
        """How strongly to hold back biases of items and users: what, set from some questions, answers others best."""
        best, chosen = float("inf"), (STRENGTHS[0], STRENGTHS[0])
        for of_items in STRENGTHS:
            for of_users in STRENGTHS:
                self.set(kept, of_items, of_users)
                error = float((self(judged.item, judged.rated, judged.ratings)[0] - judged.answers).square().mean())
                if error < best:
                    best, chosen = error, (of_items, of_users)
        return chosen

    def set(self, questions: Questions, of_items: float, of_users: float) -> None:
        """Set mean and biases from questions, held back by so many ratings."""
        self.mean.copy_(questions.answers.mean())
        self.bias.zero_()
        self.strength.fill_(of_users)
        count = torch.bincount(questions.item, minlength=len(self.bias)).float()
        for _ in range(ROUNDS):
            found, _ = self(questions.item, questions.rated, questions.ratings)
            left = questions.answers - found + self.bias[questions.item]
            total = torch.zeros_like(self.bias).index_add_(0, questions.item, left)
            self.bias.copy_(total / (count + of_items))
        self.bias[0] = 0
