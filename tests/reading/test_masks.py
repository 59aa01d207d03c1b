"""Scenes in every layout that is read: pictures with masks, in folders and archives, and COCO outlines."""

import io
import json
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sartor.errors import DataError
from sartor.media.masks import IGNORED, nearest, numbered_as, read_ids, read_mask, turned, write_mask
from sartor.reading.coco_masks import draw, filled, run_lengths
from sartor.reading.masks import read_scenes_of
from sartor.types import DataSource


def png(array, mode=None):
    file = io.BytesIO()
    image = Image.fromarray(np.asarray(array, np.uint8))
    if mode == "P":
        image = Image.fromarray(np.asarray(array, np.uint8), "L").convert("P")
        image.putdata(np.asarray(array).ravel().tolist())
        image.putpalette([v for n in range(256) for v in (n * 37 % 256, n * 91 % 256, n * 11 % 256)])
    image.save(file, "PNG")
    return file.getvalue()


def picture(seed, size=(4, 6)):
    return png(np.random.default_rng(seed).integers(0, 256, (*size, 3)))


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pack(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            content = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def read(path, **options):
    """Split -> (part, samples, map of the first sample by name of class)."""
    parts = read_scenes_of(DataSource(str(path), options=options))
    return {part.split: (part, list(part.samples)) for part in parts}


def drawn(sample):
    return read_mask(sample.truth)[0].tolist()


HALVES = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
SPLITS = {
    "images/train/a.jpg": picture(1), "masks/train/a.png": png(HALVES),
    "images/train2017/b.jpg": picture(2), "masks/train2017/b.png": png(HALVES),
    "images/val/c.jpg": picture(3), "masks/val/c.png": png(1 - HALVES),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_splits_of_folders_and_archives(tmp_path, packed):
    files = {**SPLITS, "classes.txt": "0 sky\n1 road\n"}
    found = read(pack(tmp_path / "s.tar", files) if packed else write(tmp_path, files))
    assert list(found) == ["train", "validation"]
    part, samples = found["train"]
    assert part.names == ("sky", "road")
    assert [sample.place for sample in samples] == ["images/train/a.jpg", "images/train2017/b.jpg"]
    assert all((sample.raw is not None) == packed for sample in samples)
    assert drawn(samples[0]) == HALVES.tolist()
    assert read_mask(samples[0].truth)[1] == ("sky", "road")
    assert drawn(found["validation"][1][0]) == (1 - HALVES).tolist()


def test_split_outside_the_kind_of_file_and_ends_of_names(tmp_path):
    write(tmp_path, {
        "train/images/x_leftImg8bit.png": picture(1), "train/masks/x_gtFine_labelIds.png": png(HALVES),
        "test/images/y.png": picture(2), "test/masks/y_mask.png": png(HALVES),
    })  # fmt: skip
    found = read(tmp_path)
    assert list(found) == ["train", "test"]
    assert found["train"][0].names == ("0", "1")
    assert found["test"][1][0].truth


def test_voc_lists_choose_the_split(tmp_path):
    write(tmp_path, {
        "JPEGImages/a.jpg": picture(1), "SegmentationClass/a.png": png(HALVES, "P"),
        "JPEGImages/b.jpg": picture(2), "SegmentationClass/b.png": png(HALVES, "P"),
        "JPEGImages/c.jpg": picture(3),
        "ImageSets/Segmentation/train.txt": "a\n", "ImageSets/Segmentation/val.txt": "b\n",
    })  # fmt: skip
    found = read(tmp_path, classes=["background", "cow"])
    assert [len(samples) for _, samples in found.values()] == [1, 1]
    assert drawn(found["train"][1][0]) == HALVES.tolist()  # the places in the palette, not its colours


def test_black_and_white_masks_have_a_foreground(tmp_path):
    write(tmp_path, {"images/a.png": picture(1), "masks/a.png": png(HALVES * 255)})
    part, samples = read(tmp_path)["train"]
    assert part.names == ("background", "foreground")
    assert drawn(samples[0]) == HALVES.tolist()
    part, samples = read(tmp_path, classes=["field", "weed"])["train"]
    assert part.names == ("field", "weed")
    assert drawn(samples[0]) == HALVES.tolist()
    part, samples = read(tmp_path, ignore=255)["train"]
    assert part.names == ("0",)
    assert drawn(samples[0])[0] == [0, 0, 0, IGNORED, IGNORED, IGNORED]


NUMBERS = np.array([[0, 1, 2, 3, 11, 255]] * 4)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sky\nroad\ntree\n", "classes.txt"),
        ("0: sky\n1: road\n2: tree\n", "classes.txt"),
        ('["sky", "road", "tree"]', "classes.json"),
        ('{"sky": 0, "road": 1, "tree": 2}', "classes.json"),
        ('[{"id": 1, "name": "road"}, {"id": 0, "name": "sky"}, {"id": 2, "name": "tree"}]', "labels.json"),
        ("names:\n  0: sky\n  1: road\n  2: tree\n", "semantic_classes.yaml"),
    ],
)  # fmt: skip
def test_names_of_classes_and_numbers_nobody_named(tmp_path, text, name):
    write(tmp_path, {"images/a.png": picture(1), "masks/a.png": png(NUMBERS), name: text})
    part, samples = read(tmp_path)["train"]
    assert part.names == ("sky", "road", "tree")
    assert drawn(samples[0])[0] == [0, 1, 2, IGNORED, IGNORED, IGNORED]
    (note,) = part.notes
    assert note.code == "UNKNOWN_ID"
    assert "(3, 11)" in note.sentence


