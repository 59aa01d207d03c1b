"""The loss of detectors that answer with a set of boxes, one query per object. Needs torch and scipy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sartor.catalog.models.parts.dense_detector import generalised_overlap
from sartor.errors import MissingExtra

CLASS_WEIGHT, DISTANCE_WEIGHT, OVERLAP_WEIGHT = 1.0, 5.0, 2.0  # Carion et al. 2020, section A.4
BACKGROUND_WEIGHT = 0.1  # of queries without an object, where background is a class
FOCUS, BALANCE = 2.0, 0.25  # of the focal loss, where it is none

Outputs = tuple[Tensor, Tensor]


def to_corners(boxes: Tensor) -> Tensor:
    """Middle across, middle down, width, height (…, 4) to top, left, bottom, right."""
    across, down, width, height = boxes.unbind(-1)
    return torch.stack([down - height / 2, across - width / 2, down + height / 2, across + width / 2], dim=-1)


def class_scores(logits: Tensor, classes: int) -> Tensor:
    """Scores (n, q, classes) from logits that have background as a last class, or no background."""
    return logits.softmax(-1)[..., :classes] if logits.shape[-1] > classes else logits.sigmoid()


def set_loss(outputs: Outputs, targets: Tensor, classes: int) -> Tensor:
    """Match every true box with one query so that all together fit best, then let the matched ones learn.

    Source: Carion et al. 2020, DETR, arXiv:2005.12872; focal classification where a model has no background class, as
    in Zhu et al. 2020, arXiv:2010.04159. Only the last decoder layer is judged.

    Args:
        outputs: logits (n, q, classes or classes + 1) and boxes (n, q, 4) as middle and size in shares.
        targets: (n, most boxes, 5): class (-1: none), top, left, bottom, right.
        classes: number of labels.
    """
    logits, boxes = outputs[0].float(), to_corners(outputs[1].float())
    pictures, queries, labels, truths = _matched(logits, boxes, targets, classes)
    count = max(1, len(labels))
    chosen = boxes[pictures, queries]
    distance = functional.l1_loss(chosen, truths, reduction="sum") / count
    overlap = (1 - generalised_overlap(chosen, truths)).sum() / count
    if logits.shape[-1] > classes:
        wanted = torch.full(logits.shape[:2], classes, dtype=torch.long, device=logits.device)
        wanted[pictures, queries] = labels
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[classes] = BACKGROUND_WEIGHT
        naming = functional.cross_entropy(logits.transpose(1, 2), wanted, weight)
    else:
        hot = torch.zeros_like(logits)
        hot[pictures, queries, labels] = 1.0
        entropy = functional.binary_cross_entropy_with_logits(logits, hot, reduction="none")
        missed = (hot - logits.sigmoid()).abs().pow(FOCUS)
        naming = (entropy * missed * torch.where(hot > 0, BALANCE, 1 - BALANCE)).sum() / count
    return CLASS_WEIGHT * naming + DISTANCE_WEIGHT * distance + OVERLAP_WEIGHT * overlap


@torch.no_grad()
def _matched(logits: Tensor, boxes: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures, queries, labels (m,) and true boxes (m, 4) of the best match."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise MissingExtra("matching sets of boxes", "hub", "scipy") from None

    scores = class_scores(logits, classes)
    pictures, queries, rows = [], [], []
    for number in range(len(targets)):
        true = targets[number][targets[number, :, 0] >= 0]
        cost = -CLASS_WEIGHT * scores[number][:, true[:, 0].long()]
        cost = cost + DISTANCE_WEIGHT * torch.cdist(boxes[number], true[:, 1:], p=1)
        cost = cost - OVERLAP_WEIGHT * generalised_overlap(boxes[number][:, None], true[None, :, 1:])
        query, place = linear_sum_assignment(cost.nan_to_num(1e4, 1e4, 1e4).cpu().numpy())
        pictures.append(torch.full((len(query),), number))
        queries.append(torch.as_tensor(query))
        rows.append(true[torch.as_tensor(place, device=true.device)])
    found = torch.cat(rows)
    device = targets.device
    return torch.cat(pictures).to(device), torch.cat(queries).to(device), found[:, 0].long(), found[:, 1:]
