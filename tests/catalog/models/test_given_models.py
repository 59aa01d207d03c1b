"""Models of a user's own as ONNX files: made-up ones that truly see, read as their files say, shipped as one graph."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from given_graphs import (
    SIDE,
    STATISTICS,
    answers,
    coloured,
    fitted,
    network,
    node,
    shipped,
    write_classifier,
    write_model,
)
from onnx import TensorProto, helper

from sartor import registry
from sartor.catalog.models.parts.graph_names import names_of, places_of
from sartor.errors import Refused, Unsupported
from sartor.stages.candidates import candidates
from sartor.testing import models
from sartor.types import Budget, DataSource, Device, Requirement, SearchSpace, Target

torch = pytest.importorskip("torch")

# --------------------------------------------------------------------------------------------------- classifiers

CLASSIFY = registry.get("tasks", "image-classification")
CLASSIFIER, FEATURES = registry.get("models", "onnx-classifier"), registry.get("models", "onnx-features")


@pytest.mark.parametrize(("softmax", "opset"), [(True, 11), (False, 21)])
def test_a_given_classifier_is_asked_as_it_wants_and_answers_in_labels(tmp_path, softmax, opset):
    path = write_classifier(tmp_path / "mine.onnx", softmax=softmax, opset=opset)
    given = network(CLASSIFIER, path, ("Red", "green", "blue"))
    assert given.options["places"] == [2, 1, 0], "labels are matched by name"
    pictures, truths = coloured(12)
    wrapped = fitted(CLASSIFY, CLASSIFIER, given, pictures, torch.from_numpy(truths))
    found = answers(wrapped, pictures)
    assert found.argmax(1).tolist() == truths.tolist()
    assert found.sum(1) == pytest.approx(1)
    own = onnxruntime.InferenceSession(path).run(None, {"data": pictures.transpose(0, 3, 1, 2) / np.float32(255)})[0]
    own = own if softmax else np.exp(own) / np.exp(own).sum(1, keepdims=True)
    assert found == pytest.approx(own[:, [2, 1, 0]], abs=1e-4), "the file's own answers"
    assert shipped(CLASSIFIER, wrapped, pictures[:3], tmp_path / "shipped.onnx") == pytest.approx(found[:3], abs=1e-5)


@pytest.mark.parametrize(("last", "whole"), [(False, False), (True, False), (False, True)])
def test_a_classifier_of_grey_pictures_is_asked_with_grey(tmp_path, last, whole):
    shape = ["n", SIDE, SIDE, 1] if last else ["n", 1, SIDE, SIDE]
    nodes = [
        node("Cast", ["data"], "floats", to=TensorProto.FLOAT),
        node("Mul", ["floats", "unit"], "shares"),
        node("Clip", ["shares", "low", "high"], "seen"),
        node("ReduceMean", ["seen"], "mean", axes=[1, 2, 3], keepdims=0),
        node("Unsqueeze", ["mean", "axis"], "column"),
        node("Sub", ["column", "levels"], "off"),
        node("Mul", ["off", "off"], "squares"),
        node("Mul", ["squares", "steep"], "logits"),
    ]
    arrays = {
        "unit": np.float32(1 / 255 if whole else 1), "low": np.float32(0), "high": np.float32(1), "axis": np.array([1]),
        "levels": np.array([0.2, 0.5, 0.8], np.float32), "steep": np.float32(-99),
    }  # fmt: skip
    kind, outputs = TensorProto.UINT8 if whole else TensorProto.FLOAT, [("logits", TensorProto.FLOAT, ["n", 3])]
    names = '["dark", "grey", "light"]'
    path = write_model(tmp_path / "grey.onnx", nodes, shape, outputs, arrays, names=names, kind=kind)
    given = network(CLASSIFIER, path, ("dark", "grey", "light"))
    truths = np.arange(12) % 3
    levels = 51 + 77 * truths[:, None, None, None] + np.random.default_rng(0).integers(-20, 20, (12, SIDE, SIDE, 3))
    pictures = levels.clip(0, 255).astype(np.uint8)
    wrapped = fitted(CLASSIFY, CLASSIFIER, given, pictures, torch.from_numpy(truths))
    found = answers(wrapped, pictures)
    assert found.argmax(1).tolist() == truths.tolist()
    own = shipped(CLASSIFIER, wrapped, pictures[:3], tmp_path / "shipped.onnx")
    assert own == pytest.approx(found[:3], abs=1e-3 if whole else 1e-5)


def test_an_untrained_file_is_measured_too(tmp_path):
    """Before anything is fitted the same graph is exported for its cost: both sides must agree then as well."""
    given = network(CLASSIFIER, write_classifier(tmp_path / "mine.onnx"), ("red", "green", "blue"))
    pictures, _ = coloured(2)
    wrapped = CLASSIFY.wrap(CLASSIFIER.build(given).eval(), STATISTICS).eval()
    found = answers(wrapped, pictures)
    assert shipped(CLASSIFIER, wrapped, pictures, tmp_path / "shipped.onnx") == pytest.approx(found, abs=1e-5)


def test_what_does_not_know_the_labels_is_no_answer(tmp_path):
    path = write_classifier(tmp_path / "mine.onnx")
    with pytest.raises(Unsupported, match="does not know the label 'cyan'"):
        network(CLASSIFIER, path, ("red", "cyan"))
    nameless = write_classifier(tmp_path / "nameless.onnx", names=None)
    with pytest.raises(Unsupported, match="put its names, one a line, into nameless.names"):
        network(CLASSIFIER, nameless, ("red", "green"))
    (tmp_path / "nameless.names").write_text("blue\ngreen\nred\n")
    assert network(CLASSIFIER, nameless, ("red", "green")).options["places"] == [2, 1]
    with pytest.raises(Unsupported, match="runs a file"):
        network(CLASSIFIER, tmp_path, ("red", "green"))


def test_outputs_in_another_order_than_the_labels_are_noticed(tmp_path):
    given = network(CLASSIFIER, write_classifier(tmp_path / "mine.onnx", names=None), ("red", "green", "blue"))
    pictures, truths = coloured(30)
    with pytest.raises(Unsupported, match="would name 100% with its outputs in another order"):
        fitted(CLASSIFY, CLASSIFIER, given, pictures, torch.from_numpy((truths + 1) % 3))


def test_features_of_a_network_of_other_classes_serve_a_new_head(tmp_path):
    given = network(FEATURES, write_classifier(tmp_path / "backbone.onnx"), ("warm", "cold"))
    assert given.options["features"] == "features", "what the last product reads, not the classes it makes of it"
    pictures, truths = coloured(60)
    wrapped = fitted(CLASSIFY, FEATURES, given, pictures, torch.from_numpy(truths == 2).long())
    fresh, others = coloured(30, seed=1)
    found = answers(wrapped, fresh)
    assert (found.argmax(1) == (others == 2)).all()
    assert shipped(FEATURES, wrapped, fresh[:3], tmp_path / "shipped.onnx") == pytest.approx(found[:3], abs=1e-5)


# ----------------------------------------------------------------------------------------------------- detectors

DETECT, DETECTOR = registry.get("tasks", "object-detection"), registry.get("models", "onnx-detector")
LABELS = ("blue", "red")  # the network knows green too, and counts them in another order
NUMBER = {"red": 0, "green": 1, "blue": 2}


def write_detector(path, layout, *, names='["red", "green", "blue"]', whole=False):
    """Finds the one square that is bright in one colour, and tells which: pixels 0..1, or uint8."""
    edges = []
    nodes = [
        node("Cast", ["data"], "floats", to=TensorProto.FLOAT),
        node("Div" if whole else "Identity", ["floats", "white"][: 1 + whole], "pixels"),
        node("Clip", ["pixels", "low", "high"], "seen"),
        node("ReduceMax", ["seen"], "flat", axes=[1], keepdims=1),
        node("ReduceMax", ["seen"], "peaks", axes=[2, 3], keepdims=0),  # (1, 3)
        node("Sub", ["peaks", "half"], "above"),
        node("Relu", ["above"], "scores_all"),
    ]
    for side, axis in (("x", 2), ("y", 3)):  # (1, 1, SIDE): the brightest of every column, of every row
        nodes += [
            node("ReduceMax", ["flat"], f"line_{side}", axes=[axis], keepdims=0),
            node("Greater", [f"line_{side}", "bright"], f"lit_{side}"),
            node("Cast", [f"lit_{side}"], f"on_{side}", to=TensorProto.FLOAT),
        ]
        for which, last in (("1", 0), ("2", 1)):
            nodes += [
                node("ArgMax", [f"on_{side}"], f"at_{side}{which}", axis=2, keepdims=1, select_last_index=last),
                node("Cast", [f"at_{side}{which}"], f"{side}{which}", to=TensorProto.FLOAT),
            ]
            edges.append(f"{side}{which}")
    nodes += [
        node("Add", ["x2", "one"], "right"),
        node("Add", ["y2", "one"], "bottom"),
        node("ArgMax", ["peaks"], "number", axis=1, keepdims=1),  # (1, 1)
        node("ReduceMax", ["scores_all"], "score", axes=[1], keepdims=1),  # (1, 1)
    ]
    F, I = TensorProto.FLOAT, TensorProto.INT64  # noqa: E741
    if layout == "rows":
        nodes += [
            node("Cast", ["number"], "number_float", to=F),
            node("Unsqueeze", ["number_float", "axis"], "c3"),
            node("Unsqueeze", ["score", "axis"], "s3"),
            node("Concat", ["x1", "y1", "right", "bottom", "s3", "c3"], "found", axis=2),
        ]
        outputs = [("found", F, [1, 1, 6])]
    elif layout == "lists":  # rows first, in shares, classes from 1, without an axis for the batch
        nodes += [
            node("Concat", ["y1", "x1", "bottom", "right"], "pixels_of", axis=2),
            node("Div", ["pixels_of", "side"], "shares"),
            node("Squeeze", ["shares", "first"], "boxes"),
            node("Squeeze", ["score", "first"], "scores"),
            node("Add", ["number", "one_whole"], "number_1"),
            node("Squeeze", ["number_1", "first"], "labels"),
        ]
        outputs = [("boxes", F, ["k", 4]), ("labels", I, ["k"]), ("scores", F, ["k"])]
    else:  # middle and size in pixels, then scores of all classes; columns in the second axis
        nodes += [
            node("Sub", ["right", "x1"], "w"),
            node("Sub", ["bottom", "y1"], "h"),
            node("Add", ["right", "x1"], "cx2"),
            node("Add", ["bottom", "y1"], "cy2"),
            node("Mul", ["cx2", "half"], "cx"),
            node("Mul", ["cy2", "half"], "cy"),
            node("Unsqueeze", ["scores_all", "axis_1"], "per_class"),
            node("Concat", ["cx", "cy", "w", "h", "per_class"], "found_row", axis=2),
            node("Transpose", ["found_row"], "found_column", perm=[0, 2, 1]),
            node("Concat", ["found_column"] * 40, "found", axis=2),  # many candidates for one object
        ]
        outputs = [("found", F, [1, 7, 40])]
    constants = {
        "low": np.float32(0), "high": np.float32(1), "bright": np.float32(0.7), "half": np.float32(0.5),
        "one": np.float32(1), "one_whole": np.int64(1), "side": np.float32(SIDE), "white": np.float32(255),
        "axis": np.array([2]), "axis_1": np.array([1]), "first": np.array([0]),
    }  # fmt: skip
    used = {name for one in nodes for name in one.input}
    arrays = {name: array for name, array in constants.items() if name in used}
    shape = [1, 3, SIDE, SIDE]
    return write_model(path, nodes, shape, outputs, arrays, names=names,
                       kind=TensorProto.UINT8 if whole else TensorProto.FLOAT)  # fmt: skip


def squares(count, seed=0):
    """Dark pictures with one bright square each, and rows of class, top, left, bottom, right."""
    generator = np.random.default_rng(seed)
    pictures = generator.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.uint8)
    targets = np.full((count, 4, 5), -1.0, np.float32)
    for number in range(count):
        label = int(generator.integers(0, 2))
        top, left = generator.integers(1, 16, 2)
        bottom, right = top + generator.integers(6, 15), left + generator.integers(6, 15)
        pictures[number, top:bottom, left:right, 0 if LABELS[label] == "red" else 2] = 250
        targets[number, 0] = (label, top / SIDE, left / SIDE, bottom / SIDE, right / SIDE)
    return pictures, torch.from_numpy(targets)


@pytest.mark.parametrize("layout", ["rows", "lists", "raw"])
def test_a_given_detector_is_read_whatever_its_layout(tmp_path, layout):
    given = network(DETECTOR, write_detector(tmp_path / "mine.onnx", layout), LABELS)
    assert given.options["places"] == [2, 0]
    pictures, targets = squares(10)
    wrapped = fitted(DETECT, DETECTOR, given, pictures, targets)
    found = answers(wrapped, pictures)
    assert found.shape == (10, 100, 6)
    assert found[:, 0, :4] == pytest.approx(targets[:, 0, 1:].numpy(), abs=1e-5)
    assert found[:, 0, 5].tolist() == targets[:, 0, 0].tolist()
    assert (found[:, 0, 4] > 0.4).all()
    assert (found[:, 1:, 4] < 0.1).all(), "one object, one box"
    assert shipped(DETECTOR, wrapped, pictures[:3], tmp_path / "shipped.onnx") == pytest.approx(found[:3], abs=1e-5)


def test_a_given_detector_of_whole_pixels(tmp_path):
    given = network(DETECTOR, write_detector(tmp_path / "mine.onnx", "rows", whole=True), LABELS)
    pictures, targets = squares(6)
    wrapped = fitted(DETECT, DETECTOR, given, pictures, targets)
    found = answers(wrapped, pictures)
    assert found[:, 0, :4] == pytest.approx(targets[:, 0, 1:].numpy(), abs=1e-5)
    assert shipped(DETECTOR, wrapped, pictures[:2], tmp_path / "shipped.onnx") == pytest.approx(found[:2], abs=1e-5)


def test_what_is_no_detector_for_the_labels_is_refused(tmp_path):
    with pytest.raises(Refused, match="gives class numbers and no names for them"):
        network(DETECTOR, write_detector(tmp_path / "nameless.onnx", "rows", names=None), LABELS)
    with pytest.raises(Refused, match="knows none of the labels cat, dog"):
        network(DETECTOR, write_detector(tmp_path / "mine.onnx", "rows"), ("cat", "dog"))
    with pytest.raises(Refused, match="no detection with 3 classes that is known"):
        network(DETECTOR, write_classifier(tmp_path / "other.onnx"), LABELS)
    blind = network(DETECTOR, write_detector(tmp_path / "blind.onnx", "rows"), LABELS)
    pictures, targets = squares(6)
    with pytest.raises(Unsupported, match="finds next to nothing"):
        fitted(DETECT, DETECTOR, blind, np.zeros_like(pictures), targets)


# ---------------------------------------------------------------------------------------------------- segmenters

SEGMENT, SEGMENTER = registry.get("tasks", "image-segmentation"), registry.get("models", "onnx-segmenter")


def write_segmenter(path, layout):
    """Tells what is bright from what is dark, at half its input's size; channels come last, pixels are -1..1."""
    nodes = [
        node("Transpose", ["data"], "planes", perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("ReduceMean", ["small"], "grey", axes=[1], keepdims=1),
        node("Mul", ["grey", "steep"], "bright"),
        node("Neg", ["bright"], "dark"),
    ]
    half, names = SIDE // 2, '["square", "ground"]'
    if layout == "logits":
        nodes.append(node("Concat", ["bright", "dark"], "map", axis=1))
        output = ("map", TensorProto.FLOAT, ["n", 2, half, half])
    elif layout == "sure":
        nodes += [node("Sigmoid", ["dark"], "shares"), node("Transpose", ["shares"], "map", perm=[0, 2, 3, 1])]
        output, names = ("map", TensorProto.FLOAT, ["n", half, half, 1]), None
    else:
        nodes += [
            node("Concat", ["bright", "dark"], "both", axis=1),
            node("ArgMax", ["both"], "map", axis=1, keepdims=0),
        ]
        output = ("map", TensorProto.INT64, ["n", half, half])
    return write_model(path, nodes, ["n", SIDE, SIDE, 3], [output], {"steep": np.float32(9)}, names=names)


@pytest.mark.parametrize("layout", ["logits", "sure", "numbers"])
def test_a_given_segmenter_is_read_whatever_its_layout(tmp_path, layout):
    labels = ("ground", "square")
    given = network(SEGMENTER, write_segmenter(tmp_path / "mine.onnx", layout), labels)
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 100, (8, SIDE, SIDE, 3)).astype(np.uint8)
    masks = np.zeros((8, SIDE, SIDE), np.uint8)
    for number in range(8):
        top, left = 2 * generator.integers(0, 8, 2)
        pictures[number, top : top + 16, left : left + 16] = 230
        masks[number, top : top + 16, left : left + 16] = 1
    wrapped = fitted(SEGMENT, SEGMENTER, given, pictures, torch.from_numpy(masks))
    found = answers(wrapped, pictures)
    assert (found[:, 0] == masks[:, ::2, ::2]).all()
    assert (shipped(SEGMENTER, wrapped, pictures[:3], tmp_path / "shipped.onnx") == found[:3]).mean() > 0.999


