"""What the time of a call is a sum of: per kind of kernel its arithmetic, what it packs, moves and reads, and itself.

The shapes of a product say how well it runs. Of ``m × n × k`` multiplications, ``m × k`` numbers are packed, ``n × k``
weights are read and ``m × n`` sums are written: time per multiplication grows as 1/n, 1/m and 1/k where one of them is
small, so a weight on each of the four is an efficiency that depends on the shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.jobs import Kernel

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

LANES = 16  # columns that a kernel computes at once: what is left over of them is computed in vain
CACHE_NUMBERS = 1 << 18  # of a megabyte: activations of one kernel beyond it leave the nearer caches
NEAR_WEIGHTS = 1 << 17  # of half a megabyte: what is beyond it comes from afar in every call
NEAR_FILTERS = 1 << 16  # the same of a convolution, whose activations share the cache

BLOCK = 8  # channels that a vector holds: layouts in blocks of it suit nothing else
CONVOLUTIONS = ("conv", "conv-1x1", "conv-depthwise", "conv-grouped", "conv-transposed")
MATRICES = ("product", "product-computed", "recurrence")
ALIKE = {"lstm": "recurrence", "gru": "recurrence"}  # they run alike, and one says how fast the other is
PRODUCTS = (*CONVOLUTIONS, *MATRICES)
PARTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(CONVOLUTIONS, ("arithmetic", "vain", "odd", "strided", "packed", "summed", "weights", "count")),
    **dict.fromkeys(MATRICES, ("arithmetic", "vain", "packed", "summed", "weights", "count")),
    "elementwise": ("light", "heavy", "moved", "count"),
    "softmax": ("heavy", "count"),
    "pool": ("light", "moved", "count"),
    "trees": ("light", "count"),
    "look-up": ("moved", "count"),
    "free": ("count",),
    **dict.fromkeys(
        ("norm", "scale", "reduce", "pool-whole", "resize", "turn", "join", "move", "cast", "reorder", "other"),
        ("moved", "count"),
    ),
}
"""Kind of kernel to the parts that its time is a sum of."""
WHOLE = (
    *("fused light", "fused heavy", "spilled", "call"),
    *("flat", "flat packed", "flat depthwise", "far filters", "far weights"),
)
"""Parts of a call that belong to no kind."""
NAMES = (*(f"{kind} {part}" for kind, parts in PARTS.items() for part in parts), *WHOLE)
_PLACE = {name: place for place, name in enumerate(NAMES)}


def features(kernels: Sequence[Kernel]) -> Array:
    """Amount of each part (``NAMES``) in one call: (len(NAMES),), none negative."""
    import numpy as np

    found = np.zeros(len(NAMES))
    for kernel in kernels:
        kind = ALIKE.get(kernel.kind, kernel.kind)
        kind = kind if kind in PARTS else "other"
        amounts = _product(kernel) if kind in PRODUCTS else _other(kernel)
        for part in PARTS[kind]:
            found[_PLACE[f"{kind} {part}"]] += kernel.count * amounts[part]
        if kind in PRODUCTS:
            for part, amount in _shared(kernel, amounts).items():
                found[_PLACE[part]] += kernel.count * amount
            found[_PLACE["fused light"]] += kernel.count * kernel.light
            found[_PLACE["fused heavy"]] += kernel.count * (0 if kind == "recurrence" else kernel.heavy)
        spilled = max(0, kernel.read + kernel.written - CACHE_NUMBERS) if kind not in ("look-up", "reorder") else 0
        found[_PLACE["spilled"]] += kernel.count * spilled
    found[_PLACE["call"]] = 1.0
    return found


def _product(kernel: Kernel) -> Mapping[str, float]:
    """Parts of a product: ``images × groups`` products of (m, k) and (k, n)."""
    times = kernel.images * kernel.groups
    sums = float(times) * kernel.m * kernel.n
    lanes = -(-kernel.n // LANES) * LANES if kernel.kind != "conv-depthwise" else kernel.n
    return {
        "arithmetic": kernel.operations,
        "vain": kernel.operations * (lanes / kernel.n - 1.0),
        "odd": kernel.operations if _is_odd(kernel) else 0.0,
        "strided": kernel.operations if kernel.stride > 1 else 0.0,
        "packed": float(times) * kernel.m * kernel.k,
        "summed": sums,
        "weights": float(kernel.weights if kernel.kind not in ALIKE else kernel.weights * kernel.images),
        "count": 1.0,
    }


def _shared(kernel: Kernel, amounts: Mapping[str, float]) -> Mapping[str, float]:
    """Parts of a product that have one weight for all kinds: of signals (one axis), and of weights beyond the cache."""
    if kernel.kind == "product":
        return {"far weights": float(max(0, kernel.weights - NEAR_WEIGHTS))}
    if kernel.kind not in CONVOLUTIONS:
        return {}
    flat = 1.0 if kernel.axes == 1 else 0.0
    if kernel.kind == "conv-depthwise":
        return {"flat depthwise": flat * kernel.operations}
    return {
        "flat": flat * kernel.operations,
        "flat packed": flat * amounts["packed"],
        "far filters": float(max(0, kernel.weights - NEAR_FILTERS)),
    }


def _is_odd(kernel: Kernel) -> bool:
    """Whether a convolution's channels do not come in blocks."""
    if kernel.kind == "conv-depthwise":
        return kernel.groups % BLOCK > 0
    return kernel.n % BLOCK > 0 or (kernel.k // kernel.area) % BLOCK > 0


def _other(kernel: Kernel) -> Mapping[str, float]:
    return {
        "light": float(kernel.light),
        "heavy": float(kernel.heavy),
        "moved": float(kernel.read + kernel.written),
        "count": 1.0,
    }
