"""Fits linear classifiers on bags of terms: squared hinge loss, its strength and scale chosen by cross-validation.

Torch is imported inside functions only.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

STRENGTHS = (0.03, 0.1, 0.3, 1.0)
"""Weights of the loss against the norm of the weights; a text has norm 1, so they suit data of any size."""

FOLDS = 3
MANY = 20_000  # samples, from which one fold tells enough
STEPS, FINAL_STEPS = 25, 60  # of L-BFGS per strength, each going on from the last; and for the weights that ship


@dataclass(frozen=True)
class Texts:
    """Bags of ids, one behind the other.

    Args:
        ids: (terms of all texts,) int64, 1 … ``size`` - 1.
        starts: (texts,) where each begins.
        truths: (texts,) class numbers.
    """

    ids: Tensor
    starts: Tensor
    truths: Tensor
    size: int
    classes: int

    def __len__(self) -> int:
        return len(self.truths)

    def rows(self) -> Tensor:
        """(terms,) number of the text that each term is of."""
        import torch

        ends = torch.cat([self.starts[1:], torch.tensor([len(self.ids)])])
        return torch.repeat_interleave(torch.arange(len(self)), ends - self.starts)

    def part(self, chosen: Tensor) -> Texts:
        """The texts that are True in ``chosen``."""
        import torch

        kept = chosen[self.rows()]
        lengths = torch.bincount(self.rows()[kept], minlength=len(self))[chosen]
        starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
        return Texts(self.ids[kept], starts, self.truths[chosen], self.size, self.classes)


@dataclass(frozen=True)
class Fit:
    """What :func:`fit` found: logits of a text are ``(Σ importance · weights) / √(Σ importance²) + bias``.

    Args:
        importance: (size,) of each term.
        weights: (size, columns), of two classes only the second's column.
        bias: (columns,).
    """

    importance: Tensor
    weights: Tensor
    bias: Tensor


def importance(texts: Texts) -> Tensor:
    """(size,): inverse document frequency, times the root of how strongly a term speaks for or against a class.

    Source: Wang and Manning 2012, "Baselines and bigrams: simple, good sentiment and topic classification" (log-count
    ratios; the root is ours: it tempers what few texts say).
    """
    import torch

    flat = texts.truths[texts.rows()] * texts.size + texts.ids
    counts = torch.bincount(flat, minlength=texts.classes * texts.size).view(texts.classes, texts.size).double()
    total = counts.sum(0)
    inside, outside = counts + 1, total - counts + 1
    ratios = (inside / inside.sum(1, keepdim=True) / (outside / outside.sum(1, keepdim=True))).log().abs()
    rarity = ((1 + len(texts)) / (1 + total)).log() + 1
    found: Tensor = (rarity * ratios.amax(0).sqrt()).float()
    found[0] = 0.0
    return found


def fit(texts: Texts, seed: int = 0) -> Fit:
    """The classifier of all texts, at the strength that does best on texts left out, with calibrated logits.

    Source: Fan et al. 2008, "LIBLINEAR" (squared hinge, one against the rest); Platt 1999 (calibration).
    """
    import torch

    folds = torch.randint(0, FOLDS, (len(texts),), generator=torch.Generator().manual_seed(seed))
    hits = torch.zeros(len(STRENGTHS))
    margins: list[list[Tensor]] = [[] for _ in STRENGTHS]
    truths: list[Tensor] = []
    for fold in range(1 if len(texts) >= MANY else FOLDS):
        learnt, left = texts.part(folds != fold), texts.part(folds == fold)
        if not len(learnt) or not len(left):
            continue
        weighing = importance(learnt)
        matrices, (held, _) = _matrices(learnt, weighing), _matrices(left, weighing)
        state: tuple[Tensor, Tensor] | None = None
        truths.append(left.truths)
        for place, strength in enumerate(STRENGTHS):
            state = _descend(matrices, learnt, strength, STEPS, state)
            found = held @ state[0] + state[1]
            margins[place].append(found)
            hits[place] += (_answers(found) == left.truths).sum()
    best = int(hits.argmax())
    weighing = importance(texts)
    weights, bias = _descend(_matrices(texts, weighing), texts, STRENGTHS[best], FINAL_STEPS, None)
    if not truths:
        return Fit(weighing, weights, bias)
    scale, shift = _calibrated(torch.cat(margins[best]), torch.cat(truths))
    return Fit(weighing, weights * scale, bias * scale + shift)


def _answers(margins: Tensor) -> Tensor:
    return (margins[:, 0] > 0).long() if margins.shape[1] == 1 else margins.argmax(1)


def _matrices(texts: Texts, weighing: Tensor) -> tuple[Tensor, Tensor]:
    """(texts, size) compressed by rows, each text of norm 1, and its transpose: products with both are what is slow."""
    import torch

    rows, total = texts.rows(), torch.tensor([len(texts.ids)])
    norms = torch.zeros(len(texts)).index_add_(0, rows, weighing[texts.ids].square()).clamp_min(1e-12).rsqrt()
    values = weighing[texts.ids] * norms[rows]
    order = texts.ids.argsort(stable=True)
    begins = torch.bincount(texts.ids, minlength=texts.size).cumsum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the layout a beta
        shape = (len(texts), texts.size)
        matrix = torch.sparse_csr_tensor(torch.cat([texts.starts, total]), texts.ids, values, shape)
        begins = torch.cat([torch.zeros(1, dtype=torch.long), begins])
        transposed = torch.sparse_csr_tensor(begins, rows[order], values[order], shape[::-1])
    return matrix, transposed


def _descend(
    matrices: tuple[Tensor, Tensor], texts: Texts, strength: float, steps: int, start: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Weights (size, columns) and bias (columns,) that minimise half the squared norm plus the weighted loss."""
    import torch
    from torch.nn.functional import one_hot

    columns = 1 if texts.classes == 2 else texts.classes
    weights, bias = start or (torch.zeros(texts.size, columns), torch.zeros(columns))
    weights, bias = weights.clone().requires_grad_(), bias.clone().requires_grad_()
    signs = (2 * one_hot(texts.truths, texts.classes)[:, -columns:] - 1).float()
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=steps, history_size=8, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        missing = (1 - signs * (matrices[0] @ weights + bias)).clamp_min(0)
        slope = -2 * strength * signs * missing
        weights.grad, bias.grad = weights + matrices[1] @ slope, slope.sum(0)
        return 0.5 * weights.square().sum() + strength * missing.square().sum()

    with torch.no_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach(), bias.detach()


def _calibrated(margins: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """The factor and the shifts (columns,) that make probabilities of margins the likeliest."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    scale, shift = torch.ones(1, requires_grad=True), torch.zeros(margins.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([scale, shift], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = margins * scale + shift
        found = (
            binary_cross_entropy_with_logits(logits[:, 0], truths.float())
            if margins.shape[1] == 1
            else cross_entropy(logits, truths)
        )
        value: Tensor = found + 1e-4 * shift.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    factor: Any = scale.detach().clamp_min(1e-3)
    return factor, shift.detach()
