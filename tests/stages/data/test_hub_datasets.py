import sys
import types

import pytest

from sartor.errors import DataError, MissingExtra
from sartor.prepared import open_data

pytestmark = pytest.mark.slow  # importing datasets takes seconds
datasets = pytest.importorskip("datasets")


@pytest.fixture
def table(picture):
    def make(start, count):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
        rows = {
            "image": [{"bytes": picture(start + i), "path": None} for i in range(count)],
            "label": [i % 2 for i in range(count)],
        }
        return datasets.Dataset.from_dict(rows, features=features)

    return make


def test_saved_to_disk(tmp_path, table, prepared, workspace, picture):
    both = datasets.DatasetDict({"train": table(0, 30), "test": table(100, 10)})
    both.save_to_disk(str(tmp_path / "saved"))
    card = prepared(tmp_path / "saved")
    assert card.labels == ("no", "yes")
    assert {name: split.samples for name, split in card.splits.items()} == {"train": 24, "validation": 6, "test": 10}
    test = open_data(card.fingerprint, workspace).split("test")
    assert test.raw(3) == picture(103)
    assert test.place(3) == "saved row 4"


def test_saved_single_table(tmp_path, table, prepared):
    table(0, 30).save_to_disk(str(tmp_path / "one"))
    assert sum(split.samples for split in prepared(tmp_path / "one").splits.values()) == 30


def test_damaged_folder(tmp_path, prepared):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        prepared(tmp_path / "d")


def test_hub_id(monkeypatch, table, prepared):
    asked = []

    def load_dataset(path, **options):
        asked.append((path, options))
        return datasets.DatasetDict({"train": table(0, 30), "validation": table(50, 6), "extra": table(90, 10)})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    card = prepared("hub:owner/name", revision="abc", config="small")
    assert asked == [("owner/name", {"revision": "abc", "name": "small"})]
    assert card.splits["validation"].samples == 6
    card = prepared("hub:owner/name:train", test="hub:owner/name:extra")
    assert card.splits["test"].samples == 10
    with pytest.raises(DataError, match="no split 'nope'; it has train, validation, extra"):
        prepared("hub:owner/name:nope")


def test_hub_that_cannot_be_reached(monkeypatch, prepared):
    def load_dataset(path, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match="hub:owner/name cannot be loaded .ConnectionError: no route to host"):
        prepared("hub:owner/name")


def test_without_the_library(monkeypatch, prepared):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r'pip install "sartor\[hub\]"'):
        prepared("hub:owner/name")
    assert isinstance(datasets, types.ModuleType)
