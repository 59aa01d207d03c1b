"""Given graphs that are not sound, or not made for what they are asked: each is told in one sentence with its place."""

import numpy as np
import onnx
import pytest
from given_graphs import SIDE, STATISTICS, coloured, fitted, network, node, write_classifier, write_model
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.models.parts.graph_health import check_weights
from sartor.errors import Refused, Unsupported

torch = pytest.importorskip("torch")

LABELS = ("red", "green", "blue")
NAMES = '["red", "green", "blue"]'
CLASSIFY, CLASSIFIER = registry.get("tasks", "image-classification"), registry.get("models", "onnx-classifier")


def write_normalised(path, mean, variance, *, more=(), arrays=None, kind=TensorProto.FLOAT, shape=("n", 3, SIDE, SIDE)):
    """Colours 0..1, normalised by a mean and a variance, to their means; ``more`` leads from ``means`` to ``told``."""
    nodes = [
        node("Clip", ["data", "low", "high"], "seen"),
        helper.make_node("BatchNormalization", ["seen", "gain", "bias", "mean", "variance"], ["level"], name="settle"),
        node("GlobalAveragePool", ["level"], "pooled"),
        node("Flatten", ["pooled"], "means"),
        *(more or [node("Identity", ["means"], "told")]),
        node("MatMul", ["told", "weights"], "logits"),
    ]
    ones = np.ones(3, np.float32)
    constants = {"low": np.float32(0), "high": np.float32(1), "gain": ones, "bias": 0 * ones, "mean": mean * ones,
                 "variance": variance * ones, "weights": 9 * np.eye(3, dtype=np.float32), **(arrays or {})}  # fmt: skip
    return write_model(path, nodes, list(shape), [("logits", TensorProto.FLOAT, [shape[0], 3])], constants, names=NAMES,
                       kind=kind)  # fmt: skip


def fit(given):
    pictures, truths = coloured(24)
    return fitted(CLASSIFY, CLASSIFIER, given, pictures, torch.from_numpy(truths)), pictures, truths


def remarks(given):
    wrapped, pictures, truths = fit(given)
    inputs = CLASSIFY.normalise(torch.from_numpy(pictures), STATISTICS)
    with torch.no_grad():
        return CLASSIFIER.remarks(wrapped.module, lambda: iter([(inputs, torch.from_numpy(truths))]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    weights = np.eye(3, dtype=np.float32)
    weights[1, 2] = value
    path = write_normalised(tmp_path / "mine.onnx", 0.3, 0.05, arrays={"weights": weights})
    with pytest.raises(
        Refused, match=r"mine\.onnx: initializer 'weights' holds 1 values of 9 that are NaN or infinite"
    ):
        network(CLASSIFIER, path, LABELS)


def test_an_infinity_that_masks_is_meant():
    mask = numpy_helper.from_array(np.array([0, -np.inf], np.float32), "mask")
    graph = helper.make_graph([node("Add", ["x", "mask"], "y")], "masked", [], [], [mask])
    check_weights(helper.make_model(graph), "mine.onnx")
    mask.raw_data = np.array([0, np.nan], np.float32).tobytes()
    graph.initializer[0].CopyFrom(mask)
    with pytest.raises(Refused, match="initializer 'mask'"):
        check_weights(helper.make_model(graph), "mine.onnx")


def test_a_node_that_answers_no_number_to_a_picture_is_named(tmp_path):
    more = [
        node("Sub", ["means", "far"], "below"),
        helper.make_node("Log", ["below"], ["logarithm"], name="take_log"),
        node("Identity", ["logarithm"], "told"),
    ]
    path = write_normalised(tmp_path / "mine.onnx", 0.3, 0.05, more=more, arrays={"far": np.float32(1e6)})
    with pytest.raises(Unsupported, match=r"picture 0 of 24 of train: node 'take_log' \(Log\) gives NaN"):
        fit(network(CLASSIFIER, path, LABELS))


def test_layers_trained_on_such_pictures_have_no_remark(tmp_path):
    pictures, _ = coloured(200, seed=3)
    levels = pictures / 255
    path = write_normalised(tmp_path / "mine.onnx", np.float32(levels.mean()), np.float32(levels.var()))
    assert remarks(network(CLASSIFIER, path, LABELS)) == []


@pytest.mark.parametrize(("mean", "variance"), [(0.9, 0.02), (0.3, 2.0), (0.3, 1e-4)])
def test_layers_trained_on_other_pictures_are_told(tmp_path, mean, variance):
    path = write_normalised(tmp_path / "mine.onnx", mean, variance)
    (sentence,) = remarks(network(CLASSIFIER, path, LABELS))
    assert "layer 'settle' sees other values than it was trained on: half its channels" in sentence
    assert "of another kind, or were normalised otherwise" in sentence


def test_naming_labels_no_better_than_chance_is_told(tmp_path):
    blind = write_normalised(tmp_path / "mine.onnx", 0.3, 0.05, arrays={"weights": np.zeros((3, 3), np.float32)})
    assert any("no better than chance" in one for one in remarks(network(CLASSIFIER, blind, LABELS)))
    seeing = write_classifier(tmp_path / "seeing.onnx")
    assert remarks(network(CLASSIFIER, seeing, LABELS)) == []


def test_a_batch_fixed_at_more_than_one_is_refused_and_open_sides_are_not(tmp_path):
    path = write_normalised(tmp_path / "four.onnx", 0.3, 0.05, shape=(4, 3, SIDE, SIDE))
    with pytest.raises(Refused, match="takes 4 pictures at a time; export it with an open batch or a batch of 1"):
        network(CLASSIFIER, path, LABELS)
    path = write_normalised(tmp_path / "open.onnx", 0.3, 0.05, shape=("n", 3, "h", "w"))
    given = network(CLASSIFIER, path, LABELS)
    assert given.input_size == (SIDE, SIDE)
    wrapped, pictures, truths = fit(given)
    with torch.no_grad():
        assert (wrapped(torch.from_numpy(pictures)).argmax(1).numpy() == truths).all()


def test_an_operator_that_the_runtime_lacks_is_named_with_its_node(tmp_path):
    more = [
        node("Cast", ["means"], "wide", to=TensorProto.BFLOAT16),
        helper.make_node("Erf", ["wide"], ["bent"], name="bend"),
        node("Cast", ["bent"], "told", to=TensorProto.FLOAT),
    ]
    path = write_normalised(tmp_path / "mine.onnx", 0.3, 0.05, more=more)
    onnx.checker.check_model(str(path))
    with pytest.raises(Unsupported, match=r"node '.*bend' \(Erf of opset \d+\) is not implemented for its types"):
        fit(network(CLASSIFIER, path, LABELS))
