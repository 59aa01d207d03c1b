"""The network and the loss of the dense detector. Needs torch; import it inside functions only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sartor.blocks import ConvNorm, Residual

STRIDES = (8, 16, 32)  # pixels between the points of the three maps
BINS = 16  # of a side's distance, in strides: boxes reach up to 15 strides from their point

CANDIDATES = 10  # points per box that may learn it, at most
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0  # of the alignment of a point with a box
OVERLAP_WEIGHT, CLASS_WEIGHT, BINS_WEIGHT = 7.5, 0.5, 1.5
TINY = 1e-9

Outputs = tuple[Tensor, Tensor]


class DenseNetwork(nn.Module):
    """Backbone, two-way feature pyramid, and a head per map: at every point a box and a score per class.

    The maps lie 8, 16 and 32 pixels apart; maps are joined by sums, which cost nothing in 8 bits.

    Args:
        widths: channels at strides 2, 4, 8, 16 and 32.
        depths: residual blocks at strides 4, 8, 16 and 32.
        neck: channels of the pyramid and the heads.
        classes: number of labels.
        input_size: (height, width), multiples of 32.
    """

    overlapping = True  # several points answer with the same object
    points: Tensor
    steps: Tensor

    def __init__(
        self, widths: Sequence[int], depths: Sequence[int], neck: int, classes: int, input_size: Sequence[int]
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = [ConvNorm(3, widths[0], stride=2)]
        for inputs, width, depth in zip(widths, widths[1:], depths, strict=False):
            blocks = (Residual(nn.Sequential(ConvNorm(width, width), ConvNorm(width, width, active=False)), active=True)
                      for _ in range(depth))  # fmt: skip
            stages.append(nn.Sequential(ConvNorm(inputs, width, stride=2), *blocks))
        self.first = nn.Sequential(*stages[:2])
        self.stages = nn.ModuleList(stages[2:])
        self.across = nn.ModuleList(ConvNorm(width, neck, 1) for width in widths[2:])
        self.down = nn.ModuleList(ConvNorm(neck, neck) for _ in STRIDES[1:])  # coarse to fine
        self.up = nn.ModuleList(ConvNorm(neck, neck, stride=2) for _ in STRIDES[1:])  # and back
        self.box_heads = nn.ModuleList(_head(neck, 4 * BINS) for _ in STRIDES)
        self.class_heads = nn.ModuleList(_head(neck, classes) for _ in STRIDES)
        for head in self.class_heads:
            # Nearly every point sees background: start there (Lin et al. 2017, arXiv:1708.02002, section 3.3).
            nn.init.constant_(head.get_submodule("1").get_parameter("bias"), -math.log(99))
        points = torch.cat([_points(input_size, stride) for stride in STRIDES])
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("steps", torch.arange(BINS, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Outputs:
        """Normalised (n, 3, H, W) to (n, points, 4 · BINS + classes) and the points, (points, 4)."""
        x = self.first(x)
        maps = []
        for stage, across in zip(self.stages, self.across, strict=True):
            x = stage(x)
            maps.append(across(x))
        for level, smooth in zip((1, 0), self.down, strict=True):
            maps[level] = smooth(maps[level] + functional.interpolate(maps[level + 1], scale_factor=2.0))
        for level, shrink in zip((1, 2), self.up, strict=True):
            maps[level] = maps[level] + shrink(maps[level - 1])
        rows = [
            torch.cat([box(level), score(level)], dim=1).flatten(2)
            for level, box, score in zip(maps, self.box_heads, self.class_heads, strict=True)
        ]
        return torch.cat(rows, dim=2).transpose(1, 2), self.points

    def candidates(self, outputs: Outputs) -> Outputs:
        """Boxes (n, points, 4), top, left, bottom, right in shares of the picture, and scores (n, points, classes)."""
        raw, points = outputs
        boxes = as_boxes(_expected(raw[..., : 4 * BINS], self.steps), points)
        return boxes.clamp(0, 1), raw[..., 4 * BINS :].sigmoid()


def _head(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(width, width), nn.Conv2d(width, outputs, 1))


def _points(input_size: Sequence[int], stride: int) -> Tensor:
    """(rows · columns, 4): centre row and column of every cell, and its height and width, in shares of the picture."""
    rows, columns = (math.ceil(side / stride) for side in input_size)
    row = (torch.arange(rows) + 0.5) / rows
    column = (torch.arange(columns) + 0.5) / columns
    centres = torch.stack(torch.meshgrid(row, column, indexing="ij"), dim=-1).view(-1, 2)
    return torch.cat([centres, torch.tensor([1 / rows, 1 / columns]).expand(len(centres), 2)], dim=1)


def _expected(bins: Tensor, steps: Tensor) -> Tensor:
    """Logits over bins (n, points, 4 · BINS) to the expected distances in strides, (n, points, 4)."""
    shares = bins.view(*bins.shape[:2], 4, BINS).softmax(dim=3)
    distances: Tensor = (shares * steps).sum(dim=3)
    return distances


def as_boxes(distances: Tensor, points: Tensor) -> Tensor:
    """Distances to the four sides (…, points, 4) in strides to boxes in shares of the picture."""
    centre, stride = points[:, :2], points[:, 2:]
    return torch.cat([centre - distances[..., :2] * stride, centre + distances[..., 2:] * stride], dim=-1)


# ------------------------------------------------------------------------------------------------------ the loss


def detection_loss(outputs: Outputs, targets: Tensor) -> Tensor:
    """Loss of a batch: overlap and bins of the boxes, and scores that shall say how good the box is.

    Every box is learnt by the points inside it whose answers are best aligned with it: score^0.5 · overlap^6, the ten
    best. Sources: Feng et al. 2021, TOOD, arXiv:2108.07755 (assignment, score targets); Rezatofighi et al. 2019,
    arXiv:1902.09630 (overlap); Li et al. 2020, arXiv:2006.04388 (bins). Weights as customary since YOLOv8.

    Args:
        outputs: of :class:`DenseNetwork`.
        targets: (n, most boxes, 5): class (-1: none), top, left, bottom, right.
    """
    raw, points = outputs
    raw = raw.float()
    bins, logits = raw[..., : 4 * BINS], raw[..., 4 * BINS :]
    most = int((targets[..., 0] >= 0).sum(dim=1).max())
    classes, truths = _front(targets, max(1, most))
    boxes = as_boxes(_expected(bins, torch.arange(BINS, device=raw.device, dtype=raw.dtype)), points)
    with torch.no_grad():
        owner, wanted = assign(boxes, logits.sigmoid(), points, classes, truths)
    weight = wanted.sum(dim=2)  # (n, points), 0 for background
    total = weight.sum().clamp(min=1.0)
    class_loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total
    chosen = weight > 0
    if not bool(chosen.any()):
        return CLASS_WEIGHT * class_loss + 0.0 * bins.sum()
    truth = truths.gather(1, owner[..., None].expand(-1, -1, 4))[chosen]  # (chosen, 4)
    share = weight[chosen]
    overlap_loss = ((1 - generalised_overlap(boxes[chosen], truth)) * share).sum() / total
    place = points.expand(len(raw), -1, -1)[chosen]
    distances = torch.cat([place[:, :2] - truth[:, :2], truth[:, 2:] - place[:, :2]], dim=1) / place[:, 2:].repeat(1, 2)
    bins_loss = (_bins_loss(bins[chosen], distances) * share).sum() / total
    return OVERLAP_WEIGHT * overlap_loss + CLASS_WEIGHT * class_loss + BINS_WEIGHT * bins_loss


def _front(targets: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Classes (n, most) and boxes (n, most, 4), those that exist first."""
    order = (targets[..., 0] < 0).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
    rows = targets.gather(1, order[..., None].expand(-1, -1, 5))
    return rows[..., 0].long(), rows[..., 1:].float()


