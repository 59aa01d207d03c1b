"""The stage as a run does it: in a worker, once, and what comes of it stands for the model that was named."""

import pytest
from test_formats import scattered

from sartor.errors import Refused
from sartor.evidence import Workspace
from sartor.execute import Executor
from sartor.run import Place, Silence, _model, survey
from sartor.stages.candidates import candidates
from sartor.stages.translate import job_of
from sartor.testing import models
from sartor.types import Budget, DataSource, Device, Requirement, Target

DEVICE = Device("here", "here", 2, 8_000_000_000, ("avx2",), {}, 1e10, {"onnxruntime": "1"})


def asked(path):
    return Requirement("r", "image-classification", DataSource("x"), Target(), (), (), 0.95, Budget(60, "quick"),
                       model=str(path))  # fmt: skip


@pytest.fixture
def place(tmp_path):
    return Place(Workspace(tmp_path / "workspace"), tmp_path / "run", "run")


@pytest.fixture
def executor(place):
    evidence = place.workspace.evidence()
    with Executor(place.workspace, evidence, place.id) as running:
        yield running
    evidence.close()


def test_a_model_is_translated_once_and_found_again(tmp_path, place, executor):
    path = scattered(tmp_path)
    made, seconds = _model(job_of(str(path)), place, executor, Silence())
    assert made.name == "mine.onnx"
    assert made.is_relative_to(place.workspace.root)
    assert seconds > 0
    made.unlink()
    assert executor.find("translate", job_of(str(path))) is not None
    again, _ = _model(job_of(str(path)), place, executor, Silence())
    assert again.is_file(), "what somebody has removed is put back from what the workspace keeps"
    assert _model(None, place, executor, Silence()) == (None, 0.0)


def test_what_is_refused_in_the_worker_is_refused_here(tmp_path, place, executor):
    path = scattered(tmp_path, write=False)
    with pytest.raises(Refused, match="which is missing"):
        _model(job_of(str(path)), place, executor, Silence())
    assert executor.find("translate", job_of(str(path))) is None, "a file that is put there later is looked for again"


def test_the_translated_file_stands_for_the_model_that_was_named(tmp_path):
    """The named file is one that no family takes; what is told is of the file in its place."""
    path = scattered(tmp_path, location="mine.data", name="mine.onnx")
    requirement, card = asked(tmp_path / "absent.pt2"), models.card(size=(32, 32))
    with pytest.raises(Refused, match=r"mine\.onnx.*keeps its data in another file"):
        candidates(requirement, card, DEVICE, path)


def test_a_pickle_is_refused_before_the_data_is_read(tmp_path, place, executor):
    (tmp_path / "mine.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Refused, match="is or may be a pickle"):
        survey(asked(tmp_path / "mine.pth"), place, executor, Silence(), 0.0)