def test_what_is_no_segmenter_for_the_labels_is_refused(tmp_path):
    with pytest.raises(Refused, match="knows none of the labels"):
        network(SEGMENTER, write_segmenter(tmp_path / "mine.onnx", "logits"), ("road", "sky"))
    with pytest.raises(Refused, match="tells one class from the rest; the data has 3 labels"):
        network(SEGMENTER, write_segmenter(tmp_path / "one.onnx", "sure"), ("road", "sky", "tree"))
    with pytest.raises(Refused, match="a segmenter gives"):
        network(SEGMENTER, write_classifier(tmp_path / "other.onnx"), ("road", "sky"))


# ----------------------------------------------------------------------------------------------- names and search


def test_names_are_read_as_exporters_write_them(tmp_path):
    def named(text):
        model = helper.make_model(helper.make_graph([], "g", [], []))
        helper.set_model_props(model, {"names": text})
        return names_of(model, tmp_path / "absent.onnx")

    for text in ("{0: 'a', 1: 'b'}", '{"1": "b", "0": "a"}', '["a", "b"]', "a\nb\n"):
        assert named(text) == ("a", "b")
    for text in ("", "{0: 'a', 2: 'b'}", "[1, 2]", "{'x': 'a'}", "__import__('os')", "(" * 9999):
        assert named(text) == ()
    assert places_of(["Traffic Light", "dog"], ["traffic_light", "cat"]) == [0, -1]


