"""Which files are translated, which are run as they are, and which are not opened at all."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor.errors import Refused, SartorError
from sartor.evidence import Workspace
from sartor.stages.translate import formats, job_of, placed, translate


def scattered(folder, *, location="mine.data", name="mine.onnx", write=True):
    """A classifier whose weights lie in a file beside it."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "weights")
    if write:
        (folder / "mine.data").write_bytes(b"\0" * 8 + weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "8"), ("length", "48")):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"], name="product")], "given",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / name).write_bytes(model.SerializeToString())
    return folder / name


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.pkl", "a.pickle", "a.ckpt", "a.bin", "a.joblib", "A.PT"])
def test_pickles_are_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Refused, match=rf"{name} is or may be a pickle.*never opened.*torch\.export\.save"):
        job_of(str(tmp_path / name))


OTHERS = {"a.h5": "save it as .keras", "a.pb": "folder of the SavedModel", "a.safetensors": "without their network",
          "a.gguf": "no model file"}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), OTHERS.items())
def test_other_files_are_told_what_would_be_right(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(Refused, match=words):
        job_of(str(tmp_path / name))


def test_what_is_run_as_it_is_is_not_translated(tmp_path):
    assert job_of("hub:owner/name") is None
    assert job_of(str(tmp_path)) is None, "a checkpoint folder"
    path = scattered(tmp_path)
    model = onnx.load(path)
    onnx.save(model, tmp_path / "whole.onnx")
    assert job_of(str(tmp_path / "whole.onnx")) is None


def test_weights_beside_a_graph_are_put_inside(tmp_path):
    path = scattered(tmp_path)
    job, workspace = job_of(str(path)), Workspace(tmp_path / "workspace")
    made = onnx.load(placed(translate(job, workspace), job, workspace), load_external_data=False)
    assert numpy_helper.to_array(made.graph.initializer[0]).tolist() == np.arange(12.0).reshape(4, 3).tolist()
    (tmp_path / "mine.data").write_bytes(b"\1" * 56)
    assert job_of(str(path)).stamp != job.stamp, "other weights are another model"


@pytest.mark.parametrize(
    "location", ["../mine.data", "/etc/hostname", "a/../../mine.data", "..\\mine.data", "c:mine.data"]
)
def test_weights_outside_the_folder_are_not_read(tmp_path, location):
    (tmp_path / "inner").mkdir()
    (tmp_path / "mine.data").write_bytes(b"\0" * 56)
    path = scattered(tmp_path / "inner", location=location)
    with pytest.raises(Refused, match=r"mine\.onnx: tensor 'weights' keeps its data in .* outside the model's folder"):
        translate(job_of(str(path)), Workspace(tmp_path / "workspace"))


def test_weights_that_are_missing_linked_or_cut_off_are_named(tmp_path):
    path = scattered(tmp_path, write=False)
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(Refused, match=r"tensor 'weights' keeps its data in 'mine\.data', which is missing"):
        translate(job_of(str(path)), workspace)
    (tmp_path / "mine.data").write_bytes(b"\0" * 55)
    with pytest.raises(Refused, match=r"ends at byte 56 of 'mine\.data', which has 55; the file is cut off"):
        translate(job_of(str(path)), workspace)
    (tmp_path / "mine.data").rename(tmp_path / "other")
    (tmp_path / "mine.data").symlink_to(tmp_path / "other")
    with pytest.raises(Refused, match="is a symbolic link"):
        translate(job_of(str(path)), workspace)


def test_formats_of_tensorflow_say_what_converts_them(tmp_path, monkeypatch):
    monkeypatch.delenv(formats.INTERPRETER, raising=False)
    (tmp_path / "mine.tflite").write_bytes(b"x")
    with pytest.raises(SartorError, match="pip install tensorflow-cpu tf2onnx, then set SARTOR_TENSORFLOW"):
        job_of(str(tmp_path / "mine.tflite"))
    monkeypatch.setenv(formats.INTERPRETER, str(tmp_path / "absent"))
    with pytest.raises(SartorError, match="which is no Python that can be run"):
        job_of(str(tmp_path / "mine.tflite"))


def test_an_environment_without_tensorflow_says_so(tmp_path, monkeypatch):
    import sys

    monkeypatch.setenv(formats.INTERPRETER, sys.executable)
    (tmp_path / "mine.tflite").write_bytes(b"x")
    with pytest.raises(SartorError, match="has no tensorflow; run: .* -m pip install tensorflow-cpu tf2onnx"):
        translate(job_of(str(tmp_path / "mine.tflite")), Workspace(tmp_path / "workspace"))


def test_trust_is_in_one_file_by_its_digest(tmp_path, monkeypatch):
    import sys

    monkeypatch.setenv(formats.INTERPRETER, sys.executable)
    (tmp_path / "mine.keras").write_bytes(b"x")
    job = job_of(str(tmp_path / "mine.keras"))
    assert not job.trusted
    for told, trusted in ((job.stamp[:16], True), (job.stamp[:4], False), ("0" * 16, False)):
        monkeypatch.setenv(formats.TRUST, told)
        assert job_of(str(tmp_path / "mine.keras")).trusted == trusted
