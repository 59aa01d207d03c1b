"""Mean and deviation of prepared pictures. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array


def channel_statistics(prepared: Array) -> Mapping[str, tuple[float, ...]]:
    """``mean`` and ``std`` per channel of (n, H, W, 3) uint8, on the scale 0..255; a deviation below 1 counts as 1."""
    import numpy as np

    total, squares, count = np.zeros(3), np.zeros(3), 0
    for picture in prepared:  # one at a time: a large set of large pictures does not fit twice into memory
        pixels = picture.reshape(-1, 3).astype(np.float64)
        total, squares, count = total + pixels.sum(axis=0), squares + (pixels**2).sum(axis=0), count + len(pixels)
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 1.0))
    return {"mean": tuple(float(value) for value in mean), "std": tuple(float(value) for value in std)}
