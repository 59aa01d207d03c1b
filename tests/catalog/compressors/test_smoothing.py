"""Channels made alike: the same answers in float, less noise in 8 bits, and nothing touched that must not be."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor.catalog.compressors.parts.qdq import prepare
from sartor.catalog.compressors.parts.smoothing import largest_activations, places_of, smoothed

CHANNELS, LOUD = 8, 5
DICE = np.random.default_rng(3)


def constant(name, *shape, scale=1.0):
    return numpy_helper.from_array((scale * DICE.normal(size=shape)).astype(np.float32), name)


def model_of(nodes, constants, shape, output):
    """A graph (1, …) → (1, …) of nodes given as (operator, inputs, output, attributes)."""
    made = [helper.make_node(kind, taken, [given], name=given, **more) for kind, taken, given, more in nodes]
    graph = helper.make_graph(
        made,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def answers(model, samples, *more):
    asked = onnx.ModelProto.FromString(model.SerializeToString())
    asked.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more)
    session = onnxruntime.InferenceSession(asked.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": samples[:1]})


def encoder():
    """A norm with a loud channel, two products of it, an activation that no scale passes, and a product of that."""
    gain = np.ones(CHANNELS, np.float32)
    gain[LOUD] = 60.0
    constants = [
        numpy_helper.from_array(gain, "gain"), constant("offset", CHANNELS), constant("a", CHANNELS, CHANNELS),
        constant("b", CHANNELS, CHANNELS), constant("bias", CHANNELS), constant("c", CHANNELS, 3),
        numpy_helper.from_array(np.array([4, CHANNELS]), "rows"),
        numpy_helper.from_array(np.array([1, 4, CHANNELS]), "back"),
    ]  # fmt: skip
    nodes = [
        ("LayerNormalization", ["input", "gain", "offset"], "norm", {"axis": 2}),
        ("Reshape", ["norm", "rows"], "first", {}),
        ("Gemm", ["first", "a"], "folded", {}),
        ("Reshape", ["folded", "back"], "left", {}),
        ("MatMul", ["norm", "b"], "product", {}),
        ("Add", ["product", "bias"], "right", {}),
        ("Tanh", ["right"], "bent", {}),
        ("Mul", ["left", "bent"], "both", {}),
        ("Reshape", ["both", "rows"], "flat", {}),
        ("Gemm", ["flat", "c"], "output", {}),
    ]
    samples = DICE.normal(size=(16, 4, CHANNELS)).astype(np.float32)
    return model_of(nodes, constants, (1, 4, CHANNELS), "output"), samples


def network():
    """Convolutions, plain, in groups and one channel each, through ReLU and pools, with a Gemm that is turned."""
    weights = constant("w1", CHANNELS, 3, 3, 3)
    loud = numpy_helper.to_array(weights).copy()
    loud[LOUD] *= 60
    weights.CopyFrom(numpy_helper.from_array(loud, "w1"))
    constants = [
        weights, constant("b1", CHANNELS), constant("w2", CHANNELS, 1, 3, 3), constant("b2", CHANNELS),
        constant("w3", 6, CHANNELS // 2, 1, 1), constant("each", 6, 1, 1), constant("w4", 5, 24), constant("b4", 5),
        constant("w5", 5, 2), numpy_helper.from_array(np.array([1, 24]), "flat"),
    ]  # fmt: skip
    nodes = [
        ("Conv", ["input", "w1", "b1"], "first", {}),
        ("Relu", ["first"], "positive", {}),
        ("MaxPool", ["positive"], "pooled", {"kernel_shape": [2, 2]}),
        ("Conv", ["pooled", "w2", "b2"], "apart", {"group": CHANNELS, "pads": [1, 1, 1, 1]}),
        ("LeakyRelu", ["apart"], "leaky", {}),
        ("Conv", ["leaky", "w3"], "grouped", {"group": 2}),
        ("Add", ["grouped", "each"], "added", {}),
        ("Relu", ["added"], "kept", {}),
        ("MaxPool", ["kept"], "small", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Reshape", ["small", "flat"], "row", {}),
        ("Gemm", ["row", "w4", "b4"], "hidden", {"transB": 1}),
        ("Relu", ["hidden"], "last", {}),
        ("MatMul", ["last", "w5"], "output", {}),
    ]
    samples = DICE.normal(size=(16, 3, 7, 7)).astype(np.float32)
    return model_of(nodes, constants, (1, 3, 7, 7), "output"), samples


@pytest.mark.parametrize("make", [encoder, network])
@pytest.mark.parametrize("multiply", [False, True])
def test_in_float_the_answers_stay_and_what_is_scaled_becomes_alike(make, multiply):
    model, samples = make()
    places = places_of(model)
    largest = largest_activations(model, places, samples)
    made = smoothed(model, places, largest, 0.8, multiply=multiply)
    onnx.checker.check_model(made, full_check=True)
    [before], [after] = answers(model, samples), answers(made, samples)
    np.testing.assert_allclose(after, before, rtol=2e-4, atol=1e-4 * np.abs(before).max())
    for place, loud in zip(places, largest, strict=True):
        if place.makers:
            now = largest_activations(made, [place], samples)[0]
            assert now.max() / now.min() < loud.max() / loud.min()


def test_an_encoder_is_scaled_in_its_norm_and_by_a_multiplication_where_nothing_else_can():
    model, _ = encoder()
    found = {place.tensor: place for place in places_of(model)}
    assert found["norm"].takers == ("first", "product")
    assert found["norm"].products == ("folded", "product")
    assert found["norm"].makers == (("norm", (1, 2)),)
    assert found["both"].makers == ()
    places, samples = places_of(model), encoder()[1]
    largest = largest_activations(model, places, samples)
    kinds = [
        [node.op_type for node in smoothed(model, places, largest, 0.5, multiply=multiply).graph.node].count("Mul")
        for multiply in (False, True)
    ]
    assert kinds == [1, 2]


def test_a_network_of_convolutions_is_scaled_in_their_weights_and_not_past_a_reshape():
    model, _ = network()
    found = {place.tensor: place for place in places_of(model)}
    assert found["pooled"].makers == (("first", (1, 2)),)
    assert found["leaky"].makers == (("apart", (1, 2)),)
    assert found["last"].makers == (("hidden", (1, 2)),)
    assert "row" not in found  # it would be made float only to be multiplied
    assert found["input"].makers == ()


def test_what_something_else_takes_too_is_not_scaled_in_its_maker():
    model, _ = encoder()
    model.graph.node.append(helper.make_node("Tanh", ["norm"], ["seen"], name="seen"))
    model.graph.output.append(helper.make_tensor_value_info("seen", TensorProto.FLOAT, None))
    assert {place.tensor: place.makers for place in places_of(model)}["norm"] == ()


def test_one_number_for_all_channels_is_left_to_the_operator_that_it_may_be_a_part_of():
    model, _ = encoder()
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    next(node for node in model.graph.node if node.name == "both").input[1] = "half"
    assert {place.tensor: place.makers for place in places_of(model)}["both"] == ()


def test_a_constant_that_two_norms_share_is_divided_for_one_of_them():
    model, samples = encoder()
    bent = next(node for node in model.graph.node if node.name == "bent")
    bent.op_type = "LayerNormalization"
    bent.input.extend(["gain", "offset"])
    model = onnx.shape_inference.infer_shapes(model)
    places = places_of(model)
    made = smoothed(model, places, largest_activations(model, places, samples), 0.5, multiply=False)
    np.testing.assert_allclose(answers(made, samples)[0], answers(model, samples)[0], rtol=1e-3, atol=1e-3)
    names = {tensor.name for tensor in made.graph.initializer}
    assert {"gain", "gain_of_norm"} <= names


def test_a_graph_that_was_optimised_can_be_fused_further(tmp_path):
    """ONNX Runtime would name the shapes of further products as it named those of the first, and fail to load."""
    constants = [constant("w", CHANNELS, CHANNELS), constant("bias", CHANNELS)]
    nodes = [("MatMul", ["input", "w"], "product", {}), ("Add", ["product", "bias"], "output", {})]
    onnx.save(model_of(nodes, constants, (1, 4, CHANNELS), "output"), tmp_path / "source.onnx")
    model = prepare(tmp_path / "source.onnx", tmp_path / "prepared.onnx")
    names = [tensor.name for tensor in model.graph.initializer]
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Gemm", "Reshape"]
    assert any(name.startswith("prepared_gemm") for name in names)
    assert not any(name.startswith("gemm") for name in names)
    samples = DICE.normal(size=(1, 4, CHANNELS)).astype(np.float32)
    np.testing.assert_allclose(
        answers(model, samples)[0], answers(onnx.load(tmp_path / "source.onnx"), samples)[0], atol=1e-5
    )
