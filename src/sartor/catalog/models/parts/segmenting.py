"""What families for class maps share: how often a map can be halved, and how such networks are trained. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sartor.catalog.models.parts import scaling
from sartor.jobs import Recipe
from sartor.types import Network

LARGEST_BATCH = 16  # pictures; each is thousands of pixels to learn from
SMALLEST_MAP = 2  # pixels a side


def even_halvings(input_size: Sequence[int], most: int) -> int:
    """How often, at most, both sides can be halved without a rest, so that maps going up meet those going down."""
    count = 0
    while count < most and all(side % 2 == 0 and side // 2 >= SMALLEST_MAP for side in input_size):
        input_size = [side // 2 for side in input_size]
        count += 1
    return count


def batch_size(samples: int) -> int:
    """A power of two, at least about 24 steps an epoch where there are enough samples."""
    return int(min(LARGEST_BATCH, max(4, 2 ** round(math.log2(max(samples, 1) / 24)) if samples > 24 else 4)))


def recipe(network: Network, samples: int, epochs: float) -> Recipe:
    """Muon on filters that a norm follows, as for classifiers; no smoothing: masks are trusted pixel by pixel."""
    batch = batch_size(samples)
    return Recipe(
        epochs=epochs,
        batch_size=batch,
        optimizer="muon",
        learning_rate=round(0.24 * math.sqrt(batch / 2000), 4),
        weight_decay=0.01,
        label_smoothing=0.0,
        warmup_share=0.05,
        ema_decay=scaling.averaging(samples, batch, epochs),
        augment=("auto",),
    )
