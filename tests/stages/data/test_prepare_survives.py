"""Kills, two at once, full disks, moved data, and sets larger than memory."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sartor import codec
from sartor.errors import DataError, StorageError
from sartor.prepared import open_data
from sartor.stages.data import preparing

CHILD = """
import resource, sys
from pathlib import Path
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob
from sartor.stages.data import prepare, stamp
from sartor.types import DataSource
source = DataSource(sys.argv[1])
job = PrepareJob(source, "image-classification", 0, stamp(source))
if len(sys.argv) > 3:
    import numpy.random, PIL.Image, pyarrow.parquet, sartor.media.mirror, sartor.catalog.tasks.image_classification
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
card = prepare(job, Workspace(Path(sys.argv[2]))).card
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(card.fingerprint, (after - before) // 1024 if len(sys.argv) > 3 else 0)
"""


def child(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options
    )


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_kill_9_at_any_moment_then_again(tmp_path, fill):
    folder = fill(tmp_path / "d", cat=150, dog=150)
    began = time.monotonic()
    whole = child(folder, tmp_path / "clean")
    fingerprint = whole.communicate()[0].split()[0]
    seconds = time.monotonic() - began
    for share in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97):
        process = child(folder, tmp_path / "killed")
        time.sleep(share * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again = child(folder, tmp_path / "killed")
    assert again.communicate()[0].split()[0] == fingerprint
    clean, killed = (
        [name for name in contents(tmp_path / name) if not name.startswith("data/.prepare")]
        for name in ("clean", "killed")
    )
    assert clean == killed
    assert all((tmp_path / "clean" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes() for name in clean)


@pytest.mark.slow
def test_two_at_once(tmp_path, fill):
    folder = fill(tmp_path / "d", cat=100, dog=100)
    both = [child(folder, tmp_path / "w") for _ in range(2)]
    answers = {process.communicate()[0] for process in both}
    assert len(answers) == 1
    assert all(process.returncode == 0 for process in both)


def test_interrupted_before_it_is_current(tmp_path, fill, prepared, workspace, monkeypatch):
    folder = fill(tmp_path / "d", cat=10, dog=10)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparing, "write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            prepared(folder)
    assert not list(workspace.root.glob("data/*/current.json"))
    assert not list(workspace.root.glob("scratch/*"))
    assert open_data(prepared(folder).fingerprint, workspace).split("train")


def test_moved_data_has_the_same_fingerprint_and_is_found_again(tmp_path, fill, prepared, workspace):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    first = prepared(folder)
    expected = open_data(first.fingerprint, workspace).split("test").prepared((8, 8)).copy()
    shutil.move(folder, tmp_path / "elsewhere")
    with pytest.raises(DataError, match="cannot be read any more"):
        open_data(first.fingerprint, workspace).split("test").raw(0)
    second = prepared(tmp_path / "elsewhere")
    assert second.fingerprint == first.fingerprint
    again = open_data(second.fingerprint, workspace).split("test")
    assert again.raw(0)
    assert (again.prepared((8, 8)) == expected).all()


def test_other_content_other_fingerprint(tmp_path, fill, prepared, picture):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    first = prepared(folder).fingerprint
    (folder / "cat" / "003.png").write_bytes(picture(4242))
    assert prepared(folder).fingerprint != first
    (folder / "cat").rename(folder / "kitten")
    assert prepared(folder).fingerprint != first


def test_full_disk_is_one_sentence(tmp_path, fill, prepared, monkeypatch):
    folder = fill(tmp_path / "d", cat=10, dog=10)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left on the disk"):
        prepared(folder)


def test_card_survives_json(tmp_path, fill, prepared):
    card = prepared(fill(tmp_path / "d", cat=10, dog=10))
    assert codec.from_plain(type(card), codec.to_plain(card)) == card


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_memory_stays_far_below_the_decoded_set(tmp_path, kind):
    """300 MB of pixels (400 pictures of 500 × 500) are prepared in well under half of that."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    from sartor.media.image import to_png

    generator = np.random.default_rng(0)
    raws = []
    for _ in range(400):
        coarse = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        raws.append(to_png(np.kron(coarse, np.ones((25, 25, 1), np.uint8))))
    if kind == "folder":
        for index, raw in enumerate(raws):
            place = tmp_path / "d" / "ab"[index % 2] / f"{index}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(raw)
        source = tmp_path / "d"
    else:
        table = pyarrow.table({"image": raws, "label": [index % 2 for index in range(400)]})
        parquet.write_table(table, tmp_path / "d.parquet")
        source = tmp_path / "d.parquet"
    del raws
    process = child(source, tmp_path / "w", "measure")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert int(out.split()[1]) < 120, out
