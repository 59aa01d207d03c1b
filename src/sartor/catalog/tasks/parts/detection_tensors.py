"""Torch side of object detection: the module that ships, from pixels to a fixed number of boxes, and augmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

MOST_FOUND = 100
"""Rows of an answer; as many as the COCO rules look at."""

CONSIDERED = 200
"""Candidates, best first, among which overlapping ones are thinned out."""

OVERLAP_LIMIT = 0.6
"""Of two boxes of one class that overlap more than this, the lower scored one is taken for the same object."""

ROUNDS = 8
"""Of suppression. Greedy suppression is reached when nothing changes any more, nearly always within five rounds."""


class ShippedDetector(nn.Module):
    """Prepared batch (n, H, W, 3) uint8 -> normalise -> module -> (n, MOST_FOUND, 6) float32, best first.

    A row is top, left, bottom, right (shares of the picture), score, class number; all zero where nothing is left.
    Shapes are fixed and every operator is plain arithmetic, so that all runtimes take the graph: suppression works on
    the matrix of overlaps in rounds, a box falls while a better one that stands overlaps it, which ends in the greedy
    answer. Source: Zheng et al. 2020, "Enhancing geometric factors …", arXiv:2005.03572, Cluster-NMS.
    """

    def __init__(self, module: nn.Module, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.module = module
        scale = 1 / torch.tensor(tuple(statistics["std"]))
        self.scale = nn.Buffer(scale.view(1, 3, 1, 1))
        self.shift = nn.Buffer((-torch.tensor(tuple(statistics["mean"])) * scale).view(1, 3, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        pixels = input.permute(0, 3, 1, 2).float() * self.scale + self.shift
        boxes, scores = self.module.candidates(self.module(pixels))  # type: ignore[operator]
        return best_boxes(boxes.float(), scores.float(), overlapping=bool(self.module.overlapping))


def best_boxes(boxes: Tensor, scores: Tensor, *, overlapping: bool) -> Tensor:
    """The rows of :class:`ShippedDetector` from candidates: boxes (n, q, 4), scores (n, q, classes)."""
    n, queries, classes = scores.shape
    considered = min(queries * classes, CONSIDERED if overlapping else MOST_FOUND)
    values, places = scores.reshape(n, queries * classes).topk(considered, dim=1)
    query = torch.div(places, classes, rounding_mode="floor")
    label = (places - query * classes).float()
    chosen = boxes.gather(1, query[..., None].expand(-1, -1, 4))
    if overlapping:
        # Moved apart by class, boxes of different classes never overlap.
        values = values * _standing(chosen + 2.0 * label[..., None])
        kept = min(considered, MOST_FOUND)
        values, order = values.topk(kept, dim=1)
        chosen = chosen.gather(1, order[..., None].expand(-1, -1, 4))
        label = label.gather(1, order)
    rows = torch.cat([chosen, values[..., None], label[..., None]], dim=2) * (values > 0).float()[..., None]
    if rows.shape[1] < MOST_FOUND:
        rows = torch.cat([rows, rows.new_zeros(n, MOST_FOUND - rows.shape[1], 6)], dim=1)
    return rows


def _standing(boxes: Tensor) -> Tensor:
    """1 for boxes (n, k, 4), best first, that no better standing box overlaps too much; 0 for the others."""
    top, left, bottom, right = (boxes[..., side] for side in range(4))
    height = torch.minimum(bottom[:, :, None], bottom[:, None]) - torch.maximum(top[:, :, None], top[:, None])
    width = torch.minimum(right[:, :, None], right[:, None]) - torch.maximum(left[:, :, None], left[:, None])
    shared = height.clamp(min=0) * width.clamp(min=0)
    area = (bottom - top).clamp(min=0) * (right - left).clamp(min=0)
    union = area[:, :, None] + area[:, None] - shared
    better = torch.ones(boxes.shape[1], boxes.shape[1], device=boxes.device).triu(1)  # row scores above column
    rivals = (shared > OVERLAP_LIMIT * union).float() * better
    standing = torch.ones_like(top)
    for _ in range(ROUNDS):
        standing = 1 - (rivals * standing[:, :, None]).amax(dim=1)
    return standing


# -------------------------------------------------------------------------------------------------- augmentation

ZOOM = 1.6  # pictures are enlarged or reduced by up to this factor
STRETCH = 1.15  # and one side more than the other by up to this one
LEAST_VISIBLE = 0.3  # share of a box that must stay in the picture for it to count
GAIN, OFFSET = 0.15, 0.2  # deviations of contrast and of brightness and colour, in the picture's own deviations


def augment(batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror, zoom and relight pictures, each on its own; boxes move along.

    Args:
        batch: (n, c, H, W) float, normalised: what comes into view from outside is 0, the mean colour.
        targets: (n, most boxes, 5): class (-1: none), top, left, bottom, right in shares.
        names: any of ``flip`` (left-right, half of the pictures), ``upend`` (top-bottom, half), ``zoom`` (in onto a
            part, out with a margin, with some stretch; boxes of which too little is left are taken away) and ``light``.
        generator: source of all randomness; batch and generator fix the result.
    """
    n = len(batch)
    random = torch.rand(n, 8, generator=generator, device=generator.device).to(batch.device)
    start, length = torch.zeros(n, 2, device=batch.device), torch.ones(n, 2, device=batch.device)  # rows, columns
    if "zoom" in names:
        factor = ZOOM ** (2 * random[:, :1] - 1)
        stretch = STRETCH ** (2 * random[:, 1:2] - 1)
        length = 1 / torch.cat([factor * stretch, factor / stretch], dim=1)
        start = random[:, 2:4] * (1 - length)  # inside when zooming in, around when zooming out
    for axis, name in enumerate(("upend", "flip")):
        if name in names:
            mirrored = random[:, 4 + axis] < 0.5
            start[:, axis] = torch.where(mirrored, start[:, axis] + length[:, axis], start[:, axis])
            length[:, axis] = torch.where(mirrored, -length[:, axis], length[:, axis])
    if {"zoom", "flip", "upend"} & set(names):
        batch, targets = _viewed(batch, start, length), _moved(targets, start, length)
    if "light" in names:
        noise = torch.randn(n, 2 + batch.shape[1], generator=generator, device=generator.device).to(batch.device)
        gain = 1 + GAIN * noise[:, :1, None, None]
        offset = OFFSET * (noise[:, 1:2] + 0.5 * noise[:, 2:])[:, :, None, None]
        batch = batch * gain + offset
    return batch, targets


