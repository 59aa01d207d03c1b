"""Readers of boxes: three formats, in folders and in a .tar, and what is said of what is odd in them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sartor.errors import DataError
from sartor.media.image import to_png
from sartor.reading.boxes import read_boxes
from sartor.reading.sample import Part
from sartor.types import DataSource

PICTURE = to_png(np.full((20, 40, 3), 200, np.uint8))


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def packed(path: Path, files: dict[str, bytes | str]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def read(train: Path, **options: str) -> dict[str, Part]:
    return {part.split: part for part in read_boxes(DataSource(str(train), options=options))}


def boxes(part: Part) -> dict[str, list]:
    return {sample.place: json.loads(sample.truth)["boxes"] for sample in part.samples if sample.truth}


def coco(images: dict[str, list], names: tuple[str, ...] = ("cat", "dog"), **odd: object) -> str:
    document: dict = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7 + i, "name": n} for i, n in enumerate(names)],
    }
    for number, (file, rows) in enumerate(images.items()):
        document["images"].append({"id": number, "file_name": file, "height": 20, "width": 40})
        for box, label, crowd in rows:
            document["annotations"].append(
                {"image_id": number, "bbox": box, "category_id": 7 + names.index(label), "iscrowd": crowd}
            )
    return json.dumps(document | odd)


def voc(*objects: tuple, size: tuple[int, int] = (20, 40), file: str = "x.jpg") -> str:
    rows = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, difficult in objects
    )
    return (
        f"<annotation><filename>{file}</filename><size><width>{size[1]}</width><height>{size[0]}</height></size>"
        f"{rows}</annotation>"
    )


COCO = {
    "train2017/a.png": PICTURE,
    "train2017/b.png": PICTURE,
    "val2017/a.png": PICTURE,
    "annotations/instances_train2017.json": coco(
        {"a.png": [([4, 2, 10, 8], "cat", 0), ([0, 0, 40, 20], "dog", 1)], "b.png": []}
    ),
    "annotations/instances_val2017.json": coco({"a.png": [([1, 1, 2, 2], "dog", 0)]}),
    "annotations/captions_train2017.json": json.dumps({"images": [], "annotations": [{"caption": "a cat"}]}),
}


@pytest.mark.parametrize("tar", [False, True])
def test_coco_by_split(tmp_path: Path, tar: bool) -> None:
    source = packed(tmp_path / "set.tar", COCO) if tar else write(tmp_path, COCO)
    parts = read(source)
    assert list(parts) == ["train", "validation"]
    assert parts["train"].names == ("cat", "dog")
    assert boxes(parts["train"]) == {
        "train2017/a.png": [[2.0, 4.0, 10.0, 14.0, "cat", 0], [0.0, 0.0, 20.0, 40.0, "dog", 1]],
        "train2017/b.png": [],
    }
    assert boxes(parts["validation"]) == {"val2017/a.png": [[1.0, 1.0, 3.0, 3.0, "dog", 0]]}
    # a file of its own is read when it is needed
    assert next(iter(read(source)["train"].samples)).raw == (PICTURE if tar else None)


def test_one_json_names_its_pictures(tmp_path: Path) -> None:
    write(tmp_path, COCO)
    parts = read(tmp_path / "annotations" / "instances_val2017.json")
    assert boxes(parts["validation"]) == {"val2017/a.png": [[1.0, 1.0, 3.0, 3.0, "dog", 0]]}


def test_what_is_odd_in_coco(tmp_path: Path) -> None:
    text = json.loads(coco({"a.png": [([4, 2, 10, 8], "cat", 0)], "gone.png": []}))
    text["annotations"].append({"id": 5, "image_id": 99, "bbox": [0, 0, 1, 1], "category_id": 7})
    write(tmp_path, {"images/a.png": PICTURE, "train.json": json.dumps(text)})
    part = read(tmp_path)["train"]
    problems = {sample.place: sample.problem for sample in part.samples}
    assert problems == {"images/a.png": "", "gone.png": "the picture that is annotated is missing"}
    assert [(note.code, note.count) for note in part.notes] == [("ORPHAN_BOX", 1)]
    text["annotations"][0]["category_id"] = 3
    (tmp_path / "train.json").write_text(json.dumps(text))
    with pytest.raises(DataError, match="category_id 3"):
        read(tmp_path)


VOC = {
    "set/JPEGImages/a.jpg": PICTURE,
    "set/JPEGImages/b.jpg": PICTURE,
    "set/JPEGImages/c.jpg": PICTURE,
    "set/Annotations/a.xml": voc(("cat", 4, 2, 14, 10, 0), ("dog", 0, 0, 4, 4, 1)),
    "set/Annotations/b.xml": voc(),
    "set/Annotations/c.xml": voc(("dog", 1, 1, 9, 9, 0), ("hen", 1, 1, 2, 2, 0)),
    "set/ImageSets/Main/train.txt": "a\nb\nz\n",
    "set/ImageSets/Main/test.txt": "c  1\n",
    "set/ImageSets/Main/cat_train.txt": "a 1\nb -1\n",
}


@pytest.mark.parametrize("tar", [False, True])
def test_voc_by_its_image_sets(tmp_path: Path, tar: bool) -> None:
    parts = read(packed(tmp_path / "voc.tar", VOC) if tar else write(tmp_path, VOC))
    assert list(parts) == ["train", "test"]
    assert boxes(parts["train"]) == {
        "set/JPEGImages/a.jpg": [[2.0, 4.0, 10.0, 14.0, "cat", 0], [0.0, 0.0, 4.0, 4.0, "dog", 2]],
        "set/JPEGImages/b.jpg": [],
    }
    # train shows no hen: the box counts for nothing, and that is said
    assert boxes(parts["test"])["set/JPEGImages/c.jpg"][1][4:] == ["hen", 2]
    assert [note.code for note in parts["train"].notes] == ["NOT_ANNOTATED"]
    assert [(note.code, note.examples) for note in parts["test"].notes] == [("UNKNOWN_CLASS", ("hen: 1",))]


def test_an_xml_with_entities_is_never_expanded(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY e "ha">]>' + voc(("cat", 1, 1, 5, 5, 0))
    write(tmp_path, {"JPEGImages/a.jpg": PICTURE, "JPEGImages/b.jpg": PICTURE, "Annotations/a.xml": bomb,
                     "Annotations/b.xml": "<annotation><object>"})  # fmt: skip
    problems = [sample.problem for sample in read(tmp_path, format="voc")["train"].samples]
    assert "declares entities" in problems[0]
    assert "damaged" in problems[1]


YOLO = {
    "data.yaml": "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n",
    "images/train/a.png": PICTURE,
    "images/train/b.png": PICTURE,
    "images/val/c.png": PICTURE,
    "labels/train/a.txt": "0 0.5 0.5 0.2 0.4\n1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n",
    "labels/val/c.txt": "1 0.5 0.5 1 1\n",
}


@pytest.mark.parametrize("tar", [False, True])
def test_yolo_rows_and_polygons(tmp_path: Path, tar: bool) -> None:
    parts = read(packed(tmp_path / "yolo.tar", YOLO) if tar else write(tmp_path, YOLO))
    assert parts["train"].names == ("cat", "dog")
    found = boxes(parts["train"])
    assert found["images/train/b.png"] == []  # no label file: shows nothing
    assert found["images/train/a.png"] == [
        [pytest.approx(0.3), pytest.approx(0.4), pytest.approx(0.7), pytest.approx(0.6), "cat", 0],
        [0.2, 0.1, 0.6, 0.5, "dog", 0],
    ]
    assert boxes(parts["validation"]) == {"images/val/c.png": [[0.0, 0.0, 1.0, 1.0, "dog", 0]]}


def test_yolo_by_folders_with_a_list_of_classes(tmp_path: Path) -> None:
    files = {"train/images/a.png": PICTURE, "train/labels/a.txt": "1 0.5 0.5 1 1", "classes.txt": "cat\ndog\n",
             "valid/images/a.png": PICTURE, "valid/labels/a.txt": "2 0.5 0.5 1 1"}  # fmt: skip
    parts = read(write(tmp_path, files))
    assert boxes(parts["train"]) == {"train/images/a.png": [[0.0, 0.0, 1.0, 1.0, "dog", 0]]}
    (sample,) = parts["validation"].samples
    assert "row 1 of its label file is not a known class" in sample.problem


def test_several_formats_are_told_and_chosen(tmp_path: Path) -> None:
    write(tmp_path, COCO | {"train2017/b.txt": "0 0.5 0.5 1 1"})
    assert [note.code for note in read(tmp_path)["train"].notes] == ["SEVERAL_FORMATS"]
    assert boxes(read(tmp_path, format="yolo")["train"])["train2017/b.png"] == [[0.0, 0.0, 1.0, 1.0, "0", 0]]
    with pytest.raises(DataError, match="Did you mean yolo"):
        read(tmp_path, format="yollo")


def test_splits_may_be_named_one_by_one(tmp_path: Path) -> None:
    write(tmp_path, COCO)
    source = DataSource(
        str(tmp_path / "annotations/instances_train2017.json"),
        test=str(tmp_path / "annotations/instances_val2017.json"),
    )
    assert [part.split for part in read_boxes(source)] == ["train", "test"]


def test_a_source_without_boxes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"cats/a.png": PICTURE})
    with pytest.raises(DataError, match="no boxes in a format that is read"):
        read(tmp_path)
    with pytest.raises(DataError, match="leads out of the archive"):
        read(packed(tmp_path / "evil.tar", {"../a.png": PICTURE}))


SETS = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not (SETS / "bccd_voc").is_dir(), reason="the data set bccd_voc is not beside this repository")
@pytest.mark.parametrize("format", ["voc", "coco"])
def test_blood_cells(format: str) -> None:
    parts = read(SETS / "bccd_voc" / "bccd.tar", format=format)
    found = {split: boxes(part) for split, part in parts.items()}
    assert {split: len(pictures) for split, pictures in found.items()} == {"train": 205, "validation": 87, "test": 72}
    total = sum(len(rows) for pictures in found.values() for rows in pictures.values())
    assert total == (4888 if format == "voc" else 4886)
