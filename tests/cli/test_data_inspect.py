import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sartor.cli.data import app, card_lines
from sartor.errors import DataError, SartorError
from sartor.media.image import to_png
from sartor.types import DataCard, DataProblem, SplitCard


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(45):
        place = tmp_path / "d" / ("cat" if index % 3 else "dog") / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(to_png(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)))
    (tmp_path / "d" / "cat" / "bad.png").write_text("oops")
    return tmp_path / "d"


def run(*arguments):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)], catch_exceptions=False)


def test_in_words(folder):
    text = run(folder).stdout
    assert "45 samples, 2 classes, image-classification" in text
    assert "20 × 30 (h × w)" in text
    assert "cat/bad.png: it is a text file" in text
    cat, dog = (next(line for line in text.splitlines() if line.strip().startswith(name)) for name in ("cat", "dog"))
    assert cat.count("█") == 24
    assert 11 <= dog.count("█") <= 14


def test_as_json(folder):
    card = json.loads(run(folder, "--json").stdout)
    assert card["labels"] == ["cat", "dog"]
    assert {problem["code"] for problem in card["problems"]} == {"BROKEN", "SMALL_CLASS"}


def test_of_a_requirement(folder, tmp_path):
    requirement = tmp_path / "req.yaml"
    requirement.write_text("task: image-classification\ndata: {train: d}\n")
    assert "45 samples" in run(requirement, "--workspace", tmp_path / "w").stdout
    assert list((tmp_path / "w" / "data").glob("*/current.json"))


def test_bad_data_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path / "nothing")


def test_many_classes_and_many_problems_are_cut():
    classes = {f"class {index:03}": index + 1 for index in range(200)}
    card = DataCard(
        "image-classification",
        "f" * 64,
        tuple(classes),
        {"train": SplitCard(9, classes, "x")},
        (DataProblem("BROKEN", "train", 12, "12 of 20 samples cannot be decoded", ("a", "b")),),
    )
    lines = card_lines(card)
    assert len(lines) < 60
    assert any("170 more classes" in line for line in lines)
    assert any("… 10 more" in line for line in lines)


def test_what_it_is_for_is_asked_where_it_cannot_be_seen(folder):
    with pytest.raises(SartorError, match="say with --task which: .*image-classification"):
        run("hub:owner/name")
    (folder / "dog" / "notes.txt").write_text("x")
    assert run(folder, "--json").exit_code == 0


def test_a_card_without_labels():
    facts = {
        "truth_range": {"smallest": 0.5, "median": 2.0, "largest": 1234567.0},
        "tokens": {"smallest": [3], "median": [20], "largest": [400]},
        "languages": {"en": 12, "de": 3},
        "columns": {"rooms": "number", "street": "category of 7"},
        "weights": {"a": 0.5},
        "split": {"train": "given"},
    }
    text = "\n".join(
        card_lines(DataCard("image-classification", "f" * 64, (), {"train": SplitCard(9, {}, "x")}, (), facts))
    )
    assert "9 samples, numbers, image-classification" in text
    assert "  answer      smallest 0.5, median 2, largest 1,234,567" in text
    assert "  tokens      smallest 3, median 20, largest 400" in text
    assert "12 en, 3 de" in text
    assert "    street                   category of 7" in text
    assert "Classes" not in text
    assert "weights" not in text
