"""Claim: the chosen segmenter scores as well as the best recipe, at a fifth of its p95 or a fifth of its size.

The recipes: a plain U-Net (Ronneberger et al. 2015, half of the paper's widths, batch norm, Adam at a constant 1e-3,
batch 8, no augmentation) and SegFormer-B0 from transformers, from random weights (Xie et al. 2021, AdamW at 6e-4 with a
linear decay, batch 8, flips). Both train in fp32 with cross entropy on the run's training split at its most natural
input size, on as many threads as the run and for as long as all of it took. Their ONNX files hold the same pre- and
post-processing as the package's and are run by ONNX Runtime in fp32.

    python benchmarks/tasks/image_segmentation.py --time 2m                     # runs examples/street_scenes.yaml first
    python benchmarks/tasks/image_segmentation.py --package runs/street-scenes-1a2b3c/package --seconds 120
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from _recipes import Recipe, falling, run
from torch import nn
from torch.nn import functional

IGNORED = 255
WIDTHS = (32, 64, 128, 256, 512)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for first in (inputs, outputs):
        layers += [nn.Conv2d(first, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """The U-Net of the paper with padded convolutions; logits (n, classes, H, W)."""

    def __init__(self, classes: int, size: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(zip((3, *WIDTHS[:-1]), WIDTHS, strict=True))
        self.down = nn.ModuleList(double(inputs, outputs) for inputs, outputs in pairs)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, stride=2) for w in WIDTHS[:0:-1])
        self.up = nn.ModuleList(double(w, w // 2) for w in WIDTHS[:0:-1])
        self.head = nn.Conv2d(WIDTHS[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        maps = []
        for place, stage in enumerate(self.down):
            x = stage(functional.max_pool2d(x, 2) if place else x)
            maps.append(x)
        for grow, stage, skip in zip(self.grow, self.up, maps[-2::-1], strict=True):
            x = stage(torch.cat([grow(x), skip], dim=1))
        return self.head(x)


class SegFormer(nn.Module):
    """SegFormer-B0 of transformers with random weights; logits at a quarter of a side."""

    def __init__(self, classes: int, size: tuple[int, ...]) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        config = SegformerConfig(num_labels=classes)  # its defaults are B0
        config._attn_implementation = "eager"
        self.model = SegformerForSemanticSegmentation(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.model(pixel_values=x).logits


def pixel_loss(module: nn.Module, logits: Any, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Cross entropy at the size of the truth."""
    logits = functional.interpolate(logits, size=targets.shape[1:], mode="bilinear", align_corners=False)
    return functional.cross_entropy(logits, targets.long(), ignore_index=IGNORED)


RECIPES = (
    Recipe("plain U-Net", UNet, pixel_loss, lambda p: torch.optim.Adam(p, 1e-3), 8, lambda share: 1.0),
    Recipe(
        "SegFormer-B0, scratch",
        SegFormer,
        pixel_loss,
        lambda p: torch.optim.AdamW(p, 6e-4, weight_decay=0.01),
        8,
        falling,
        flip=lambda masks: masks.flip(2),
    ),
)


def main(words: Sequence[str] | None = None) -> int:
    """Everything; the exit status."""
    quality = ("mean_iou", "pixel_accuracy", "boundary_f1")
    return run(__doc__, "image-segmentation", "street_scenes.yaml", quality, RECIPES, words)


if __name__ == "__main__":
    sys.exit(main())
