"""What recommenders share: counting who met what with what, how much order matters, scores from a few neighbours.

Items have numbers from 1 in histories, 0 stands for nothing; item 1 is the most frequent. Needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]

HALVINGS = 8  # lags beyond so many half-lives weigh less than 1/256 and are not counted
PRIOR = 1e-4  # weight of popularity: it orders items about which nothing else is known
BLOCK_ROWS = 512  # rows of an item-item matrix that are cut at a time
MEMORIES = (1.0, 2.0, 5.0, 20.0, 0.0)
"""Half-lives, in items, by which older items of a history may weigh less; 0: all weigh the same."""

_TINY = 1e-12  # what an exporter would leave out of a sum, it keeps as a bound
JUDGED_USERS, JUDGED_ITEMS = 2000, 2000  # by which half-lives are chosen


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
    matrix = torch.zeros(items, items)
    if not half_life:
        for _, done in batches():
            kept = torch.where(done <= items, done, 0).long()
            met = torch.zeros(len(kept), items + 1).scatter_(1, kept, 1.0)[:, 1:]
            matrix += met.T @ met
        return matrix
    users, what = in_a_row(batches)
    known, flat = what < items, matrix.view(-1)
    for lag in range(1, min(len(users), int(HALVINGS * half_life) + 1)):
        both = ((users[:-lag] == users[lag:]) & known[:-lag] & known[lag:]).nonzero()[:, 0]
        places = what[both] * items + what[both + lag]
        flat.index_add_(0, places, torch.full((len(places),), 0.5 ** (lag / half_life)))
    matrix += matrix.T.clone()
    matrix.diagonal().add_(torch.bincount(what[known], minlength=items))
    return matrix


def in_a_row(batches: Batches) -> tuple[Tensor, Tensor]:
    """Everything that was done, user after user: (m,) numbers of users, (m,) numbers of items from 0."""
    who, what, count = [], [], 0
    for _, done in batches():
        rows, places = (done > 0).nonzero(as_tuple=True)
        who.append(rows + count)
        what.append(done[rows, places].long() - 1)
        count += len(done)
    return torch.cat(who), torch.cat(what)


def fading(length: int, memory: float) -> Tensor:
    """(length,) weights of a history, 1 for the latest item and half as much every ``memory`` items before."""
    ages = torch.arange(length - 1, -1, -1, dtype=torch.float32)
    return 0.5 ** (ages / memory) if memory else torch.ones(length)


def without_last(batches: Batches) -> Batches:
    """The same users before the last thing they did."""
    return lambda: ((history, done[:, :-1]) for history, done in batches())


def held_out(batches: Batches) -> tuple[Tensor, Tensor]:
    """Histories (n, T) of some users before the last thing they did, and that thing (n,)."""
    chosen: list[Tensor] = []
    for _, done in batches():
        chosen.append(done[done[:, -2] > 0])
        if sum(map(len, chosen)) >= JUDGED_USERS:
            break
    users = torch.cat(chosen)[:JUDGED_USERS].long()
    return users[:, :-1], users[:, -1]


def gain(scores: Tensor, histories: Tensor, wanted: Tensor) -> float:
    """Mean NDCG@10 of scores (n, items); what is beyond ``items`` is missed."""
    items = scores.shape[1]
    met = torch.zeros(len(scores), items + 1).scatter(1, torch.where(histories <= items, histories, 0), 1.0)
    known = wanted <= items
    scores = scores.masked_fill(met[:, 1:] > 0, -math.inf)[known]
    right = scores.gather(1, wanted[known][:, None] - 1)
    ranks = (scores >= right).sum(1).float()
    return float(torch.where(ranks <= 10, 1 / torch.log2(ranks + 1), 0.0).sum()) / max(1, len(wanted))


def habits(
    batches: Batches,
    items: int,
    recent: int,
    offered: Sequence[tuple[float, float]],
    weigh: Callable[[Tensor, float], Tensor],
) -> tuple[float, float, float]:
    """How much order matters to these users: what best tells the last thing each did in train from all before it.

    Args:
        batches: what users did.
        items: of the catalogue.
        recent: items of a history that count.
        offered: pairs of a half-life for :func:`together` and a strength for ``weigh``.
        weigh: from counted pairs to weights between items (row: met, column: recommended).

    Returns:
        Half-life of pairs, strength, half-life of the history.
    """
    histories, wanted = held_out(batches)
    items = min(items, JUDGED_ITEMS)
    best, answer = -1.0, (*offered[0], MEMORIES[-1])
    latest = histories[:, -recent:]
    rows = torch.where(latest <= items, latest, 0)
    for half_life, strength in offered:
        weights = weigh(together(without_last(batches), items, half_life), strength)
        weights = torch.cat((torch.zeros(1, items), weights))  # row 0: nothing
        for memory in MEMORIES:
            fade = fading(rows.shape[1], memory).repeat(len(rows), 1)
            reached = gain(embedding_bag(rows, weights, per_sample_weights=fade, mode="sum"), histories, wanted)
            if reached > best:
                best, answer = reached, (half_life, strength, memory)
    return answer


class NeighbourScores(nn.Module):
    """Histories (n, L) to scores (n, items): each recent item adds its weights to its neighbours.

    Only ``neighbours`` weights per item are kept, in half precision, of the ``known`` most frequent items; popularity
    orders the others. What counts is the logarithm, so that a softmax of it shares like the sums themselves.

    Args:
        items: of the catalogue.
        known: items that have neighbours.
        neighbours: per item.
        recent: items of a history that count.
    """

    sums = True
    near: Tensor  # (known, neighbours) numbers from 0
    weights: Tensor  # (known, neighbours)
    prior: Tensor  # (items,)
    fade: Tensor  # (recent,)

    def __init__(self, items: int, known: int, neighbours: int, recent: int) -> None:
        super().__init__()
        kind = torch.int16 if known < 1 << 15 else torch.int32
        self.register_buffer("near", torch.zeros(known, neighbours, dtype=kind))
        self.register_buffer("weights", torch.zeros(known, neighbours, dtype=torch.float16))
        self.register_buffer("prior", popularity(torch.ones(items)) * PRIOR)
        self.register_buffer("fade", torch.ones(recent))

    def forward(self, history: Tensor) -> Tensor:
        """See the class."""
        recent = history[:, -len(self.fade) :]
        counted = ((recent > 0) & (recent <= len(self.near))).float() * self.fade
        rows = (recent - 1).clamp(0, len(self.near) - 1)
        added = self.weights[rows].float() * counted[:, :, None]  # (n, recent, neighbours)
        near = self.near[rows].long().flatten(1)
        return self.prior.expand(len(history), -1).scatter_add(1, near, added.flatten(1))

    def fit(
        self,
        batches: Batches,
        offered: Sequence[tuple[float, float]],
        weigh: Callable[[Tensor, float], Tensor],
    ) -> None:
        """Choose the half-lives, see :func:`habits`, and keep the largest weights of each item."""
        known, items = len(self.near), len(self.prior)
        half_life, strength, memory = habits(batches, known, len(self.fade), offered, weigh)
        self.fade.copy_(fading(len(self.fade), memory))
        self.prior.copy_(popularity(counts(batches, items)) * PRIOR)
        self.keep(weigh(together(batches, known, half_life), strength))

    def keep(self, matrix: Tensor) -> None:
        """Keep the largest weights of each row of an item-item matrix (known, known), scaled to at most 1."""
        scale = matrix.max().clamp(min=1e-9)
        for start in range(0, len(matrix), BLOCK_ROWS):
            best = torch.topk(matrix[start : start + BLOCK_ROWS], self.near.shape[1], dim=1)
            self.near[start : start + BLOCK_ROWS] = best.indices.to(self.near)
            self.weights[start : start + BLOCK_ROWS] = (best.values / scale).clamp(min=0).to(self.weights)


def conjugate_gradients(equations: Callable[[Tensor], Tensor], wanted: Tensor, start: Tensor, steps: int) -> Tensor:
    """Approximate solutions (n, width) of ``equations(x) = wanted``, one system per row."""
    x, residual = start, wanted - equations(start)
    direction, size = residual, residual.square().sum(1, keepdim=True)
    for _ in range(steps):
        image = equations(direction)
        step = size / (direction * image).sum(1, keepdim=True).clamp(min=_TINY)
        x, residual = x + step * direction, residual - step * image
        after = residual.square().sum(1, keepdim=True)
        direction, size = residual + after / size.clamp(min=_TINY) * direction, after
    return x
