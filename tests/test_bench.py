"""Files from elsewhere, taken in and measured."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sartor.adopt import NORMALISATIONS, adopt, parse_size
from sartor.bench import BenchRow, Conditions, bench
from sartor.errors import Refused, SartorError
from sartor.testing.tiny_package import LABELS, build_tiny_package, picture, write_colour_model


def outputs(path: Path, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


@pytest.mark.parametrize("normalise", sorted(NORMALISATIONS))
def test_a_float_file_gets_what_it_lacks(tmp_path, normalise):
    source = write_colour_model(tmp_path / "float.onnx", float_input=True)
    adopted = adopt(source, tmp_path / "adopted.onnx", normalise=normalise)
    assert (adopted.input_size, adopted.batch, adopted.outputs, adopted.int8) == ((8, 8), 1, 3, False)
    assert len(adopted.assumptions) == 2
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    mean, std = (np.array(values, np.float32) for values in NORMALISATIONS[normalise])
    normal = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    expected = softmax(outputs(source, normal)[0])
    np.testing.assert_allclose(outputs(tmp_path / "adopted.onnx", pixels)[0], expected, atol=1e-5)


def test_our_own_file_is_left_as_it_is(tmp_path):
    source = write_colour_model(tmp_path / "ours.onnx")
    adopted = adopt(source, tmp_path / "adopted.onnx")
    assert adopted.assumptions == ()
    pixels = np.full((1, 8, 8, 3), 90, np.uint8)
    np.testing.assert_array_equal(outputs(source, pixels), outputs(tmp_path / "adopted.onnx", pixels))


def classifier(path, kind=TensorProto.FLOAT, shape=("n", 3, "h", "w"), output=("n", 5), inputs=1):
    names = [f"x{number}" for number in range(inputs)]
    nodes = [
        helper.make_node("GlobalAveragePool", [names[0]], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1),
    ]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [output[-1], 3], np.ones(output[-1] * 3))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [weights],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    return path


def test_open_sizes_are_fixed_or_asked_for(tmp_path):
    source = classifier(tmp_path / "open.onnx")
    with pytest.raises(SartorError, match="--size 224x224"):
        adopt(source, tmp_path / "a.onnx")
    adopted = adopt(source, tmp_path / "a.onnx", size=(20, 30))
    assert (adopted.input_size, adopted.batch, adopted.outputs) == ((20, 30), 1, 5)
    assert outputs(tmp_path / "a.onnx", np.zeros((1, 20, 30, 3), np.uint8)).shape == (1, 5)
    fixed = adopt(classifier(tmp_path / "b.onnx", shape=(4, 3, 16, 16)), tmp_path / "c.onnx")
    assert (fixed.input_size, fixed.batch) == ((16, 16), 4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"shape": (1, 1, 28, 28)}, "image classifier only"),
        ({"shape": (1, 128)}, "image classifier only"),
        ({"kind": TensorProto.INT64, "shape": (1, 3, 8, 8)}, "int64"),
        ({"inputs": 2, "shape": (1, 3, 8, 8)}, "must have one input"),
        ({"output": (1,), "shape": (1, 3, 8, 8)}, "image classifier gives"),
    ],
)
def test_what_is_no_image_classifier_gets_a_sentence(tmp_path, options, word):
    if options.get("output") == (1,):
        options = {**options, "output": (1, 1)}
    source = classifier(tmp_path / "other.onnx", **options)
    with pytest.raises(SartorError, match=word) as caught:
        adopt(source, tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)


def test_an_unsafe_file_is_refused(tmp_path):
    source = classifier(tmp_path / "bad.onnx", shape=(1, 3, 8, 8))
    model = onnx.load(source)
    model.graph.node[0].domain = "evil"
    source.write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match="evil"):
        bench(source)
    with pytest.raises(SartorError, match="does not exist"):
        bench(tmp_path / "no.onnx")


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("20x30", (20, 30)), ("20×30", (20, 30))])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1x2x3", "1.5", "99999", "٣"])
def test_no_sizes(text):
    with pytest.raises(SartorError, match="224x224"):
        parse_size(text)


def test_a_row_finds_its_measurements():
    assert BenchRow("r", "fp32").value("latency_p50_ms") is None


@pytest.mark.slow
def test_a_package_and_a_bare_file_are_measured_and_scored(tmp_path):
    build_tiny_package(tmp_path)
    for label in LABELS:
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            (tmp_path / "data" / label / f"{number}.png").write_bytes(picture(label, 8 + number, 80 + 9 * number))
    data = str(tmp_path / "data")
    conditions = Conditions(data=data, runtimes=("onnxruntime",), seconds=0.3)
    result = bench(tmp_path / "package", conditions)
    row = result.rows[0]
    assert (row.runtime, row.precision) == ("onnxruntime", "fp32")
    assert row.value("accuracy").value == 1.0
    assert row.value("latency_p50_ms").value > 0
    assert row.value("size_mb").value < 0.01
    refused = [row for row in result.rows if row.precision == "int8"]
    assert all("NOTHING_TO_QUANTISE" in row.refusal for row in refused)

    source = write_colour_model(tmp_path / "float.onnx", float_input=True)
    conditions = Conditions(data, ("onnxruntime",), seconds=0.3, normalise="unit", labels=LABELS)
    result = bench(source, conditions)
    assert result.rows[0].value("accuracy").value == 1.0
    assert any("logits" in sentence for sentence in result.assumptions)
    with pytest.raises(SartorError, match="--labels names 2"):
        bench(source, Conditions(labels=("a", "b")))
