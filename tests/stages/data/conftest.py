import json
from pathlib import Path

import numpy as np
import pytest

from sartor import registry
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob
from sartor.media.image import to_png
from sartor.stages.data import prepare, stamp
from sartor.types import DataSource


@pytest.fixture
def picture():
    """Makes the bytes of a PNG: random texture, different for every seed."""

    def make(seed, size=(12, 10)):
        return to_png(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))

    return make


@pytest.fixture
def fill(picture):
    """Writes an image folder: ``fill(root, cat=5, dog=3)``; pictures differ, also between seeds."""

    def write(root: Path, *, seed=0, **classes):
        for number, (name, count) in enumerate(classes.items()):
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                (folder / f"{index:03}.png").write_bytes(picture(seed * 100_000 + number * 1000 + index))
        return root

    return write


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def prepared(workspace):
    """Prepares data and gives its card."""

    def run(train, *, validation="", test="", input="", label="", seed=0, **options):
        source = DataSource(str(train), str(validation or ""), str(test or ""), input, label, options)
        return prepare(PrepareJob(source, "image-classification", seed, stamp(source)), workspace).card

    return run


@pytest.fixture
def problem():
    """The one problem with a code."""

    def find(card, code):
        found = [problem for problem in card.problems if problem.code == code]
        assert len(found) == 1, [problem.code for problem in card.problems]
        return found[0]

    return find


@pytest.fixture
def use(monkeypatch):
    """Puts a task into the catalogue for one test."""
    known = registry.get

    def enter(task):
        monkeypatch.setattr(
            registry, "get", lambda kind, name: task if (kind, name) == ("tasks", task.name) else known(kind, name)
        )
        return task

    return enter


@pytest.fixture
def prepare_rows(tmp_path, workspace):
    """Writes rows as tables, one per split, and prepares them for a task."""

    def run(task, labels=(), seed=0, judged=False, options=None, **splits):
        folder = tmp_path / f"rows-{len(list(tmp_path.glob('rows-*')))}"
        folder.mkdir()
        for split, rows in splits.items():
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        where = folder if "train" in splits else folder / "test.jsonl"
        train, test = ("", str(where)) if judged else (str(folder), "")
        source = DataSource(train, "", test, options=options or {})
        return prepare(PrepareJob(source, task.name, seed, stamp(source), tuple(labels)), workspace).card

    return run
