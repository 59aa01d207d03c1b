"""Torch side of class maps: the module that ships, the loss, and augmentation of pictures with their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

IGNORED = 255
RARENESS = 1.02  # weights of classes range from 1.4 (every pixel) to 50 (hardly one)
ZOOM = (0.65, 1.2)  # side of the window that is looked at, as a share of the picture's side
LIGHT, CONTRAST = 0.25, 0.2  # in standard deviations of the data, and as a share


class ShippedSegmenter(nn.Module):
    """Prepared batch (n, H, W, 3) uint8 -> normalise -> module -> (n, 2, H / 2, W / 2) uint8.

    The first map holds class numbers, the second the probability of that class in 1/255. Logits of any size are
    brought to half of the input's side first, bilinear: the full side would cost four times as much and moves
    borders by less than a pixel.
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
        logits = at_size(self.module(pixels).float(), (max(1, input.shape[1] // 2), max(1, input.shape[2] // 2)))
        best, classes = logits.max(dim=1)
        confidence = 1 / (logits - best[:, None]).exp().sum(dim=1)  # softmax of the best class
        return torch.stack([classes.to(torch.uint8), (confidence * 255).round().to(torch.uint8)], dim=1)


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (n, c, h, w) at another size, bilinear."""
    if logits.shape[2:] == size:
        return logits
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def map_loss(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Cross entropy per pixel, rare classes of the batch weighted up, plus a soft Jaccard loss over its classes.

    The first finds rare classes at all, the second counts every class alike, as mean IoU does, however few pixels it
    has. Source: Paszke et al. 2016, arXiv:1606.02147, section 4 (weights); Rahman and Wang 2016, "Optimizing
    intersection-over-union in deep neural networks for image segmentation".

    Args:
        logits: (n, c, h, w).
        targets: (n, H, W) uint8, 255 where nobody said.
        label_smoothing: of the cross entropy.
    """
    step = max(1, targets.shape[1] // (2 * logits.shape[2])), max(1, targets.shape[2] // (2 * logits.shape[3]))
    seen = targets[:, step[0] // 2 :: step[0], step[1] // 2 :: step[1]].long()
    logits = at_size(logits, (seen.shape[1], seen.shape[2]))
    known = seen != IGNORED
    classes, flat = logits.shape[1], seen[known]
    truths = torch.bincount(flat, minlength=classes).float()
    weights = 1 / (RARENESS + truths / truths.sum().clamp_min(1)).log()
    # mean over pixels of weighted terms: 0 and not NaN for a batch in which nobody said anything
    entropy = functional.cross_entropy(
        logits, seen, weights, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
    ) / (weights * truths).sum().clamp_min(1)
    shares = logits.softmax(dim=1) * known[:, None]
    own = shares.gather(1, seen.masked_fill(~known, 0)[:, None])[:, 0]
    hits = torch.zeros(classes, device=logits.device).index_add(0, flat, own[known])
    union = truths + shares.sum(dim=(0, 2, 3)) - hits
    jaccard = (1 - hits / union.clamp_min(1e-6))[truths > 0]
    return entropy + (jaccard.mean() if len(jaccard) else 0.0)


def augment(batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Move pictures and masks together, each sample on its own; light changes pictures only.

    Args:
        batch: (n, 3, H, W) float, normalised.
        targets: (n, H, W) uint8.
        names: any of ``flip`` (left-right, half of the samples), ``zoom`` (a window of 0.65 to 1.2 of a side anywhere
            in the picture; beyond its border the picture is mirrored and the mask says nothing), ``light``
            (brightness and contrast).
        generator: source of all randomness.
    """
    n = len(batch)

    def draw(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, device=generator.device).to(batch.device)

    if "flip" in names or "zoom" in names:
        theta = torch.zeros(n, 2, 3, device=batch.device)
        side = torch.ones(n, device=batch.device)
        if "zoom" in names:
            side = ZOOM[0] * (ZOOM[1] / ZOOM[0]) ** draw()
            theta[:, :, 2] = (1 - side).abs()[:, None] * (2 * draw(2) - 1)
        theta[:, 0, 0] = theta[:, 1, 1] = side
        if "flip" in names:
            theta[:, 0, 0] *= torch.where(draw() < 0.5, -1.0, 1.0)
        batch, targets = _sampled(batch, targets, theta)
    if "light" in names:
        contrast = 1 + CONTRAST * (2 * draw(1, 1, 1) - 1)
        batch = batch * contrast + LIGHT * (2 * draw(1, 1, 1) - 1)
    return batch, targets


def _sampled(batch: Tensor, targets: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Look at pictures and masks through windows ``theta`` (n, 2, 3), each the affine map of ``affine_grid``."""
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    moved = functional.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)
    # 255 becomes 0, which is also what lies beyond the border
    shifted = (targets + 1).to(batch.dtype)[:, None]  # uint8: 255 + 1 is 0
    chosen = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved, (chosen[:, 0].to(torch.int16) - 1).to(torch.uint8)
