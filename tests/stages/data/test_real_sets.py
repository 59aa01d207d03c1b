"""Real data beside the repository: every set is only read, and only a part of the large ones."""

import tarfile
from pathlib import Path

import pytest

from sartor.prepared import open_data

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
pytestmark = [pytest.mark.shared, pytest.mark.slow]


def needs(name):
    place = SHARED / name
    if not place.exists():
        pytest.skip(f"{place} is absent")
    return place


def test_cifar10_part(tmp_path, prepared, workspace):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = needs("cifar10")
    for split, count in (("train", 3000), ("test", 600)):
        table = parquet.read_table(folder / f"{split}.parquet").slice(0, count)
        assert isinstance(table, pyarrow.Table)
        parquet.write_table(table, tmp_path / f"{split}.parquet")
    card = prepared(tmp_path)
    assert card.labels[:3] == ("airplane", "automobile", "bird")
    assert card.splits["test"].samples == 600
    assert card.splits["train"].samples + card.splits["validation"].samples == 3000
    assert abs(card.splits["validation"].samples - 600) <= 10  # rounded per class
    assert card.facts["sizes"]["median"] == [32, 32]
    assert card.facts["mirror"]["suits"]
    assert not {problem.code for problem in card.problems} & {"BROKEN", "EMPTY", "LEAK", "UNLABELLED"}
    data = open_data(card.fingerprint, workspace)
    assert data.split("test").prepared((32, 32)).shape == (600, 32, 32, 3)
    assert 100 < data.statistics((32, 32))["mean"][0] < 150


def test_faces(tmp_path, prepared):
    card = prepared(needs("orl_faces") / "orl_faces.npz", label="subject")
    assert len(card.labels) == 40
    assert card.facts["sizes"]["median"] == [112, 92]
    assert sum(split.samples for split in card.splits.values()) == 400


def test_photographs_as_two_classes(tmp_path, prepared):
    """640 × 480 microscope pictures, sorted into two folders by nothing meaningful: reading is what is tested."""
    with tarfile.open(needs("bccd_voc") / "bccd.tar") as archive:
        members = [member for member in archive.getmembers() if member.name.lower().endswith(".jpg")][:80]
        for index, member in enumerate(members):
            place = tmp_path / "d" / ("even", "odd")[index % 2] / Path(member.name).name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.extractfile(member).read())
    card = prepared(tmp_path / "d")
    assert card.facts["sizes"]["median"] == [480, 640]
    assert sum(split.samples for split in card.splits.values()) == 80
    assert not {problem.code for problem in card.problems} & {"BROKEN", "EMPTY"}
