"""Training on what comes next at every place of a history, and scoring all items at its end. Needs torch."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

NEGATIVES = 1000  # items drawn per batch that a next item is told apart from
HIDDEN = -1e9
UNKNOWN = 0.1  # share of items that each batch of training knows by their features alone


class ItemVectors(nn.Module):
    """A vector and a bias per item: its own, and the mean of those of its features.

    In training each batch knows some items by their features alone, so that these speak for items that train lacks
    (Volkovs et al. 2017, "DropoutNet").

    Args:
        items: of the catalogue.
        width: of vectors.
        tokens: features that items have; 0: none.
        per_item: the most that one has.
    """

    tokens: Tensor  # (items + 1, per_item) numbers from 1, 0: nothing
    known: Tensor  # (items + 1, 1) 1 where train holds the item

    def __init__(self, items: int, width: int, tokens: int = 0, per_item: int = 0) -> None:
        super().__init__()
        self.own = nn.Embedding(items + 1, width)
        self.frequency = nn.Parameter(torch.zeros(items + 1))
        nn.init.normal_(self.own.weight, std=width**-0.5)
        self.register_buffer("known", torch.ones(items + 1, 1))
        self.shared = None
        if tokens:
            self.register_buffer("tokens", torch.zeros(items + 1, per_item, dtype=torch.int32))
            self.shared = nn.Embedding(tokens + 1, width + 1)
            nn.init.normal_(self.shared.weight, std=width**-0.5)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Of all items by number: (items + 1, width) and (items + 1,)."""
        known = self.known
        if self.shared is None:
            rarest = self.frequency.min().detach()
            return self.own.weight * known, torch.where(known[:, 0] > 0, self.frequency, rarest)
        if self.training:
            known = known * (torch.rand_like(known) >= UNKNOWN)
        mean = nn.functional.embedding_bag(self.tokens, self.shared.weight, mode="mean", padding_idx=0)
        return self.own.weight * known + mean[:, :-1], self.frequency * known[:, 0] + mean[:, -1]


def token_mean(vectors: nn.Embedding, tokens: Tensor) -> Tensor:
    """(…, per) numbers from 1 to the mean of their vectors (…, width); 0 where there are none."""
    there = (tokens > 0).float()[..., None]
    mean: Tensor = (vectors(tokens.long()) * there).sum(-2) / there.sum(-2).clamp(min=1)
    return mean


class NextItems(nn.Module):
    """Item vectors, and a tower that turns the vectors of a history into a user's vector at every place.

    In evaluation: histories (n, L) to scores (n, items). In training: to (n, 2), the summed loss and the number of
    places it is of: a softmax over the next item and drawn ones (Jean et al. 2015, arXiv:1412.2007), or their
    comparison in pairs (Rendle et al. 2009, arXiv:1205.2618).

    Args:
        tower: (n, W, width) vectors and (n, W) bool where there is an item -> (n, W, width); each place sees itself
            and those before.
        items: of the catalogue.
        width: of vectors.
        window: W, items of a history that are looked at.
        features: ``tokens``, ``per_item``, ``user_tokens`` and ``per_user``, as options of a network; features of
            users stand in front of a history as numbers below 0.
        judged: ``softmax`` or ``pairs``.
    """

    table: Tensor  # (items + 1, width), and ``bias`` (items + 1,): what :class:`ItemVectors` gives, in evaluation
    bias: Tensor

    def __init__(
        self,
        tower: nn.Module,
        items: int,
        width: int,
        window: int,
        features: dict[str, Any] | None = None,
        judged: Literal["softmax", "pairs"] = "softmax",
    ) -> None:
        super().__init__()
        found = features or {}
        self.tower, self.window, self.judged = tower, window, judged
        self.warm = items  # items that train holds, by number: negatives are drawn among them
        self.vectors = ItemVectors(items, width, found.get("tokens", 0), found.get("per_item", 0))
        self.room = found.get("per_user", 0)
        self.traits = nn.Embedding(found["user_tokens"] + 1, width) if self.room else None
        if self.traits is not None:
            nn.init.zeros_(self.traits.weight)
        self.register_buffer("table", torch.zeros(items + 1, width), persistent=False)
        self.register_buffer("bias", torch.zeros(items + 1), persistent=False)

    def furnish(self, learnt: Any) -> None:
        """Take over which items have which features, and which of them train holds."""
        self.warm = learnt.warm
        self.vectors.known[self.warm + 1 :] = 0
        if self.vectors.shared is not None:
            for number, tokens in enumerate(learnt.traits.items, 1):
                kept = torch.tensor(tokens[: self.vectors.tokens.shape[1]], dtype=torch.int32)
                self.vectors.tokens[number, : len(kept)] = kept

    def train(self, mode: bool = True) -> NextItems:
        """Weights do not change in evaluation, so that what becomes of them is computed once."""
        super().train(mode)
        if not mode:
            with torch.no_grad():
                self.table, self.bias = (found.detach().clone() for found in self.vectors())
        return self

    def forward(self, history: Tensor) -> Tensor:
        """See the class."""
        if self.training:
            return self._losses(history)
        users = self._users(history[:, -self.window :], self.table)[:, -1] + self._traits(history)
        scores: Tensor = users @ self.table.T + self.bias
        return scores[:, 1:]

    def _users(self, history: Tensor, vectors: Tensor) -> Tensor:
        there = history > 0
        met = vectors[history.clamp(min=0)] * there[:, :, None]
        users: Tensor = self.tower(met, there)
        return users * there[:, :, None]

    def _traits(self, history: Tensor) -> Tensor | float:
        """(n, width) what a user's features add."""
        return 0.0 if self.traits is None else token_mean(self.traits, (-history[:, : self.room]).clamp(min=0))

    def _losses(self, history: Tensor) -> Tensor:
        vectors, bias = self.vectors()
        next_ones = history[:, -self.window :].clamp(min=0)
        given = nn.functional.pad(history, (1, 0))[:, -self.window - 1 : -1].clamp(min=0)
        users, traits = self._users(given, vectors), self._traits(history)
        counted = (given > 0) & (next_ones > 0)
        if isinstance(traits, Tensor):  # then there is something to tell the first item by
            users = users + traits[:, None]
            counted = counted | ((next_ones > 0) & (history[:, :1] < 0))
        drawn = torch.randint(1, self.warm + 1, (min(NEGATIVES, self.warm),), device=history.device)
        others = users @ vectors[drawn].T + bias[drawn]  # (n, W, drawn)
        right = (users * vectors[next_ones]).sum(2) + bias[next_ones]
        if self.judged == "pairs":
            met = torch.zeros(len(history), len(vectors), device=history.device).scatter(1, next_ones, 1.0)
            apart = (1 - met[:, drawn])[
                :, None
            ]  # (n, 1, drawn): what the user met at any time is no worse than the next
            pairs = nn.functional.softplus(others - right[:, :, None]) * apart
            losses = pairs.sum(2) / apart.sum(2).clamp(min=1)
        else:
            others = others.masked_fill(next_ones[:, :, None] == drawn, HIDDEN)
            losses = torch.logsumexp(torch.cat((right[:, :, None], others), 2), 2) - right
        return torch.stack(((losses * counted).sum(1), counted.sum(1).to(losses)), 1)
