"""Pictures: bytes to pixels within limits, one resize for training and package alike, and what tells copies apart.

Needs numpy and Pillow only (the base install). What is raised for a bad picture is a ``DataError`` of one sentence.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    Picture = PillowImage.Image

Array = np.ndarray[Any, np.dtype[Any]]

PIXEL_LIMIT = 50_000_000
"""Most pixels a picture may have, by its header. Pillow only warns from 89 million on; 50 million decode to 150 MB."""

ENOUGH = 512
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this many pixels.

The rule looks at nothing but the file, so that training, measurement and package see the same pixels. Models here take
224 pixels at most, hence at least twice that is always left for the antialiased resize.
"""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Passive raster formats. Everything else Pillow could open is refused (EPS, for one, starts another program)."""

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"),
    )
)

_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class Look:
    """What one pass over a picture tells.

    Args:
        mode: Pillow's name of how the file stores pixels, e.g. ``RGB``, ``L``, ``CMYK``, ``I;16``.
        size: (height, width) in pixels after EXIF orientation.
        content: digest of the decoded pixels; equal for the same pixels in different files.
        likeness: 64-bit difference hash, a few bits apart for near copies.
    """

    mode: str
    size: tuple[int, int]
    content: str
    likeness: int


def look(raw: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> Look:
    """Decode a picture once and say what it is.

    Raises:
        DataError: as :func:`decode`.
    """
    with _opened(raw, pixel_limit) as (image, full):
        mode = image.mode
        picture = _to_rgb(image)
    turned = (picture.width > picture.height) != (full[0] > full[1])
    width, height = reversed(full) if turned else full
    pixels = np.asarray(picture)
    return Look(mode, (height, width), pixel_digest(pixels, (height, width)), difference_hash(pixels))


def decode(raw: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> Array:
    """Bytes of a picture file to pixels, (h, w, 3) uint8.

    EXIF orientation is applied; of an animation the first frame is taken; grey becomes three equal channels; 16 bits
    become the upper 8; transparent pixels are laid on white; large JPEGs are decoded reduced (see :data:`ENOUGH`).

    Raises:
        DataError: empty, not a picture, truncated or damaged, too many pixels, or pixels without an agreed range.
    """
    with _opened(raw, pixel_limit) as (image, _):
        return np.asarray(_to_rgb(image))


def turn_of(raw: bytes) -> int:
    """EXIF orientation of a picture file by its header, 1 (upright as stored) to 8; 1 where it has none."""
    try:
        with quiet_pillow():
            turn = _open(raw).getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels, which are fine
        return 1
    return turn if turn in range(1, 9) else 1


def resize(pixels: Array, size: Sequence[int]) -> Array:
    """Stretch (h, w, 3) uint8 to (H, W, 3) uint8, bilinear with antialiasing (Pillow's convolution resampling).

    The whole picture is kept, its aspect ratio is not: nothing at the border is lost, all are treated alike.
    """
    from PIL import Image

    height, width = int(size[0]), int(size[1])
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def pixel_digest(pixels: Array, size: Sequence[int]) -> str:
    """128-bit BLAKE2 of pixels and of the picture's full size, as 32 hexadecimal digits."""
    total = hashlib.blake2b(f"{size[0]}x{size[1]}:".encode(), digest_size=16)
    total.update(np.ascontiguousarray(pixels).data)
    return total.hexdigest()


def difference_hash(pixels: Array) -> int:
    """64-bit dHash: is each of 8 × 8 grey cells brighter than its right neighbour?

    Source: N. Krawetz, "Kind of Like That", hackerfactor.com, 2013.
    """
    from PIL import Image

    small = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    cells = np.asarray(small).astype(np.int16)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "big")


