"""Which task data is for: seen from its form, for every task and for what is meant by nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sartor.cli._task_of_data import task_of
from sartor.cli.data import app
from sartor.errors import SartorError
from sartor.media.image import to_png

SENTENCE = "the room was clean and the people were kind number"
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 5, 5]}
OUTLINE = {**BOX, "segmentation": [[2, 2, 7, 2, 7, 7]]}


def picture() -> bytes:
    return to_png(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


def mask() -> bytes:
    return to_png((np.arange(256).reshape(16, 16) > 99).astype(np.uint8))


def coco(annotation: dict[str, object]) -> dict[str, bytes | str]:
    images = [{"id": 1, "file_name": "1.png", "width": 16, "height": 16}]
    text = json.dumps({"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]})
    return {"images/1.png": picture(), "annotations/instances_train.json": text}


def table(header: str, row: str, count: int = 60) -> dict[str, bytes | str]:
    return {"t.csv": "\n".join([header, *(row.format(n=n, few=n % 3) for n in range(count))]) + "\n"}


FORMS = {
    "image-classification": {"cat/1.png": picture(), "dog/2.png": picture()},
    "object-detection": coco(BOX),
    "image-segmentation": {"images/1.png": picture(), "masks/1.png": mask(), "classes.txt": "no\nyes\n"},
    "recommendation": table("userId,itemId,rating,timestamp", "{few},{n},4,{n}00"),
    "text-classification": table("text,label", f"{SENTENCE} {{n}},{{few}}"),
    "text-classification of folders": {"good/1.txt": SENTENCE, "bad/1.txt": SENTENCE},
    "text-classification in Chinese": table("review,label", "房间很干净服务也非常好下次还会再来住{n},{few}"),
    "text-classification of unusual columns": table("what they said,verdict", f"{SENTENCE} {{n}},{{few}}"),
    "tabular-classification": table("age,city,kind", "{n}.5,Bonn,{few}"),
    "tabular-classification of names": table("age,city,kind", "{n}.5,Bonn,k{few}"),
    "tabular-regression": table("age,city,price", "{n}.5,Bonn,{n}.25"),
    "tabular-regression of whole numbers": table("age,city,count", "{n}.5,Bonn,{n}"),
}


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root / "t.csv" if "t.csv" in files else root


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_shows_its_task(tmp_path: Path, form: str) -> None:
    assert task_of(str(write(tmp_path, FORMS[form]))) == form.split()[0]


def test_where_several_would_do_just_these_are_named(tmp_path: Path) -> None:
    with pytest.raises(SartorError, match="which: image-segmentation, object-detection$"):
        task_of(str(write(tmp_path, coco(OUTLINE))))


def test_what_nothing_reads_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SartorError, match="nothing that a task reads as it is; .*image-classification.*text-class"):
        task_of(str(write(tmp_path, {"a.docx": "x", "b.docx": "y"})))
    with pytest.raises(SartorError, match="hub:owner/name may serve several tasks"):
        task_of("hub:owner/name")


def test_the_kinds_of_columns_are_shown_without_naming_the_task(tmp_path: Path) -> None:
    path = write(tmp_path, table("age,city,price", "{n}.5,Bonn,{n}.25"))
    shown = CliRunner().invoke(app, [str(path)], catch_exceptions=False).stdout
    assert shown == CliRunner().invoke(app, ["inspect", str(path)], catch_exceptions=False).stdout
    for said in ("numbers, tabular-regression", "age                      number", "left out: one value", "'price'"):
        assert said in shown