SKY, ROAD = (128, 128, 128), (128, 64, 128)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("name,r,g,b\nSky,128,128,128\nRoad,128,64,128\n", "class_dict.csv"),
        ("128 128 128\tSky\n128 64 128\tRoad\n", "label_colors.txt"),
        ('{"Sky": [128, 128, 128], "Road": [128, 64, 128]}', "classes.json"),
    ],
)
def test_coloured_masks_with_a_table_of_colours(tmp_path, text, name):
    coloured = np.array([[SKY, ROAD, (1, 2, 3)]] * 2, np.uint8)
    palette = Image.fromarray(np.array([[0, 1, 0]] * 2, np.uint8), "P")
    palette.putpalette([*SKY, *ROAD])
    file = io.BytesIO()
    palette.save(file, "PNG")
    write(tmp_path, {
        "images/a.png": picture(1, (2, 3)), "masks/a.png": png(coloured), name: text,
        "images/b.png": picture(2, (2, 3)), "masks/b.png": file.getvalue(),
    })  # fmt: skip
    part, samples = read(tmp_path)["train"]
    assert sorted(part.names) == ["Road", "Sky"]
    of = {name: place for place, name in enumerate(part.names)}
    assert drawn(samples[0])[0] == [of["Sky"], of["Road"], IGNORED]
    assert drawn(samples[1])[0] == [of["Sky"], of["Road"], of["Sky"]]
    assert [note.code for note in part.notes] == ["UNKNOWN_ID"]


def test_coloured_masks_without_names_are_named_by_colour_unless_they_are_grey(tmp_path):
    write(tmp_path, {"images/a.png": picture(1), "masks/a.png": png(np.array([[SKY, ROAD]], np.uint8))})
    assert read(tmp_path)["train"][0].names == ("#804080", "#808080")
    write(tmp_path, {"masks/a.png": png(np.repeat(HALVES[..., None], 3, axis=2))})
    part, samples = read(tmp_path)["train"]
    assert part.names == ("0", "1")
    assert drawn(samples[0]) == HALVES.tolist()


def test_what_is_ignored_is_said_and_can_be_chosen(tmp_path):
    names = "0 sky\n1 road\n2 tree\n3 Void\n11 Unlabelled (ignore)\n"
    write(tmp_path, {"images/a.png": picture(1), "masks/a.png": png(NUMBERS), "classes.txt": names})
    part, samples = read(tmp_path)["train"]
    assert part.names == ("sky", "road", "tree")
    assert drawn(samples[0])[0] == [0, 1, 2, IGNORED, IGNORED, IGNORED]
    assert [note.code for note in part.notes] == ["IGNORED_CLASS"]
    part, samples = read(tmp_path, ignore=["road", 2])["train"]
    assert part.names == ("sky", "Void", "Unlabelled (ignore)")
    assert drawn(samples[0])[0] == [0, IGNORED, IGNORED, 1, 2, IGNORED]
    with pytest.raises(DataError, match="data.ignore is 'lake'"):
        read(tmp_path, ignore="lake")
    with pytest.raises(DataError, match="no class is left"):
        read(tmp_path, classes=["sky"], ignore=["sky"])


