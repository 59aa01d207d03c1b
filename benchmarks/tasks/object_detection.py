"""Claim: the chosen detector scores as well as the best recipe, at a fifth of its p95 or a fifth of its size.

The recipes: FCOS (Tian et al. 2019, written here as a plain reference: ResNet-18 layout, three maps, shared heads of
two 3x3 convolutions, centre sampling, focal loss, IoU loss, centre-ness; Adam at 5e-4, batch 8, flips) and YOLOS-Ti of
transformers from random weights (Fang et al. 2021, AdamW at 1e-4, batch 4, flips), rates falling linearly. Both train
in fp32 on the run's training split at its most natural input size, on as many threads as the run and for as long as
all of it took. Their ONNX files hold the same pre- and post-processing as the package's, run by ONNX Runtime in fp32.

    python benchmarks/tasks/object_detection.py --time 2m                         # runs examples/blood_cells.yaml first
    python benchmarks/tasks/object_detection.py --package runs/blood-cells-1a2b3c/package --seconds 120
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from _recipes import Recipe, falling, run
from torch import nn
from torch.nn import functional

from sartor import registry

STRIDES, REACH = (8, 16, 32), (0.0, 64.0, 128.0, 1e9)  # pixels: a box is learnt by the map of its largest side
CENTRE = 1.5  # strides around the middle of a box within which points learn it


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Basic(nn.Module):
    """The basic block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(inputs, outputs, stride), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        same = stride == 1 and inputs == outputs
        fit = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity() if same else fit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return functional.relu(self.body(x) + self.skip(x))