def test_a_model_that_answers_is_not_searched_beside(tmp_path):
    path = write_classifier(tmp_path / "mine.onnx")
    device = Device("here", "here", 2, 8_000_000_000, ("avx2",), {}, 1e10, {"onnxruntime": "1"})
    card = replace(models.card(size=(SIDE, SIDE)), labels=("red", "green", "blue"))
    asked = Requirement("r", "image-classification", DataSource("x"), Target(), (), (), 0.95, Budget(60, "quick"),
                        model=str(path))  # fmt: skip

    def families(requirement, card):
        return {
            record.candidate.network.model for record in candidates(requirement, card, device) if not record.refusals
        }

    own = families(asked, card)
    assert "onnx-classifier" in own
    assert own - {"onnx-classifier"}, "baselines stay in the race"
    assert all(registry.get("models", name).baseline for name in own - {"onnx-classifier"})
    both = families(replace(asked, search=SearchSpace(models=("onnx-classifier", "resnet9"))), card)
    assert both == {"onnx-classifier", "resnet9"}
    others = families(asked, replace(card, labels=("warm", "cold")))
    assert {"onnx-features", "resnet9"} <= others, "of another classifier only its features serve"
    assert "onnx-classifier" not in others


def test_costs_are_counted_from_the_file(tmp_path):
    cost = CLASSIFIER.cost(network(CLASSIFIER, write_classifier(tmp_path / "mine.onnx"), ("red", "green", "blue")))
    assert (cost.operations, cost.layers) == (2 * (3 * 12 + 12 * 3), 2)
    assert cost.parameters == 3 * 12 + 12 * 3 + 2