def assign(boxes: Tensor, scores: Tensor, points: Tensor, classes: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """Which box each point learns, and the scores it shall give.

    Args:
        boxes: (n, points, 4), as answered now.
        scores: (n, points, labels), as answered now.
        points: (points, 4).
        classes: (n, m), -1 where there is no box.
        truths: (n, m, 4).

    Returns:
        owner: (n, points) numbers of truths, 0 where none; wanted: (n, points, labels), one above 0 where owned.
    """
    n, m = classes.shape
    exists = classes >= 0
    centre = points[None, None, :, :2]
    inside = ((centre > truths[:, :, None, :2]) & (centre < truths[:, :, None, 2:])).all(dim=3) & exists[..., None]
    overlaps = overlap(truths[:, :, None], boxes[:, None]) * inside  # (n, m, points)
    own = scores.gather(2, classes.clamp(min=0)[:, None, :].expand(-1, scores.shape[1], -1)).transpose(1, 2)
    alignment = own.pow(SCORE_POWER) * overlaps.pow(OVERLAP_POWER)
    # A box whose points all miss it, as in the first steps, is learnt by those nearest to its middle.
    middle = (truths[:, :, None, :2] + truths[:, :, None, 2:]) / 2
    size = (truths[:, :, None, 2:] - truths[:, :, None, :2]).clamp(min=TINY)
    nearness = 1 - ((centre - middle) / size).abs().amax(dim=3)
    ranked = torch.where(inside, alignment + 1e-7 * nearness, -1.0)
    best = ranked.topk(min(CANDIDATES, ranked.shape[2]), dim=2)
    taken = torch.zeros_like(ranked, dtype=torch.bool).scatter_(2, best.indices, best.values > 0)
    # A box smaller than the cells may hold no point: the one nearest to its middle, in cells, takes it.
    lost = exists & ~taken.any(dim=2)
    if bool(lost.any()):
        stride = points[None, None, :, 2:]
        apart = ((centre - middle) / stride).abs().amax(dim=3) + (points[:, 2] / points[:, 2].min()).log2()
        taken |= lost[..., None] & functional.one_hot(apart.argmin(dim=2), ranked.shape[2]).bool()
    rivals = torch.where(taken, overlaps + 1e-6 * nearness.clamp(min=0) + TINY, -1.0)
    owner = rivals.argmax(dim=1)  # a point wanted by several boxes goes to the one it overlaps most
    taken &= functional.one_hot(owner, m).transpose(1, 2).bool()
    alignment = alignment * taken
    highest = alignment.amax(dim=2, keepdim=True)
    reached = (overlaps * taken).amax(dim=2, keepdim=True)
    # Scaled so that the best point of a box shall score as much as its box overlaps the truth.
    scaled = torch.where(taken, (alignment / (highest + TINY) * reached).clamp(min=0.02), 0.0)
    worth = scaled.amax(dim=1)  # (n, points)
    label = classes.clamp(min=0).gather(1, owner)
    wanted = functional.one_hot(label, scores.shape[2]) * worth[..., None]
    return owner, wanted


def _bins_loss(bins: Tensor, distances: Tensor) -> Tensor:
    """Cross-entropy of the two bins around each distance: (chosen, 4 · BINS), (chosen, 4) to (chosen,)."""
    within = distances.clamp(0, BINS - 1 - 0.01)
    lower = within.floor()
    upper_share = within - lower
    log_shares = bins.view(-1, 4, BINS).log_softmax(dim=2)
    at_lower = log_shares.gather(2, lower.long()[..., None])[..., 0]
    at_upper = log_shares.gather(2, lower.long()[..., None] + 1)[..., 0]
    loss: Tensor = -(at_lower * (1 - upper_share) + at_upper * upper_share).mean(dim=1)
    return loss


def overlap(left: Tensor, right: Tensor) -> Tensor:
    """Intersection over union of boxes (…, 4) that broadcast."""
    both = (torch.minimum(left[..., 2:], right[..., 2:]) - torch.maximum(left[..., :2], right[..., :2])).clamp(min=0)
    shared = both[..., 0] * both[..., 1]
    return shared / (_area(left) + _area(right) - shared + TINY)


def generalised_overlap(left: Tensor, right: Tensor) -> Tensor:
    """Overlap, less the share of the hull that neither box covers."""
    both = (torch.minimum(left[..., 2:], right[..., 2:]) - torch.maximum(left[..., :2], right[..., :2])).clamp(min=0)
    shared = both[..., 0] * both[..., 1]
    union = _area(left) + _area(right) - shared + TINY
    sides = torch.maximum(left[..., 2:], right[..., 2:]) - torch.minimum(left[..., :2], right[..., :2])
    hull = sides[..., 0] * sides[..., 1] + TINY
    return shared / union - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)