def _viewed(batch: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """The part of each picture from ``start`` over ``length`` (n, 2: rows, columns; shares), at the full size."""
    turn = torch.zeros(len(batch), 2, 3, device=batch.device)
    # grid_sample counts from -1 to 1, columns first
    turn[:, 0, 0], turn[:, 1, 1] = length[:, 1], length[:, 0]
    turn[:, 0, 2], turn[:, 1, 2] = (2 * start + length - 1).flip(1).unbind(1)
    grid = nn.functional.affine_grid(turn, list(batch.shape), align_corners=False)
    return nn.functional.grid_sample(batch, grid.to(batch.dtype), align_corners=False)


def _moved(targets: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Boxes as seen in the part of the picture; those hardly visible get class -1."""
    corners = targets[..., 1:].reshape(*targets.shape[:2], 2, 2)  # (n, boxes, first or second corner, row or column)
    moved = (corners - start[:, None, None]) / length[:, None, None]
    first, second = moved.amin(dim=2), moved.amax(dim=2)
    whole = (second - first).prod(dim=2)
    first, second = first.clamp(0, 1), second.clamp(0, 1)
    visible = (second - first).prod(dim=2) > LEAST_VISIBLE * whole
    label = torch.where(visible, targets[..., 0], -1.0)
    return torch.cat([label[..., None], first, second], dim=2)
