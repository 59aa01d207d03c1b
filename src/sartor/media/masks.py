"""Masks: maps of class numbers as PNG files that carry the names of their classes. Needs numpy and Pillow only."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.media.image import PIXEL_LIMIT, quiet_pillow

Array = np.ndarray[Any, np.dtype[Any]]

IGNORED = 255
"""Number of pixels that nobody judges: borders, what was not annotated."""

MOST_CLASSES = 254  # one number is for what is ignored, one for no answer

COLOURED = 1 << 24
"""Numbers of pixels in coloured masks begin here: this, and red, green and blue in eight bits each."""

_NAMES = "classes"  # keyword of the text chunk


def read_ids(raw: bytes, *, by_colour: bool = False) -> Array:
    """A mask file to its numbers (h, w), int32: of grey the values, 8 or 16 bits; of a palette the places in it.

    Coloured pixels get numbers from :data:`COLOURED` on.

    Args:
        raw: the file.
        by_colour: a palette's colours count, not its places.

    Raises:
        DataError: not a picture, damaged, too large, or of a mode that holds no numbers.
    """
    from PIL import Image

    if not raw:
        raise DataError("its mask is an empty file")
    try:
        with quiet_pillow(), Image.open(io.BytesIO(raw), formats=("PNG", "TIFF", "BMP", "GIF")) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise DataError(f"its mask has more than {PIXEL_LIMIT / 1e6:g} million pixels")
            if image.mode in ("RGB", "RGBA") or (by_colour and image.mode in ("P", "L")):
                return packed(np.asarray(image.convert("RGB")))
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise DataError(
                    f"its mask is a {image.mode} picture; save masks as PNG with one class number or colour per pixel"
                )
            return np.asarray(image).astype(np.int32)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise anything on bad bytes
        raise DataError(f"its mask cannot be decoded ({type(error).__name__}: {str(error)[:80]})") from error


def packed(colours: Array) -> Array:
    """Colours (…, 3) as numbers from :data:`COLOURED` on, int32."""
    parts = colours.astype(np.int32)
    return np.asarray(COLOURED + (parts[..., 0] << 16) + (parts[..., 1] << 8) + parts[..., 2])


def grey_of(number: int) -> int:
    """The grey value behind a coloured pixel without colour; the number itself where there is none."""
    value = number & 0xFF
    return value if number == COLOURED + value * 0x010101 else number


def write_mask(numbers: Array, names: Sequence[str] = ()) -> bytes:
    """Class numbers (h, w) as a grey PNG; ``names`` by number travel inside."""
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    if names:
        info.add_text(_NAMES, json.dumps(list(names)))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(numbers, np.uint8)).save(file, "PNG", compress_level=1, pnginfo=info)
    return file.getvalue()


def read_mask(content: bytes) -> tuple[Array, tuple[str, ...]]:
    """The inverse of :func:`write_mask`: class numbers (h, w) uint8 and names.

    Raises:
        DataError: it is no such file.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            numbers = np.asarray(image)
            names = json.loads(image.info.get(_NAMES, "[]"))
    except Exception as error:
        raise DataError(f"the mask cannot be read ({type(error).__name__}: {str(error)[:80]})") from error
    if numbers.dtype != np.uint8 or numbers.ndim != 2:
        raise DataError(f"the mask must be a grey picture of 8 bits, but is {numbers.dtype} {numbers.shape}")
    return numbers, tuple(str(name) for name in names)


def numbered_as(content: bytes, labels: Sequence[str]) -> Array:
    """The numbers of a mask as places in ``labels``, (h, w) uint8; a name that is not there counts as ignored."""
    numbers, names = read_mask(content)
    if tuple(labels) == names:
        return numbers
    places: Mapping[str, int] = {name: place for place, name in enumerate(labels)}
    table = np.full(256, IGNORED, np.uint8)
    table[: len(names)] = [places.get(name, IGNORED) for name in names]
    return np.asarray(table[numbers])


def nearest(numbers: Array, size: Sequence[int]) -> Array:
    """A map (h, w) at another size (H, W): every pixel takes the number at its own centre."""
    height, width = int(size[0]), int(size[1])
    if numbers.shape == (height, width):
        return numbers
    rows = (np.arange(height) * 2 + 1) * numbers.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * numbers.shape[1] // (2 * width)
    return np.asarray(numbers[rows[:, None], columns])


def turned(numbers: Array, orientation: int) -> Array:
    """A map as stored turned as EXIF says its picture is: 5 to 8, those that make lying pictures stand."""
    turns = {5: numbers.T, 6: np.rot90(numbers, -1), 7: np.rot90(numbers, 2).T, 8: np.rot90(numbers)}
    return np.ascontiguousarray(turns.get(orientation, numbers))
