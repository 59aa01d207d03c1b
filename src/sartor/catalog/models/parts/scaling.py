"""Rules the model families share: which sizes to offer, where to reduce the map, which batch and average suit the data.

Plain arithmetic, no torch: planners ask for variants and recipes without loading a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sartor.catalog.contracts import Variant
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.types import Network

LARGEST_MAP = 56  # pixels a side behind the first layer; beyond it cost grows faster than accuracy
EFFORTS = ("quick", "balanced", "thorough")


@dataclass(frozen=True)
class Size:
    """One row of a family's table of sizes; ``effort`` is the least effort at which it is offered."""

    name: str
    options: Mapping[str, Any]
    effort: str


def sized_variants(
    table: Sequence[Size], sizes: Sequence[tuple[int, ...]], effort: str, smallest_side: int
) -> Iterator[Variant]:
    """The rows offered at ``effort`` for each input size, smallest network first.

    ``quick`` looks at the first (most natural) input size only. The input size ends the name except for the first.

    Raises:
        Unsupported: no input size has ``smallest_side`` pixels a side.
    """
    usable = [size for size in sizes if min(size) >= smallest_side]
    if not usable:
        raise Unsupported(
            "INPUT_TOO_SMALL", f"needs inputs of at least {smallest_side} pixels a side, not {list(sizes)}"
        )
    rank = EFFORTS.index(effort)
    for position, size in enumerate(usable[:1] if rank == 0 else usable):
        suffix = "" if position == 0 else f"-{size[0]}" if size[0] == size[1] else f"-{size[0]}x{size[1]}"
        for row in table:
            if EFFORTS.index(row.effort) <= rank:
                yield Variant(row.name + suffix, dict(row.options), size)


def stem_stride(input_size: Sequence[int]) -> int:
    """Power of two by which the first layer reduces the map, so that at most ``LARGEST_MAP`` pixels a side remain."""
    stride = 1
    while min(input_size) > stride * LARGEST_MAP:
        stride *= 2
    return stride


def halvings(side: int, stages: int, smallest: int = 2) -> tuple[bool, ...]:
    """For each stage in turn whether it halves a map of ``side`` pixels, keeping at least ``smallest``."""
    answer = []
    for _ in range(stages):
        halve = side // 2 >= smallest
        answer.append(halve)
        side = side // 2 if halve else side
    return tuple(answer)


def batch_size(samples: int, input_size: Sequence[int]) -> int:
    """Batch for training: a power of two, at least about 24 steps an epoch, smaller where activations are large."""
    pixels = math.prod(input_size)
    largest = 512 if pixels <= 48**2 else 256 if pixels <= 112**2 else 128
    wanted = 2 ** round(math.log2(max(samples, 1) / 24)) if samples > 24 else 16
    return int(min(max(wanted, 16), largest))


def averaging(samples: int, batch: int, epochs: float) -> float:
    """Decay of the average of weights: it spans the last two percent of training, 0.9 at the least."""
    steps = max(1.0, epochs * max(1, samples // batch))
    return min(0.999, max(0.9, 1 - 50 / steps))


def muon_recipe(network: Network, samples: int, epochs: float) -> Recipe:
    """Muon on filters that a norm follows, AdamW on the rest.

    The rate is 0.24 at batch 2000 (airbench94, arXiv:2404.00498), scaled by the square root of the batch. No warm-up
    to speak of: an orthogonal step of a filter of fixed norm is as long as the rate says from the first one on.
    """
    batch = batch_size(samples, network.input_size)
    return Recipe(
        epochs=epochs,
        batch_size=batch,
        optimizer="muon",
        learning_rate=round(0.24 * math.sqrt(batch / 2000), 4),
        weight_decay=0.01,
        label_smoothing=0.1,
        warmup_share=0.05,
        ema_decay=averaging(samples, batch, epochs),
        augment=("auto",),
    )