def test_what_does_not_pair_is_told(tmp_path):
    write(tmp_path, {
        "images/a.png": picture(1), "masks/a.png": png(HALVES), "images/b.png": picture(2), "masks/c.png": png(HALVES),
        "images/d.png": picture(4), "masks/d.png": b"no picture",
    })  # fmt: skip
    part, samples = read(tmp_path)["train"]
    by_place = {sample.place: sample for sample in samples}
    assert by_place["images/b.png"].truth is None
    assert "cannot be decoded" in by_place["images/d.png"].problem
    (note,) = part.notes
    assert (note.code, note.examples) == ("MASK_ALONE", ("masks/c.png",))


def test_classes_that_train_lacks_count_for_nothing_elsewhere(tmp_path):
    write(tmp_path, {
        "images/train/a.png": picture(1), "masks/train/a.png": png(HALVES),
        "images/test/b.png": picture(2), "masks/test/b.png": png(HALVES * 2), "classes.txt": "sky\nroad\nsea\n",
    })  # fmt: skip
    found = read(tmp_path)
    assert drawn(found["test"][1][0])[0] == [0, 0, 0, IGNORED, IGNORED, IGNORED]
    (note,) = found["test"][0].notes
    assert note.code == "UNKNOWN_CLASS"
    assert "sea" in note.sentence


def test_parts_given_apart_number_classes_alike(tmp_path):
    one = write(tmp_path / "one", {"images/a.png": picture(1), "masks/a.png": png(HALVES), "classes.txt": "sky\nroad"})
    other = write(
        tmp_path / "two", {"images/b.png": picture(2), "masks/b.png": png(HALVES), "classes.txt": "road\nsky"}
    )
    train, test = read_scenes_of(DataSource(str(one), test=str(other)))
    assert drawn(next(iter(train.samples))) == HALVES.tolist()
    assert drawn(next(iter(test.samples))) == (1 - HALVES).tolist()


def coco(names, objects):
    return json.dumps({
        "images": [{"id": n, "file_name": name, "height": 4, "width": 6} for n, name in enumerate(names)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": objects,
    })  # fmt: skip


SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]


def test_coco_outlines_become_masks(tmp_path):
    runs = {"size": [4, 6], "counts": [20, 4]}
    large = {"image_id": 0, "category_id": 9, "segmentation": [[0, 0, 6, 0, 6, 3, 0, 3]], "area": 18}
    small = {"image_id": 0, "category_id": 7, "segmentation": SQUARE, "area": 4}
    crowd = {"image_id": 0, "category_id": 7, "segmentation": runs, "area": 3, "iscrowd": 1}
    write(tmp_path, {
        "train2017/a.png": picture(1), "val2017/b.png": picture(2),
        "annotations/instances_train2017.json": coco(["a.png", "gone.png"], [small, large, crowd]),
        "annotations/instances_val2017.json": coco(["b.png"], [small]),
        "annotations/captions_train2017.json": '{"images": [], "annotations": []}',
    })  # fmt: skip
    found = read(tmp_path)
    part, samples = found["train"]
    assert part.names == ("background", "cat", "dog")
    assert samples[0].place == "train2017/a.png"
    assert drawn(samples[0]) == [[2, 2, 2, 2, 2, 1], [2, 1, 1, 2, 2, 1], [2, 1, 1, 2, 2, 1], [0, 0, 0, 0, 0, 1]]
    assert samples[1].problem == "the picture that is annotated is missing"
    assert drawn(found["validation"][1][0])[0] == [0] * 6
    alone = read(tmp_path / "annotations" / "instances_val2017.json")
    assert alone["train"][1][0].place == "val2017/b.png"


