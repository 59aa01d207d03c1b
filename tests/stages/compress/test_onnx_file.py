"""What may be in a model file that Sartor ships."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor.errors import Unsupported
from sartor.stages.compress.onnx_file import strip, write_onnx

FLOAT = TensorProto.FLOAT


def model():
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"], name="inner", doc_string='File "/home/me/net.py"')],
        "branch",
        [],
        [helper.make_tensor_value_info("z", FLOAT, [2])],
        doc_string="secret",
    )
    condition = numpy_helper.from_array(np.array(True), "c")
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
        "/home/me/graph",
        [helper.make_tensor_value_info("x", FLOAT, [2])],
        [helper.make_tensor_value_info("y", FLOAT, [2])],
        [condition],
        doc_string="made by me",
        value_info=[helper.make_tensor_value_info("between", FLOAT, [2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="x")
    for part in (made, made.graph, made.graph.node[0], made.graph.input[0]):
        part.metadata_props.add(key="stack_trace", value="/home/me/net.py")
    return made


def test_traces_and_shapes_are_removed_at_every_depth(tmp_path):
    write_onnx(model(), tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    for trace in (b"/home/me", b"secret", b"stack_trace", b"between", b"made by me"):
        assert trace not in content
    assert onnx.load(tmp_path / "model").producer_name == "sartor"


def test_stripping_keeps_the_answers(tmp_path):
    import onnxruntime

    write_onnx(model(), tmp_path / "model")
    session = onnxruntime.InferenceSession(str(tmp_path / "model"))
    (answer,) = session.run(None, {"x": np.array([-1, 2], np.float32)})
    assert answer.tolist() == [0, 2]


def test_stripping_twice_changes_nothing():
    once = model()
    strip(once)
    before = once.SerializeToString(deterministic=True)
    strip(once)
    assert once.SerializeToString(deterministic=True) == before


def test_weights_elsewhere_are_refused(tmp_path):
    made = model()
    made.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(Unsupported, match="EXTERNAL_DATA"):
        write_onnx(made, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_invalid_graph_is_refused_in_one_line(tmp_path):
    made = model()
    made.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(Unsupported, match="INVALID_GRAPH") as refusal:
        write_onnx(made, tmp_path / "model")
    assert "\n" not in str(refusal.value)


def test_what_one_file_cannot_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sartor.stages.compress.onnx_file.LARGEST_BYTES", 10)
    with pytest.raises(Unsupported, match="TOO_LARGE"):
        write_onnx(model(), tmp_path / "model")
