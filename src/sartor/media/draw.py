"""Draws answers into pictures: boxes, class maps, heat. Pillow and numpy only; all functions give a PNG as base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[float, float, float, float]  # top, left, bottom, right, as shares of the picture

SIDE = 320  # pixels of the longer side of what is drawn
PALETTE = (
    (230, 85, 13), (49, 130, 189), (49, 163, 84), (117, 107, 177), (214, 39, 40), (23, 190, 207), (188, 189, 34),
    (227, 119, 194), (140, 86, 75), (99, 99, 99), (253, 174, 107), (158, 202, 225), (161, 217, 155), (188, 189, 220),
    (255, 152, 150), (158, 218, 229), (219, 219, 141), (247, 182, 210), (196, 156, 148), (189, 189, 189),
)  # fmt: skip
"""Colours by class number, around and around: apart from each other in hue or in lightness."""


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a class."""
    return PALETTE[number % len(PALETTE)]


def boxes(pixels: Array, drawn: Sequence[tuple[Box, str, tuple[int, int, int]]], side: int = SIDE) -> str:
    """A picture (h, w, 3) uint8 with boxes, their names beside them where there is room."""
    from PIL import ImageDraw

    image = _scaled(pixels, side)
    draw = ImageDraw.Draw(image)
    for (top, left, bottom, right), name, ink in drawn:
        edges = (left * image.width, top * image.height, right * image.width - 1, bottom * image.height - 1)
        if edges[2] <= edges[0] or edges[3] <= edges[1]:
            continue
        draw.rectangle(edges, outline=ink, width=2)
        if name:
            width, height = draw.textbbox((0, 0), name)[2:]
            above = max(0.0, edges[1] - height - 2)
            draw.rectangle((edges[0], above, edges[0] + width + 4, above + height + 2), fill=ink)
            draw.text((edges[0] + 2, above), name, fill=(255, 255, 255))
    return _encoded(image)


def class_map(pixels: Array, classes: Array, side: int = SIDE, strength: float = 0.55) -> str:
    """A picture (h, w, 3) uint8 under the colours of a class map (H, W); numbers of 255 stay clear."""
    from PIL import Image

    image = _scaled(pixels, side)
    table = np.array([colour(number) for number in range(256)], np.uint8)
    flat = Image.fromarray(classes.astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
    numbers = np.asarray(flat)
    base = np.asarray(image).astype(np.float32)
    mixed = np.where((numbers == 255)[..., None], base, (1 - strength) * base + strength * table[numbers])
    return _encoded(Image.fromarray(mixed.astype(np.uint8)))


def heat(pixels: Array, weights: Array, side: int = SIDE) -> str:
    """A picture (h, w, 3) uint8 with a grid (rows, columns) of weights over it: orange speaks for, blue against."""
    from PIL import Image

    image = _scaled(pixels, side)
    most = float(np.abs(weights).max()) or 1.0
    share = Image.fromarray((weights / most).astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
    strength = np.asarray(share)[..., None]
    grey = np.asarray(image.convert("L").convert("RGB")).astype(np.float32)
    ink = np.where(strength > 0, np.array((230, 85, 13)), np.array((33, 102, 172)))
    mixed = grey * (1 - 0.7 * np.abs(strength)) + ink * 0.7 * np.abs(strength)
    return _encoded(Image.fromarray(mixed.clip(0, 255).astype(np.uint8)))


def _scaled(pixels: Array, side: int) -> Any:
    """A Pillow picture whose longer side has ``side`` pixels; tiny ones are enlarged without smoothing."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor > 2 else Image.Resampling.BILINEAR)


def _encoded(image: Any) -> str:
    file = BytesIO()
    image.convert("P", palette=1, colors=128).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