def test_run_lengths_in_numbers_and_in_letters():
    inside = np.zeros((4, 6), bool)
    inside[1:3, 1:4] = True
    counts = [5, 2, 2, 2, 2, 2, 9]
    assert (run_lengths({"size": [4, 6], "counts": counts}, 4, 6) == inside).all()
    packed = _packed(counts)
    assert (run_lengths({"size": [4, 6], "counts": packed}, 4, 6) == inside).all()
    with pytest.raises(DataError, match="do not cover"):
        run_lengths({"size": [4, 6], "counts": [5]}, 4, 6)
    with pytest.raises(DataError, match="cut off"):
        run_lengths({"size": [4, 6], "counts": packed + "o"}, 4, 6)
    with pytest.raises(DataError, match="no list of numbers"):
        draw(4, 6, [(1, [["a", 1, 2, 3, 4, 5]])])


def test_polygons_cover_pixels_whose_middle_they_hold():
    ring = np.array([(1, 1), (5, 1), (5, 4), (1, 4), (1, 1), (2, 2), (4, 2), (4, 3), (2, 3), (2, 2)], np.float64)
    found = filled(ring, 5, 6).astype(int).tolist()
    assert found == [[0] * 6, [0, 1, 1, 1, 1, 0], [0, 1, 0, 0, 1, 0], [0, 1, 1, 1, 1, 0], [0] * 6]
    assert filled(np.array([(-9, -9), (99, -9), (99, 99), (-9, 99.0)]), 3, 4).all()
    assert not filled(np.array([(0.6, 0.6), (1.4, 0.6), (1.4, 1.4), (0.6, 1.4)]), 3, 4).any()


def _packed(counts):
    """rleToString of cocodataset/cocoapi, maskApi.c."""
    letters = ""
    for place, count in enumerate(counts):
        value = count - (counts[place - 2] if place > 2 else 0)
        more = True
        while more:
            low, value = value & 0x1F, value >> 5
            more = value != -1 if low & 0x10 else value != 0
            letters += chr((low | (0x20 if more else 0)) + 48)
    return letters


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"images/a.png": b""}, "give images/ and masks/"),
        ({"images/a.png": picture(1), "masks/b.png": png(HALVES)}, "no mask belongs to a picture"),
        ({"a.json": coco(["a.png"], [{"image_id": 0, "category_id": 7, "bbox": [0, 0, 1, 1]}])}, "with segmentation"),
        ({"images/a.png": picture(1), "masks/a.png": png(HALVES), "classes.json": "{"}, "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path, files, said):
    with pytest.raises(DataError, match=said):
        read(write(tmp_path, files))
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "gone")


def test_masks_keep_numbers_names_and_size():
    numbers = np.arange(6, dtype=np.uint8).reshape(2, 3)
    content = write_mask(numbers, ["a", "b", "ü"])
    found, names = read_mask(content)
    assert found.tolist() == numbers.tolist()
    assert names == ("a", "b", "ü")
    assert numbered_as(content, ["ü", "a"]).tolist() == [[1, IGNORED, 0], [IGNORED] * 3]
    assert nearest(numbers, (4, 6)).tolist() == numbers.repeat(2, 0).repeat(2, 1).tolist()
    assert nearest(numbers.repeat(3, 0).repeat(3, 1), (2, 3)).tolist() == numbers.tolist()
    assert turned(numbers, 6).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert read_ids(png(numbers, "P")).tolist() == numbers.tolist()
    with pytest.raises(DataError, match="cannot be read"):
        read_mask(b"")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "splits", "classes"),
    [
        ("camvid_320/camvid_320.tar", ["train", "validation", "test"], 11),
        ("coco256/coco256.tar", ["train", "validation"], 129),
    ],
)
def test_real_archives(name, splits, classes):
    place = Path(__file__).parents[3] / "shared" / "data" / name
    if not place.exists():
        pytest.skip(f"{place} is absent")
    parts = read_scenes_of(DataSource(str(place)))
    assert [part.split for part in parts] == splits
    assert all(len(part.names) == classes for part in parts)
    for sample in islice(parts[0].samples, 12):
        assert not sample.problem
        numbers, names = read_mask(sample.truth)
        assert names == parts[0].names
        assert set(np.unique(numbers)) <= {*range(classes), IGNORED}