def to_png(pixels: Array) -> bytes:
    """(h, w), (h, w, 1), (h, w, 3) or (h, w, 4) uint8 as a PNG file, without loss."""
    from PIL import Image

    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def noise_pictures(count: int, size: Sequence[int], seed: int = 0) -> list[bytes]:
    """PNG files of seeded noise, (H, W) pixels: stand-ins where no picture is at hand."""
    generator = np.random.default_rng(seed)
    return [to_png(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]


NEAR_SIDE = 12  # pixels: near copies are compared at 12 x 12
NEAR_RATIO = 0.2  # near copies differ by at most this share of their contrast (root mean squares)
LEAST_SIDE = 16  # below it all pictures of a class look alike


def nearly_same(left: Array, right: Array) -> bool:
    """Whether two pictures (h, w, 3) look the same when small; never for tiny ones."""
    if min(*left.shape[:2], *right.shape[:2]) < LEAST_SIDE:
        return False
    one, other = (resize(picture, (NEAR_SIDE, NEAR_SIDE)).astype(np.float32) for picture in (left, right))
    contrast = max(8.0, float(np.sqrt(one.std() * other.std())))
    return float(np.sqrt(((one - other) ** 2).mean())) / contrast <= NEAR_RATIO


def thumbnail(raw: bytes, side: int = 96) -> str:
    """A PNG of at most ``side`` pixels a side as base64; tiny pictures are enlarged by a whole factor.

    Raises:
        DataError: as :func:`decode`.
    """
    pixels = decode(raw)
    height, width = pixels.shape[:2]
    if max(height, width) > side:
        scale = side / max(height, width)
        pixels = resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    else:
        factor = max(1, side // (2 * max(height, width)))
        pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return base64.b64encode(to_png(pixels)).decode()


# ------------------------------------------------------------------------------------------------ reading safely


@contextmanager
def _opened(raw: bytes, pixel_limit: int) -> Iterator[tuple[Picture, tuple[int, int]]]:
    """The unread picture and its (width, height), limits checked by the header.

    Whatever Pillow raises, here or in the body of the ``with``, becomes a ``DataError``.
    """
    if not raw:
        raise DataError("the file is empty")
    with quiet_pillow():
        try:
            image = _open(raw)
            if image.width * image.height > pixel_limit:
                raise _too_large(f"{image.width} × {image.height}", pixel_limit)
            full = image.size
            if image.format in ("JPEG", "MPO"):
                _reduce(image)
            yield image, full
        except DataError:
            raise
        except Exception as error:  # Pillow's readers raise anything from SyntaxError to struct.error on bad bytes
            raise _explain(error, raw, pixel_limit) from error


def _open(raw: bytes) -> Picture:
    from PIL import Image

    Image.init()
    return Image.open(io.BytesIO(raw), formats=[name for name in FORMATS if name in Image.OPEN])


def _reduce(image: Picture) -> None:
    """Let libjpeg scale while decoding: the shorter side stays at or above :data:`ENOUGH`."""
    factor = 1
    while factor < 8 and min(image.size) // (factor * 2) >= ENOUGH:
        factor *= 2
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))


def _to_rgb(image: Picture) -> Picture:
    """Load, turn upright, and bring any mode to RGB."""
    from PIL import Image

    image.load()
    image = _upright(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_wide(image)
    if image.mode == "F":
        raise DataError("its pixels are 32-bit floats, which have no agreed range; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _from_wide(image: Picture) -> Picture:
    """16-bit grey to RGB by the upper 8 bits; 32-bit integers only where their values fit 16 bits."""
    from PIL import Image

    values = np.asarray(image)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise DataError("its pixels are 32-bit integers beyond 0..65535; save it with 8 or 16 bits")
    return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")


def _upright(image: Picture) -> Picture:
    from PIL import ImageOps

    if "exif" not in image.info and "Raw profile type exif" not in image.info and "xmp" not in image.info:
        return image
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
        return ImageOps.exif_transpose(image) if turn != 1 else image
    except Exception:  # damaged EXIF says nothing about the pixels, which are fine
        return image


def _too_large(size: str, limit: int) -> DataError:
    return DataError(f"it has {size} pixels, more than the {limit / 1e6:g} million allowed; make it smaller")


def _explain(error: Exception, raw: bytes, limit: int) -> DataError:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        count = re.search(r"\d{4,}", str(error))
        return _too_large(f"{int(count.group()):,}" if count else "far too many", limit)
    if isinstance(error, UnidentifiedImageError):
        text = b"\0" not in raw[:512] and all(byte < 128 for byte in raw[:512])
        return DataError("it is a text file, not a picture" if text else "it is not a picture of a known format")
    if isinstance(error, MemoryError):
        return DataError("there is not enough memory to decode it")
    if "truncated" in str(error).lower():
        return DataError("it is truncated: the file ends before the picture does")
    return DataError(f"it is damaged and cannot be decoded ({type(error).__name__}: {str(error)[:80]})")


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_saved: warnings.catch_warnings[None] | None = None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings from the user, in any number of threads.

    ``warnings.catch_warnings`` alone saves and restores global state and so may leave it changed when threads
    overlap; here the first one in enters it and the last one out leaves it.
    """
    global _quiet_depth, _quiet_saved
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            _quiet_saved = warnings.catch_warnings()
            _quiet_saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_saved is not None:
                _quiet_saved.__exit__(None, None, None)
                _quiet_saved = None