class Fcos(nn.Module):
    """FCOS on ResNet-18 with maps of 128 channels."""

    overlapping = True

    def __init__(self, classes: int, size: tuple[int, int], neck: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.ModuleList(
            nn.Sequential(Basic(i, o, 1 if n == 0 else 2), Basic(o, o, 1))
            for n, (i, o) in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.across = nn.ModuleList(nn.Conv2d(w, neck, 1) for w in widths[2:])
        self.smooth = nn.ModuleList(nn.Conv2d(neck, neck, 3, 1, 1) for _ in STRIDES)
        self.naming = nn.Sequential(unit(neck, neck), unit(neck, neck), nn.Conv2d(neck, classes, 3, 1, 1))
        self.placing = nn.Sequential(unit(neck, neck), unit(neck, neck), nn.Conv2d(neck, 5, 3, 1, 1))
        nn.init.constant_(self.naming[2].bias, -4.6)
        self.size = size
        points = []
        for stride in STRIDES:
            rows, columns = (torch.arange(side // stride) * stride + stride / 2 for side in size)
            grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).view(-1, 2)
            points.append(torch.cat([grid, torch.full((len(grid), 1), float(stride))], dim=1))
        self.register_buffer("points", torch.cat(points), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Class logits (n, points, classes), distances in pixels (n, points, 4), centre-ness logits (n, points)."""
        x, maps = self.stem(x), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number:
                maps.append(self.across[number - 1](x))
        for level in (1, 0):
            maps[level] = maps[level] + functional.interpolate(maps[level + 1], scale_factor=2.0)
        maps = [smooth(level) for smooth, level in zip(self.smooth, maps, strict=True)]
        names = torch.cat([self.naming(level).flatten(2) for level in maps], dim=2).transpose(1, 2)
        places = torch.cat([self.placing(level).flatten(2) for level in maps], dim=2).transpose(1, 2)
        return names, places[..., :4].clamp(max=6).exp() * self.points[:, 2:], places[..., 4]

    def boxes(self, distances: torch.Tensor) -> torch.Tensor:
        """Corners in pixels."""
        middle = self.points[:, :2]
        return torch.cat([middle - distances[..., :2], middle + distances[..., 2:]], dim=-1)

    def candidates(self, outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the task thins out."""
        names, distances, centred = outputs
        sides = torch.tensor([*self.size, *self.size], dtype=torch.float32)
        scores = (names.sigmoid() * centred.sigmoid()[..., None]).clamp(min=1e-12).sqrt()
        return (self.boxes(distances) / sides).clamp(0, 1), scores


def fcos_loss(module: Fcos, outputs: Any, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Focal loss, IoU loss weighted by centre-ness, and the loss of centre-ness, as in the paper."""
    names, distances, centred = outputs
    sides = torch.tensor([*module.size, *module.size], dtype=torch.float32)
    middle, stride = module.points[:, :2], module.points[:, 2]
    level = stride.log2().long() - 3
    low, high = torch.tensor(REACH)[level], torch.tensor(REACH)[level + 1]
    wanted = torch.zeros_like(names)
    losses, count, mass = [], 0, torch.tensor(0.0)
    for number, rows in enumerate(targets):
        rows = rows[rows[:, 0] >= 0]
        if not len(rows):
            continue
        boxes = rows[:, 1:] * sides
        reach = torch.cat([middle[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - middle[:, None]], dim=2)
        near = ((middle[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).abs() < CENTRE * stride[:, None, None]).all(2)
        largest = reach.amax(dim=2)
        fits = near & (reach.amin(dim=2) > 0) & (largest > low[:, None]) & (largest <= high[:, None])
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).expand(len(middle), -1)
        least, owner = torch.where(fits, area, torch.inf).min(dim=1)
        chosen = torch.nonzero(least.isfinite())[:, 0]
        if not len(chosen):
            continue
        owner = owner[chosen]
        wanted[number, chosen, rows[owner, 0].long()] = 1
        true, found = reach[chosen, owner], distances[number, chosen]
        shared = torch.minimum(true, found)
        both = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
        union = sum((d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (true, found)) - both
        pairs = torch.stack([true[:, [0, 2]], true[:, [1, 3]]], dim=1)
        centre = (pairs.amin(dim=2) / pairs.amax(dim=2)).prod(dim=1).sqrt()
        losses.append(-((both + 1) / (union + 1)).log() * centre)
        mass = mass + functional.binary_cross_entropy_with_logits(centred[number, chosen], centre, reduction="sum")
        count += len(chosen)
    entropy = functional.binary_cross_entropy_with_logits(names, wanted, reduction="none")
    missed = (wanted - names.sigmoid()).abs().square()
    focal = (entropy * missed * torch.where(wanted > 0, 0.25, 0.75)).sum()
    overlap = torch.cat(losses).sum() if losses else 0.0 * distances.sum()
    return (focal + overlap + mass) / max(1, count)


def yolos(classes: int, size: tuple[int, ...]) -> nn.Module:
    """YOLOS-Ti as transformers builds it, with random weights."""
    from sartor.types import Network

    config = {
        **{"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
        **{"image_size": list(size), "use_mid_position_embeddings": False},
    }
    family = registry.get("models", "transformers-detection")
    return family.build(Network("transformers-detection", "yolos", {"type": "yolos", "config": config}, size, classes))


def yolos_loss(module: nn.Module, outputs: Any, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """The set loss of DETR."""
    return registry.get("models", "transformers-detection").loss(outputs, targets, 0.0)


def mirrored(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (n, m, 5) of pictures turned left to right."""
    turned = boxes.clone()
    turned[..., 2], turned[..., 4] = 1 - boxes[..., 4], 1 - boxes[..., 2]
    return turned


def adam(parameters: Any) -> torch.optim.Optimizer:
    """As the reference is trained."""
    return torch.optim.Adam(parameters, 5e-4)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """As YOLOS is trained."""
    return torch.optim.AdamW(parameters, 1e-4, weight_decay=1e-4)


RECIPES = (
    Recipe("FCOS ResNet-18, own reference", Fcos, fcos_loss, adam, 8, falling, mirrored, clip=10.0),
    Recipe("YOLOS-Ti, scratch", yolos, yolos_loss, adamw, 4, falling, mirrored, clip=10.0),
)


def main(words: Sequence[str] | None = None) -> int:
    """Everything; the exit status."""
    quality = ("map_50_95", "map_50", "recall_100")
    return run(__doc__, "object-detection", "blood_cells.yaml", quality, RECIPES, words)


if __name__ == "__main__":
    sys.exit(main())
