"""A detector from elsewhere as a module: its outputs as boxes and scores of the labels. Needs torch; import it lazily.

Which corner of a box comes first, whether it counts in pixels or in shares, and from which number classes count, no
file says: every way is tried on pictures of train, and the one that finds most of what is there is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from sartor.catalog.models.parts import detector_layouts
from sartor.catalog.models.parts.dense_detector import overlap
from sartor.catalog.models.parts.given_pictures import GivenGraph
from sartor.types import Network

CORNERS, ROWS_FIRST, MIDDLE, FIRST_CORNER = range(4)
"""x1 y1 x2 y2; y1 x1 y2 x2; middle x, y, width, height; first corner x, y, width, height."""

FEW = 100  # found objects that are passed on; as many as are judged
HIT = 0.5  # overlap from which on a box is taken to mean a true one


class GivenDetector(nn.Module):
    """Normalised (n, 3, H, W) to the outputs of a given graph, and those to candidates.

    ``network.options`` hold what ``onnx_graphs.options_of`` gives, a ``layout``, and ``places``: the class number of
    each label, -1 for a label that the graph does not know.
    """

    reading: Tensor  # (4,) of boxes; whether in pixels; first class number; whether scores are logits
    places: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.layout = detector_layouts.from_options(network.options["layout"])
        self.overlapping = self.layout.overlapping
        self.input_size = network.input_size
        self.given = GivenGraph(network, self.layout.outputs, self.layout.unbatched)
        usual = (MIDDLE if self.layout.kind == "raw" else CORNERS, 1, 0, 0)
        self.register_buffer("reading", torch.tensor(usual))
        self.register_buffer("places", torch.tensor(network.options["places"]))
        self.settled: tuple[int, ...] = ()  # the reading as numbers, while the module is written down

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The graph's own outputs."""
        found: tuple[Tensor, ...] = self.given(x)
        return found

    def candidates(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes (n, q, 4), top, left, bottom, right in shares, and scores (n, q, labels)."""
        return self.read(outputs, self.settled or tuple(self.reading.tolist()))

    def read(self, outputs: Sequence[Tensor], reading: Sequence[int]) -> tuple[Tensor, Tensor]:
        """:meth:`candidates` by a reading."""
        corners, pixels, first, logits = reading
        if self.layout.kind in ("rows", "lists"):
            boxes, best, numbers = self._found(outputs)
            known = (numbers[..., None] - first - self.places).abs() < 0.5
            scores = best[..., None] * (known & (self.places >= 0)).float()
        else:
            boxes, scores = self._dense(outputs, first, logits=bool(logits))
        height, width = self.input_size if pixels else (1, 1)
        boxes = _upright(boxes, corners) / torch.tensor([height, width, height, width], dtype=torch.float32)
        return boxes.clamp(0, 1), scores

    def _found(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, k, 4), scores and class numbers (n, k): the best few where there may be many, or any number."""
        if self.layout.kind == "rows":
            rows = outputs[0]
            boxes, best, numbers = rows[..., :4], rows[..., 4], rows[..., 5]
        else:
            boxes, best, numbers = outputs
        if 0 < self.layout.sides[0][1] <= FEW:
            return boxes, best, numbers
        blank = best.new_zeros(len(best), FEW)
        boxes = torch.cat([boxes, blank[..., None].expand(-1, -1, 4)], dim=1)
        best, order = torch.cat([best, blank], dim=1).topk(FEW, dim=1)
        numbers = torch.cat([numbers, blank], dim=1).gather(1, order)
        return boxes.gather(1, order[..., None].expand(-1, -1, 4)), best, numbers

    def _dense(self, outputs: Sequence[Tensor], first: int, *, logits: bool) -> tuple[Tensor, Tensor]:
        if self.layout.kind == "raw":
            raw = outputs[0].transpose(1, 2) if self.layout.turned else outputs[0]
            boxes, scores = raw[..., :4], raw[..., 5 if self.layout.objectness else 4 :]
            scores = scores.sigmoid() if logits else scores
            if self.layout.objectness:
                sure = raw[..., 4:5]
                scores = scores * (sure.sigmoid() if logits else sure)
        else:
            boxes, scores = outputs
            if logits:
                scores = scores.softmax(-1) if self.layout.background else scores.sigmoid()
        chosen = scores[..., self.places.clamp_min(0) + (first if self.layout.background else 0)]
        return boxes, chosen * (self.places >= 0).float()

    def readings(self, outputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        """The ways in which outputs may be meant."""
        counted = self.layout.kind in ("rows", "lists") or self.layout.background
        values = outputs[-1] if self.layout.kind == "scores" else outputs[0]
        if self.layout.kind == "raw":
            values = values[:, 4:] if self.layout.turned else values[..., 4:]
        dense = self.layout.kind in ("scores", "raw")
        logits = int(dense and bool(((values < -1e-3) | (values > 1 + 1e-3)).any()))
        usual = (MIDDLE, CORNERS, ROWS_FIRST, FIRST_CORNER) if dense else (CORNERS, ROWS_FIRST, MIDDLE, FIRST_CORNER)
        return [(*one, logits) for one in product(usual, (1, 0), (0, 1) if counted else (0,))]


def _upright(boxes: Tensor, corners: int) -> Tensor:
    """Boxes (…, 4) to top, left, bottom, right."""
    first, second, third, fourth = boxes.unbind(-1)
    if corners == CORNERS:
        return torch.stack([second, first, fourth, third], dim=-1)
    if corners == ROWS_FIRST:
        return boxes
    if corners == MIDDLE:
        first, second = first - third / 2, second - fourth / 2
    return torch.stack([second, first, second + fourth, first + third], dim=-1)


def found_share(boxes: Tensor, scores: Tensor, targets: Tensor) -> float:
    """How much of what is there is among the best answers: 1 where every true box is hit by a sure one of its class.

    Args:
        boxes: (n, q, 4).
        scores: (n, q, labels).
        targets: (n, most boxes, 5): class (-1: none), top, left, bottom, right.
    """
    gained, count = 0.0, 0
    for number in range(len(targets)):
        true = targets[number][targets[number, :, 0] >= 0]
        count += len(true)
        labels = scores.shape[2]
        best = scores[number].reshape(-1).topk(min(FEW, scores[number].numel()))
        query, label = torch.div(best.indices, labels, rounding_mode="floor"), best.indices % labels
        if not len(true):
            continue
        overlaps = overlap(true[:, None, 1:], boxes[number][query][None])
        hits = (overlaps >= HIT) & (label[None] == true[:, :1]) & (best.values > 0)[None]
        gained += float((hits * (1 + best.values.clamp(0, 1)) / 2).amax(1).sum())
    return gained / max(count, 1)


def settle_reading(module: GivenDetector, samples: Tensor, targets: Tensor) -> float:
    """Keep the pixels and the reading by which most is found; returns how much that is, as :func:`found_share`."""
    from sartor.catalog.models.parts.given_pictures import settle

    best: dict[str, Any] = {"value": -1.0, "reading": module.reading.clone()}

    def judge(outputs: tuple[Tensor, ...], wanted: Tensor) -> float:
        tried = [(found_share(*module.read(outputs, one), wanted), one) for one in module.readings(outputs)]
        value, reading = max(tried, key=lambda one: one[0])  # the first of equals
        if value > best["value"]:
            best.update(value=value, reading=torch.tensor(reading))
        return value

    value = settle(module.given, samples, targets, judge)
    module.reading.copy_(best["reading"])
    return value
