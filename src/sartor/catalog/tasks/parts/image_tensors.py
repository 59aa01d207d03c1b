"""Torch side of picture tasks: normalisation, the module that ships, and augmentation on whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

SHIFT_SHARE = 1 / 16  # 2 pixels at 32
CUTOUT_SHARE = 1 / 4  # 8 pixels at 32


def normalise(batch: torch.Tensor, statistics: Mapping[str, Sequence[float]]) -> torch.Tensor:
    """(n, H, W, 3) uint8 to (n, 3, H, W) float32 with zero mean and unit deviation, channels last in memory."""
    mean = torch.tensor(tuple(statistics["mean"]), device=batch.device)
    scale = 1 / torch.tensor(tuple(statistics["std"]), device=batch.device)
    return (batch.float() * scale - mean * scale).permute(0, 3, 1, 2)


class ShippedClassifier(nn.Module):
    """Prepared batch (n, H, W, 3) uint8 -> normalise -> module -> probabilities (n, classes) float32."""

    def __init__(self, module: nn.Module, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.module = module
        scale = 1 / torch.tensor(tuple(statistics["std"]))
        self.scale = nn.Buffer(scale.view(1, 3, 1, 1))
        self.shift = nn.Buffer((-torch.tensor(tuple(statistics["mean"])) * scale).view(1, 3, 1, 1))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        pixels = input.permute(0, 3, 1, 2).float() * self.scale + self.shift
        return torch.softmax(self.module(pixels).float(), dim=1)


def augment(batch: torch.Tensor, names: Sequence[str], generator: torch.Generator) -> torch.Tensor:
    """Flip, shift and cut out, each sample on its own, in one gather for the whole batch.

    Args:
        batch: (n, c, H, W) float, normalised; channels last is fastest.
        names: any of ``flip`` (left-right, half of the samples), ``shift`` (up to 1/16 of a side each way, the border
            mirrored) and ``cutout`` (a square of 1/4 of a side set to the mean). DeVries & Taylor 2017,
            arXiv:1708.04552.
        generator: source of all randomness; batch and generator fix the result.
    """
    n, channels, height, width = batch.shape
    if "flip" in names or "shift" in names:
        rows = _moved(n, height, "shift" in names, generator)
        columns = _moved(n, width, "shift" in names, generator)
        if "flip" in names:
            mirrored = torch.rand(n, 1, generator=generator, device=generator.device) < 0.5
            columns = torch.where(mirrored, width - 1 - columns, columns)
        first = torch.arange(n, device=rows.device)[:, None, None] * (height * width)
        chosen = (first + rows[:, :, None] * width + columns[:, None, :]).flatten().to(batch.device)
        pixels = batch.permute(0, 2, 3, 1).reshape(n * height * width, channels)
        batch = pixels.index_select(0, chosen).view(n, height, width, channels).permute(0, 3, 1, 2)
    if "cutout" in names:
        batch = batch * ~_hole(n, height, width, generator).to(batch.device)
    return batch


def _moved(n: int, length: int, shift: bool, generator: torch.Generator) -> torch.Tensor:
    """(n, length) source positions, shifted at random per sample and mirrored at the border."""
    positions = torch.arange(length, device=generator.device)[None, :].expand(n, length)
    if not shift:
        return positions
    reach = min(max(1, round(length * SHIFT_SHARE)), length - 1)
    offsets = torch.randint(-reach, reach + 1, (n, 1), generator=generator, device=generator.device)
    moved = (positions + offsets).abs()
    return torch.where(moved >= length, 2 * (length - 1) - moved, moved)


def _hole(n: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """(n, 1, H, W) bool, True inside one square per sample; its centre may lie anywhere in the picture."""

    def inside(length: int) -> torch.Tensor:
        side = max(1, round(length * CUTOUT_SHARE))
        start = torch.randint(0, length, (n, 1), generator=generator, device=generator.device) - side // 2
        positions = torch.arange(length, device=generator.device)[None, :]
        return (positions >= start) & (positions < start + side)

    return (inside(height)[:, :, None] & inside(width)[:, None, :])[:, None]
