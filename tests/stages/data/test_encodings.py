"""What preparing learns from train, targets of structures, and stand-ins."""

import numpy as np
import pytest
from plain_tasks import PlainTask

from sartor.prepared import open_data, write_stand_in


@pytest.fixture
def numbers(use, prepare_rows):
    """A task of numbers, and the fingerprint of texts 1 to 40 that are their own answers."""
    task = use(PlainTask("number", "random"))
    card = prepare_rows(task, train=[{"text": str(i), "label": i} for i in range(1, 41)])
    return task, card.fingerprint


def test_an_encoding_learns_once_from_train(numbers, workspace):
    task, fingerprint = numbers
    data = open_data(fingerprint, workspace)
    largest = max(data.split("train").truths)
    assert float(data.learnt((2,), "shift")) == largest
    for name in ("train", "test"):
        samples = data.split(name)
        assert (samples.prepared((2,), "shift")[:, 0] == samples.truths - largest).all()
        assert (samples.prepared((2,))[:, 1] == samples.truths).all()
        assert samples.prepare_one(0, (2,), "shift")[0] == samples.truths[0] - largest
    assert open_data(fingerprint, workspace).recalled((2,), "shift") == largest
    assert sorted(task.learnt) == ["", "shift"]
    task.version = 2
    open_data(fingerprint, workspace).learnt((2,), "shift")
    assert task.learnt.count("shift") == 2


def test_encodings_keep_apart_whatever_they_are_called(numbers, workspace):
    task, fingerprint = numbers
    data = open_data(fingerprint, workspace)
    odd = ["shift/../../x", "shift " + "long" * 200, "shift\0"]
    for encoding in ["", "shift", *odd]:
        data.statistics((2,), encoding)
        data.split("test").prepared((2,), encoding)
    assert sorted(task.learnt) == sorted(["", "shift", *odd])
    cache = workspace.data_folder(fingerprint) / "cache"
    assert len(list(cache.glob("learnt-*.bin"))) == len(list(cache.glob("statistics-*.json"))) == 5


def test_statistics_and_calibration_by_encoding(numbers, workspace):
    _, fingerprint = numbers
    data = open_data(fingerprint, workspace)
    truths = data.split("train").truths
    assert data.statistics((2,))["mean"] == pytest.approx([truths.mean()])
    assert data.statistics((2,), "shift")["mean"] == pytest.approx([truths.mean() - truths.max()])
    assert data.statistics((2,))["truths"] == (len(truths),)
    assert (data.calibration((2,), 5, 0, "shift") == data.calibration((2,), 5, 0) - truths.max()).all()


def test_targets_of_structures_are_made_once(use, prepare_rows, workspace, monkeypatch):
    task = use(PlainTask("structure", "random"))
    rows = [{"text": str(i), "truth": ["a"] * (i % 3) + ["b"]} for i in range(1, 31)]
    data = open_data(prepare_rows(task, train=rows).fingerprint, workspace)
    train = data.split("train")
    targets = train.targets((2,))
    assert isinstance(targets, np.memmap)
    assert targets.tolist() == [[int(train.raw(i)) % 3, 1] for i in range(len(train))]
    monkeypatch.setattr(PlainTask, "target", None)
    assert (data.split("train").targets((2,)) == targets).all()


@pytest.mark.parametrize(("truth", "expected"), [("class", 0), ("number", 0.0), ("structure", b"")])
def test_a_stand_in_of_raw_inputs_alone(use, workspace, truth, expected):
    task = use(PlainTask(truth, "random"))
    raws = [b"7", b"12", b"12"]
    fingerprint = write_stand_in(task.name, raws, ("a", "b"), workspace)
    data = open_data(fingerprint, workspace)
    assert data.card.labels == ("a", "b")
    for name in ("train", "validation", "test"):
        samples = data.split(name)
        assert [samples.raw(i) for i in range(len(samples))] == raws
        assert list(samples.truths) == [expected] * 3
        assert samples.place(2) == "stand-in 3"
    assert data.calibration((1,), 3, 0)[:, 0].tolist() == [7, 12, 12]
    assert data.calibration((1,), 3, 0, "shift", b"5")[:, 0].tolist() == [2, 7, 7]
    assert not task.learnt.count("shift")  # nothing is learnt from made-up data where a model brings what it knows
    assert write_stand_in(task.name, raws, ("a", "b"), workspace) == fingerprint
    assert write_stand_in(task.name, raws[:2], ("a", "b"), workspace) != fingerprint
    assert not list((workspace.root / "scratch").glob("*"))
