"""Torch side of face recognition: normalisation picture by picture, the module that ships, augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

LEAST_CONTRAST = 8.0
"""Deviation of pixels, 0..255, below which a picture is not stretched further: only noise would grow."""

TURN_DEGREES, SCALE_SHARE, SHIFT_SHARE = 10.0, 0.1, 0.06
LIGHT_SLOPE, LIGHT_CONTRAST = 0.3, 0.1  # deviations, in units of the picture's own


def standardise(pixels: torch.Tensor, least: float) -> torch.Tensor:
    """(n, 3, H, W) with mean 0 and deviation 1 over each picture, so that light and contrast of a photograph are gone.

    A picture whose deviation is below ``least`` is divided by ``least``.
    """
    centred = pixels - pixels.mean(dim=(1, 2, 3), keepdim=True)
    deviation = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    result: torch.Tensor = centred / deviation.clamp_min(least)
    return result


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3) uint8 to (n, 3, H, W) float32, each picture with mean 0 and deviation 1."""
    return standardise(batch.permute(0, 3, 1, 2).float(), LEAST_CONTRAST)


class ShippedEmbedder(nn.Module):
    """Prepared batch (n, H, W, 3) uint8 -> normalise -> module -> embeddings (n, d) float32 of length 1.

    A picture of one colour shows no face and gives zeros: it is never accepted.
    """

    least_contrast = LEAST_CONTRAST

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        pixels = normalise(input)
        embeddings = self.module(pixels).float()
        length = (embeddings.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()
        shown = (pixels.square().amax(dim=(1, 2, 3)) > 0).float()[:, None]
        result: torch.Tensor = embeddings * shown / length
        return result


def augment(batch: torch.Tensor, names: Sequence[str], generator: torch.Generator) -> torch.Tensor:
    """Vary pose and light of each face on its own; what comes out has mean 0 and deviation 1 again.

    Args:
        batch: (n, 3, H, W) float, normalised.
        names: any of ``flip`` (left-right, half of the faces), ``shift`` (up to 6 % of a side), ``turn`` (up to 10
            degrees, and up to 10 % larger or smaller) and ``light`` (a slope of brightness across the face, and its
            contrast).
        generator: source of all randomness; batch and generator fix the result.
    """
    n = len(batch)

    def uniform(reach: float) -> torch.Tensor:
        return (torch.rand(n, generator=generator, device=generator.device) * 2 - 1) * reach

    mirrored = torch.rand(n, generator=generator, device=generator.device) < 0.5
    angle, scale = uniform(math.radians(TURN_DEGREES)), 1 + uniform(SCALE_SHARE)
    across, down = uniform(2 * SHIFT_SHARE), uniform(2 * SHIFT_SHARE)  # a side is 2 long in the grid
    if "turn" not in names:
        angle, scale = torch.zeros_like(angle), torch.ones_like(scale)
    if "shift" not in names:
        across, down = torch.zeros_like(across), torch.zeros_like(down)
    side = torch.where(mirrored & ("flip" in names), -1.0, 1.0)
    if {"flip", "shift", "turn"} & set(names):
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        rows = (torch.stack([cosine * side, -sine, across], 1), torch.stack([sine * side, cosine, down], 1))
        moves = torch.stack(rows, 1).to(batch)  # (n, 2, 3)
        grid = nn.functional.affine_grid(moves, list(batch.shape), align_corners=False)
        batch = nn.functional.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)
    if "light" in names:
        batch = _lit(batch, generator)
    return standardise(batch, 0.1)


def _lit(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    n, _, height, width = batch.shape

    def normal(deviation: float) -> torch.Tensor:
        drawn = torch.randn(n, 1, 1, 1, generator=generator, device=generator.device) * deviation
        return drawn.to(batch)

    across = torch.linspace(-1, 1, width).to(batch)[None, None, None, :]
    down = torch.linspace(-1, 1, height).to(batch)[None, None, :, None]
    return batch * normal(LIGHT_CONTRAST).exp() + normal(LIGHT_SLOPE) * across + normal(LIGHT_SLOPE) * down
