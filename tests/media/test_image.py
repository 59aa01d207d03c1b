import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sartor.errors import DataError
from sartor.media import image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encode(picture, kind="PNG", **options):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def smooth(height=40, width=60):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 3, columns * 2, rows + columns], axis=2).astype(np.uint8)


def test_png_is_lossless():
    assert (image.decode(encode(PIXELS)) == PIXELS).all()
    assert (image.decode(image.to_png(PIXELS)) == PIXELS).all()
    assert (image.decode(image.to_png(PIXELS[..., :1]))[..., 2] == PIXELS[..., 0]).all()


STORES = {
    "PNG": ["1", "L", "P", "LA", "RGBA", "I;16", "RGB"],
    "TIFF": ["1", "L", "P", "LA", "RGBA", "I;16", "RGB", "CMYK", "YCbCr", "LAB"],
    "JPEG": ["L", "RGB", "CMYK", "YCbCr"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in STORES.items() for mode in modes])
def test_every_mode_becomes_rgb(kind, mode):
    if mode == "LAB":
        picture = Image.merge("LAB", Image.fromarray(smooth()).split())
    else:
        picture = Image.fromarray(smooth())
        picture = picture.convert("L").convert("I;16") if mode == "I;16" else picture.convert(mode)
    pixels = image.decode(encode(picture, kind))
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8


def test_cmyk_keeps_its_colours():
    red = Image.new("RGB", (8, 8), (220, 30, 30)).convert("CMYK")
    assert np.abs(image.decode(encode(red, "TIFF"))[0, 0].astype(int) - [220, 30, 30]).max() <= 3
    assert np.abs(image.decode(encode(red, "JPEG", quality=95))[0, 0].astype(int) - [220, 30, 30]).max() <= 12


def test_16_bits_become_the_upper_8():
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    assert (image.decode(encode(Image.fromarray(values)))[..., 0] == values >> 8).all()


def test_transparency_is_laid_on_white():
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    pixels = image.decode(encode(clear))
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[1, 1].tolist() == [255, 255, 255]


def test_palette_with_transparent_entry():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([200, 0, 0, 0, 200, 0] + [0] * 762)
    picture.putpixel((0, 0), 1)
    pixels = image.decode(encode(picture, "PNG", transparency=0))
    assert pixels[0, 0].tolist() == [0, 200, 0]
    assert pixels[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = encode(smooth(), kind, exif=exif)
    assert image.decode(raw).shape == (60, 40, 3)
    assert image.look(raw).size == (60, 40)


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (6, 6), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    raw = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert image.decode(raw)[0, 0].tolist() == [250, 0, 0]


@pytest.mark.parametrize("cut", [1, 2, 10, 400])
def test_truncated_jpeg(cut):
    with pytest.raises(DataError, match="truncated"):
        image.decode(encode(PIXELS, "JPEG")[:-cut])


def test_truncated_png():
    raw = encode(PIXELS)
    with pytest.raises(DataError, match="truncated|damaged"):
        image.decode(raw[: len(raw) // 2])


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"this is a text file\n" * 9, "text file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "not a picture"),
        (b"\0\1\2\3" * 50, "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "text file"),
    ],
)
def test_not_a_picture(raw, words):
    with pytest.raises(DataError, match=words):
        image.decode(raw)


def test_float_pixels_are_refused():
    with pytest.raises(DataError, match="no agreed range"):
        image.decode(encode(Image.new("F", (4, 4), 0.5), "TIFF"))


def png_header(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)

    def chunk(content):
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    return b"\x89PNG\r\n\x1a\n" + chunk(head) + chunk(b"IDAT" + body) + chunk(b"IEND")


@pytest.mark.parametrize(("side", "said"), [(20_000, "400,000,000"), (8_000, "8000 × 8000")])
def test_too_many_pixels_are_refused_by_the_header(side, said):
    with pytest.raises(DataError, match=said):
        image.decode(png_header(side, side))


def test_pixel_limit_can_be_set():
    with pytest.raises(DataError, match="60 × 40"):
        image.decode(encode(PIXELS), pixel_limit=2399)
    assert image.decode(encode(PIXELS), pixel_limit=2400).shape == PIXELS.shape


def test_large_jpeg_is_decoded_reduced_and_small_is_not():
    large = image.decode(encode(smooth(2100, 3000), "JPEG"))
    assert large.shape == (525, 750, 3)
    assert image.decode(encode(smooth(1000, 1500), "JPEG")).shape == (1000, 1500, 3)
    assert image.look(encode(smooth(2100, 3000), "JPEG")).size == (2100, 3000)


def test_resize_is_antialiased_and_shared():
    checker = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels = np.repeat(checker[..., None], 3, axis=2).astype(np.uint8)
    assert np.abs(image.resize(pixels, (8, 8)).astype(int) - 127).max() <= 2
    assert image.resize(PIXELS, (40, 60)) is PIXELS
    assert image.resize(PIXELS, (10, 90)).shape == (10, 90, 3)


def test_digest_depends_on_pixels_alone():
    assert image.look(encode(PIXELS, "PNG")).content == image.look(encode(PIXELS, "BMP")).content
    other = PIXELS.copy()
    other[3, 3, 0] ^= 1
    assert image.look(encode(other)).content != image.look(encode(PIXELS)).content
    assert image.pixel_digest(PIXELS, (40, 60)) != image.pixel_digest(PIXELS, (60, 40))


def test_difference_hash_survives_jpeg_and_scale():
    def apart(left, right):
        return (image.difference_hash(left) ^ image.difference_hash(right)).bit_count()

    rows, columns = np.mgrid[0:120, 0:160]
    waves = (120 + 60 * np.sin(rows / 17) + 60 * np.cos(columns / 31))[..., None].repeat(3, axis=2).astype(np.uint8)
    assert apart(waves, image.decode(encode(waves, "JPEG", quality=60))) <= 6
    assert apart(waves, image.resize(waves, (60, 80))) <= 6
    assert apart(waves, waves[:, ::-1]) > 6


def test_thumbnail_is_a_small_png():
    import base64

    large = Image.open(io.BytesIO(base64.b64decode(image.thumbnail(encode(smooth(300, 600))))))
    assert large.size == (96, 48)
    tiny = Image.open(io.BytesIO(base64.b64decode(image.thumbnail(encode(smooth(8, 8))))))
    assert tiny.size == (48, 48)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=60), st.integers(0, 400), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
)
def test_damaged_bytes_never_raise_anything_else(noise, at, kind):
    raw = bytearray(encode(PIXELS[:12, :12], kind))
    raw[at : at + len(noise)] = noise
    try:
        pixels = image.decode(bytes(raw))
    except DataError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


def test_warnings_of_pillow_do_not_leak_from_many_threads():
    before = list(warnings.filters)
    picture = Image.new("P", (8, 8))
    picture.info["transparency"] = b"\0\1\2"
    raw = encode(picture, "PNG", transparency=b"\0\1\2")

    def work():
        for _ in range(50):
            with image.quiet_pillow():
                image.decode(raw)
                warnings.warn_explicit("as Pillow would", UserWarning, "x.py", 1, module="PIL.Image")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before
    with pytest.raises(UserWarning), image.quiet_pillow():
        warnings.warn_explicit("not Pillow's", UserWarning, "x.py", 1, module="mine")
