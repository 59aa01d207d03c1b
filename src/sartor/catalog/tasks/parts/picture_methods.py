"""What tasks of whole pictures do alike: functions that each takes for its methods. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Tensor, Truths


def alike(left: Array, right: Array) -> bool:
    """Near copies, as ``media.image`` judges them."""
    from sartor.media.image import nearly_same

    return nearly_same(left, right)


def decode(raw: bytes) -> Array:
    """A picture's file as (h, w, 3) uint8, upright."""
    from sartor.media.image import decode

    return decode(raw)


def learn_nothing(encoding: str, input_size: Sequence[int], decoded: Iterator[Array], truths: Truths) -> bytes:
    """Nothing: a picture is prepared alike whatever the others are."""
    return b""


def recall_nothing(encoding: str, learnt: bytes) -> None:
    """Nothing was learnt."""


def stretched(decoded: Array, input_size: Sequence[int], learnt: Any = None) -> Array:
    """The whole picture at the input's size, (H, W, 3) uint8."""
    from sartor.media.image import resize

    return resize(decoded, input_size)


def noise(count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
    """Pictures of noise."""
    from sartor.media.image import noise_pictures

    return noise_pictures(count, input_size, seed)


def example(input_size: Sequence[int], encoding: str = "") -> Array:
    """A black picture, (H, W, 3) uint8."""
    import numpy as np

    return np.zeros((*input_size, 3), np.uint8)


def normalise(batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
    """(n, H, W, 3) uint8 to (n, 3, H, W) float by ``mean`` and ``std``."""
    from sartor.catalog.tasks.parts.image_tensors import normalise

    return normalise(batch, statistics)
