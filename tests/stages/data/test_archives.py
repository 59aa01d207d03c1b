import zipfile

import numpy as np
import pytest

from sartor.errors import DataError
from sartor.media.image import decode
from sartor.prepared import open_data

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 8, 9), dtype=np.uint8)
LABELS = np.arange(40) % 2


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def all_pixels(card, workspace):
    data = open_data(card.fingerprint, workspace)
    found = {}
    for split in card.splits:
        samples = data.split(split)
        for index in range(len(samples)):
            number = int(samples.place(index).split("[")[1][:-1])
            found[number] = decode(samples.raw(index))
    return found


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3), (8, 9, 4)])
def test_grey_and_colour(tmp_path, prepared, workspace, shape):
    images = RNG.integers(0, 256, (30, *shape), dtype=np.uint8)
    if shape[-1] == 4:
        images[..., 3] = 255
    card = prepared(save(tmp_path / "a.npz", images=images, labels=LABELS[:30]))
    pixels = all_pixels(card, workspace)
    for number, image in enumerate(images):
        grey = image.reshape(8, 9, -1)[..., :3]
        assert (pixels[number] == grey).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (IMAGES / 255, IMAGES),
        (IMAGES.astype(np.float32), IMAGES),
        (IMAGES.astype(np.uint16) * 257, IMAGES),
        (IMAGES.astype(np.int64), IMAGES),
        (IMAGES > 127, (IMAGES > 127) * 255),
    ],
)
def test_pixel_ranges(tmp_path, prepared, workspace, values, expected):
    pixels = all_pixels(prepared(save(tmp_path / "a.npz", x=values, y=LABELS)), workspace)
    assert (pixels[7][..., 0] == expected[7]).all()


def test_text_and_bool_labels(tmp_path, prepared):
    assert prepared(save(tmp_path / "a.npz", x=IMAGES, y=np.where(LABELS, "up", "down"))).labels == ("down", "up")
    assert prepared(save(tmp_path / "b.npz", x=IMAGES, y=LABELS.astype(bool)[:, None])).labels == ("False", "True")


def test_splits_inside_one_archive(tmp_path, prepared):
    arrays = {"x_train": IMAGES[:30], "y_train": LABELS[:30], "x_test": IMAGES[30:], "y_test": LABELS[30:]}
    card = prepared(save(tmp_path / "a.npz", **arrays))
    assert {name: split.samples for name, split in card.splits.items()} == {"train": 24, "validation": 6, "test": 10}


def test_columns_named_by_the_user(tmp_path, prepared):
    path = save(tmp_path / "a.npz", faces=IMAGES, subject=LABELS, shot=LABELS[::-1])
    with pytest.raises(DataError, match="not clear which array is the label among"):
        prepared(path)
    assert prepared(path, label="subject").labels == ("0", "1")
    with pytest.raises(DataError, match="did you mean 'subject'"):
        prepared(path, label="subjects")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": IMAGES - 300.0, "y": LABELS}, "pixels are 0..255"),
        ({"x": IMAGES + 0.5, "y": LABELS}, "holds values up to"),
        ({"x": IMAGES[None], "y": LABELS}, "not clear which array is the label"),
        ({"x": RNG.integers(0, 9, (40, 3, 8, 9), dtype=np.uint8), "y": LABELS}, "move the channels to the end"),
        ({"x": np.asfortranarray(IMAGES), "y": LABELS}, "stored column by column"),
        ({"x": np.full((4, 3, 3), np.nan), "y": LABELS[:4]}, "not finite"),
        ({"only": LABELS}, "not clear which array is the input"),
    ],
)
def test_what_is_refused(tmp_path, prepared, arrays, words):
    with pytest.raises(DataError, match=words):
        prepared(save(tmp_path / "a.npz", **arrays))


def test_python_objects_are_never_loaded(tmp_path, prepared):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.array([Trap()] * 40, dtype=object))
    with pytest.raises(DataError, match="Python objects, which are never loaded"):
        prepared(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_bomb_is_refused_by_its_header(tmp_path, prepared):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (300, 1024, 1024)})
        for _ in range(300):
            file.write(bytes(1 << 20))
    with pytest.raises(DataError, match="would unpack .* which is refused"):
        prepared(tmp_path / "a.npz")


def test_a_header_that_lies(tmp_path, prepared):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 99, 99)})
        file.write(bytes(1000))
    with pytest.raises(DataError, match="claims the shape"):
        prepared(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY"])
def test_not_an_archive(tmp_path, prepared, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="not a readable NumPy archive"):
        prepared(tmp_path / "a.npz")


def test_a_truncated_archive(tmp_path, prepared):
    raw = save(tmp_path / "a.npz", x=IMAGES, y=LABELS).read_bytes()
    (tmp_path / "a.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match="not a readable NumPy archive"):
        prepared(tmp_path / "a.npz")
