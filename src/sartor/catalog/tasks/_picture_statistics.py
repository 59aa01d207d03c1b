"""Mean and deviation of prepared pictures. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array


def channel_statistics(prepared: Array) -> Mapping[str, tuple[float, ...]]:
    """``mean`` and ``std`` per channel of (n, H, W, 3) uint8, on the scale 0..255; a deviation below 1 counts as 1."""
    import numpy as np

    mean, squares = np.zeros(3), np.zeros(3)
    for picture in prepared:  # one at a time: a large set of large pictures does not fit twice into memory
        pixels = picture.reshape(-1, 3).astype(np.float64)
        mean += pixels.mean(axis=0) / len(prepared)
        squares += (pixels**2).mean(axis=0) / len(prepared)
    std = np.sqrt(np.maximum(squares - mean**2, 1.0))
    return {"mean": tuple(float(value) for value in mean), "std": tuple(float(value) for value in std)}
