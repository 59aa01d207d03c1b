import json
import multiprocessing
import threading

import numpy as np
import pytest

from sartor import prepared as module
from sartor.errors import DataError, StorageError
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob
from sartor.media.image import resize, to_png
from sartor.prepared import in_order, open_data
from sartor.stages.data import prepare, stamp
from sartor.types import DataSource

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (60, 10, 12, 3), dtype=np.uint8)


@pytest.fixture
def fingerprint(tmp_path, workspace, pictures):
    for index, pixels in enumerate(pictures):
        place = tmp_path / "d" / "ab"[index % 2] / f"{index:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(to_png(pixels))
    source = DataSource(str(tmp_path / "d"))
    return prepare(PrepareJob(source, "image-classification", 0, stamp(source)), workspace).card.fingerprint


def test_samples_truths_and_places_belong_together(fingerprint, workspace, pictures):
    data = open_data(fingerprint, workspace)
    seen = set()
    for name, split in data.card.splits.items():
        samples = data.split(name)
        assert len(samples) == split.samples == len(samples.truths)
        assert samples.truths.dtype == np.int64
        for index in range(len(samples)):
            number = int(samples.place(index)[2:4])
            assert samples.raw(index) == to_png(pictures[number])
            assert samples.truths[index] == number % 2
            seen.add(number)
    assert seen == set(range(60))


def test_prepared_is_decoded_once_and_mapped(fingerprint, workspace, pictures, monkeypatch):
    samples = open_data(fingerprint, workspace).split("train")
    array = samples.prepared((6, 5))
    assert isinstance(array, np.memmap)
    assert array.dtype == np.uint8
    for index in range(len(samples)):
        assert (array[index] == resize(pictures[int(samples.place(index)[2:4])], (6, 5))).all()
    monkeypatch.setattr(module.SampleSet, "_fill", None)
    assert (open_data(fingerprint, workspace).split("train").prepared((6, 5)) == array).all()
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0, 0] = 1


def test_a_failed_fill_leaves_nothing(fingerprint, workspace, monkeypatch):
    data = open_data(fingerprint, workspace)
    with monkeypatch.context() as patch:
        patch.setattr(module.SampleSet, "raw", lambda *_: b"gone bad")
        with pytest.raises(DataError, match=r"\.png: it is a text file"):
            data.split("train").prepared((4, 4))
    cache = workspace.data_folder(fingerprint) / "cache"
    assert {path.name for path in cache.iterdir() if "train" in path.name and not path.name.endswith(".lock")} == set()
    assert len(data.split("train").prepared((4, 4))) == len(data.split("train"))


def _ask(root, fingerprint, barrier, queue):
    barrier.wait()
    array = open_data(fingerprint, Workspace(root)).split("train").prepared((7, 7))
    queue.put(int(array.astype(np.int64).sum()))


@pytest.mark.slow
def test_two_processes_ask_at_once(fingerprint, workspace):
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_ask, args=(workspace.root, fingerprint, barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(sums) == 1


def test_two_threads_ask_at_once(fingerprint, workspace, monkeypatch):
    fills = []
    original = module.SampleSet._fill
    monkeypatch.setattr(module.SampleSet, "_fill", lambda self, *a: (fills.append(1), original(self, *a)))
    samples = open_data(fingerprint, workspace).split("train")
    threads = [threading.Thread(target=samples.prepared, args=((5, 5),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fills) == 1


def test_statistics_and_calibration(fingerprint, workspace, pictures):
    data = open_data(fingerprint, workspace)
    train = [int(data.split("train").place(i)[2:4]) for i in range(len(data.split("train")))]
    assert data.statistics((10, 12))["mean"] == pytest.approx(pictures[train].reshape(-1, 3).mean(0))
    assert data.statistics((10, 12)) == open_data(fingerprint, workspace).statistics((10, 12))
    drawn = data.calibration((10, 12), 7, seed=3)
    assert drawn.shape == (7, 10, 12, 3)
    assert all(any((sample == pictures[i]).all() for i in train) for sample in drawn)
    assert (drawn == data.calibration((10, 12), 7, seed=3)).all()
    assert not (drawn == data.calibration((10, 12), 7, seed=4)).all()
    assert len(data.calibration((10, 12), 10_000, seed=0)) == len(train)


def test_changed_and_missing_files_are_told(tmp_path, fingerprint, workspace):
    train = open_data(fingerprint, workspace).split("train")
    path = tmp_path / "d" / train.place(0)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match="was changed since"):
        train.raw(0)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        train.raw(0)


def test_what_is_not_there(fingerprint, workspace):
    with pytest.raises(DataError, match="not prepared in"):
        open_data("0" * 64, workspace)
    with pytest.raises(DataError, match="no split 'tset'; the data has test, train, validation"):
        open_data(fingerprint, workspace).split("tset")
    current = workspace.data_folder(fingerprint) / "current.json"
    current.write_text("{")
    with pytest.raises(StorageError, match="is damaged"):
        open_data(fingerprint, workspace)
    current.write_text(json.dumps({"index": "index-none"}))
    with pytest.raises(DataError, match="not prepared"):
        open_data(fingerprint, workspace)


def test_in_order_keeps_order_and_never_runs_far_ahead():
    started = []

    def make(item):
        started.append(item)
        return item * 2

    stream = in_order(make, iter(range(1000)), ahead=8)
    assert [next(stream) for _ in range(3)] == [0, 2, 4]
    stream.close()
    assert len(started) <= 12
    assert list(in_order(make, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, [1, 0, 1]))
