"""Static int8: which nodes are quantised, what options do, what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.compressors.int8_static import Settings, quantisable, read_settings
from sartor.catalog.compressors.parts.qdq import Reader
from sartor.errors import Unsupported
from sartor.testing.compressors import calibration
from sartor.testing.runtimes import device, example_input, write_example_onnx

FLOAT = TensorProto.FLOAT


def graph_of(*nodes):
    return helper.make_graph(
        [helper.make_node(kind, inputs, [output], name=output) for kind, inputs, output in nodes],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info(nodes[-1][2], FLOAT, None)],
    )


NET = graph_of(
    ("Sub", ["x", "mean"], "centred"),
    ("Transpose", ["centred"], "turned"),
    ("Conv", ["turned", "w1"], "one"),
    ("Gelu", ["one"], "bent"),
    ("Conv", ["bent", "w2"], "two"),
    ("Add", ["two", "bent"], "sum"),
    ("MaxPool", ["sum"], "pooled"),
    ("Gemm", ["pooled", "w3"], "logits"),
    ("Reshape", ["logits", "shape"], "flat"),
    ("Softmax", ["flat"], "output"),
)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(), ["one", "two", "sum", "pooled", "logits"]),
        (Settings(float_first=True), ["two", "sum", "pooled", "logits"]),
        (Settings(float_last=True), ["one", "two"]),
        (Settings(float_first=True, float_last=True), ["two"]),
    ],
)
def test_only_what_lies_between_weighted_nodes_is_quantised(settings, wanted):
    assert quantisable(NET, settings) == wanted


def test_a_graph_without_products_is_declined():
    with pytest.raises(Unsupported, match="NOTHING_TO_QUANTISE"):
        quantisable(graph_of(("Relu", ["x"], "y")), Settings())


def test_a_single_layer_kept_in_float_leaves_nothing():
    with pytest.raises(Unsupported, match="NOTHING_TO_QUANTISE"):
        quantisable(graph_of(("Conv", ["x", "w"], "y")), Settings(float_first=True, float_last=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per_chanel": True}, "Did you mean per_channel"),
        ({"zebra": 1}, "There are: calibration"),
        ({"per_channel": 1}, "true or false"),
        ({"calibration": "entropy"}, "minmax or percentile"),
        ({"activation": "int4"}, "uint8 or int8"),
        ({"percentile": "high"}, "must be a number"),
        ({"percentile": 12}, "between 90 and 100"),
    ],
)
def test_bad_options_are_told(options, words):
    with pytest.raises(Unsupported, match="BAD_OPTION") as refusal:
        read_settings(options)
    assert words in refusal.value.detail


@pytest.mark.parametrize(
    ("sets", "wanted"),
    [
        (("avx2", "avx512f", "avx512_vnni"), {}),
        (("avx2", "avx_vnni"), {}),
        (("avx2", "avx512f"), {"reduce_range": True}),
        (("asimddp", "neon"), {"activation": "int8"}),
        ((), {}),
    ],
)
def test_options_suit_the_device(sets, wanted):
    options = registry.get("compressors", "int8-static").options(device(sets))
    assert options == wanted
    read_settings(options)


def quantise(tmp_path, name="q", samples=None, **options):
    source, target = tmp_path / "source", tmp_path / name
    write_example_onnx(source)
    registry.get("compressors", "int8-static").apply(
        source, target, calibration() if samples is None else samples, options, 0
    )
    return onnx.load(target)


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def scales_of(model, operator):
    """Element types of the zero points around an operator's inputs: activation, weight; and the weight's scales."""
    values = constants(model)
    made = {name: node for node in model.graph.node for name in node.output}
    node = next(node for node in model.graph.node if node.op_type == operator)
    activation, weight = made[node.input[0]], made[node.input[1]]
    return values[activation.input[2]].dtype, values[weight.input[2]].dtype, values[weight.input[1]]


def test_weights_are_int8_per_channel_and_activations_uint8(tmp_path):
    activation, weight, scales = scales_of(quantise(tmp_path), "Conv")
    assert activation == np.uint8
    assert weight == np.int8
    assert scales.shape == (16,)


def test_per_tensor_and_int8_activations(tmp_path):
    activation, weight, scales = scales_of(quantise(tmp_path, per_channel=False, activation="int8"), "Conv")
    assert activation == np.int8
    assert weight == np.int8
    assert scales.size == 1


def test_reduced_range_keeps_weights_within_seven_bits(tmp_path):
    def largest(model):
        values = (value for value in constants(model).values() if value.dtype == np.int8 and value.ndim == 4)
        return max(int(np.abs(value.astype(int)).max()) for value in values)

    assert largest(quantise(tmp_path, "full")) == 127
    assert largest(quantise(tmp_path, "reduced", reduce_range=True)) == 64


def test_input_decoding_and_softmax_stay_float(tmp_path):
    model = quantise(tmp_path)
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("Cast", "Mul", "Softmax"):
            assert all(made[name].op_type != "QuantizeLinear" for name in node.input if name in made)


def test_ranges_come_from_the_calibration_samples(tmp_path):
    dark = quantise(tmp_path, "dark", samples=calibration() // 10)
    bright = quantise(tmp_path, "bright")
    first = next(node for node in bright.graph.node if node.op_type == "QuantizeLinear")
    assert constants(dark)[first.input[1]] < constants(bright)[first.input[1]] / 5


def test_percentile_cuts_outliers(tmp_path):
    samples = calibration() // 10
    samples[0, 0, 0, 0] = 255  # one bright pixel
    first = next(node for node in quantise(tmp_path, "x").graph.node if node.op_type == "QuantizeLinear").input[1]
    whole = constants(quantise(tmp_path, "whole", samples=samples))[first]
    cut = constants(quantise(tmp_path, "cut", samples=samples, calibration="percentile", percentile=99.0))[first]
    assert cut < whole / 5


def test_calibration_prints_nothing(tmp_path, capfd):
    quantise(tmp_path, calibration="percentile")
    assert capfd.readouterr().out == ""


def test_no_samples_is_a_reason(tmp_path):
    with pytest.raises(Unsupported, match="NO_CALIBRATION"):
        quantise(tmp_path, samples=calibration()[:0])


def test_the_child_is_smaller_and_close(tmp_path):
    import onnxruntime

    source, target = tmp_path / "source", tmp_path / "target"
    write_example_onnx(source, width=256)
    registry.get("compressors", "int8-static").apply(source, target, calibration(), {}, 0)
    assert target.stat().st_size < 0.6 * source.stat().st_size
    batch = example_input()
    before, after = (
        onnxruntime.InferenceSession(str(path)).run(None, {"input": batch})[0] for path in (source, target)
    )
    assert 0 < np.abs(before - after).max() < 0.1


@pytest.mark.parametrize(("samples", "batch"), [(7, 2), (1, 3), (32, 4), (40, 1)])
def test_every_sample_is_handed_out_in_full_batches(samples, batch):
    wanted = np.arange(samples, dtype=np.uint8).reshape(samples, 1)
    reader = Reader(helper.make_tensor_value_info("input", TensorProto.UINT8, [batch, 1]), wanted)
    assert len(reader) % reader.stride == 0
    seen = [given["input"] for given in reader]
    assert all(given.shape == (batch, 1) for given in seen)
    assert set(np.concatenate(seen).ravel()) == set(range(samples))


@pytest.mark.parametrize("name", ["", "same"])
def test_what_is_behind_the_last_product_stays_float_whatever_nodes_are_called(tmp_path, name):
    write_example_onnx(tmp_path / "source")
    model = onnx.load(tmp_path / "source")
    (last,) = [node for node in model.graph.node if "output" in node.output]
    last.output[0] = "scores"
    doubled = helper.make_node("Concat", ["scores", "scores"], ["both"], axis=1)
    model.graph.node.extend([doubled, helper.make_node("Slice", ["both", "starts", "ends", "axes"], ["output"])])
    for constant, value in (("starts", 0), ("ends", 4), ("axes", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value]), constant))
    for node in model.graph.node:
        node.name = name
    onnx.save(model, tmp_path / "source")
    registry.get("compressors", "int8-static").apply(tmp_path / "source", tmp_path / "q", calibration(), {}, 0)
    quantised = onnx.load(tmp_path / "q")
    made = {name: node.op_type for node in quantised.graph.node for name in node.output}
    (joined,) = [node for node in quantised.graph.node if node.op_type == "Concat"]
    assert [made[name] for name in joined.input] == ["Softmax", "Softmax"]


def test_sums_stay_float_where_no_product_takes_them_as_they_are():
    """A masked attention: its mask is -10,000, so one scale for the sum would leave nothing of its logits."""
    graph = graph_of(
        ("MatMul", ["x", "w0"], "query"),
        ("MatMul", ["query", "x"], "logits"),
        ("Add", ["logits", "mask"], "masked"),
        ("Softmax", ["masked"], "weights"),
        ("MatMul", ["weights", "query"], "seen"),
        ("Add", ["seen", "bias"], "shifted"),
        ("Reshape", ["shifted", "shape"], "rows"),
        ("MatMul", ["rows", "w1"], "output"),
    )
    assert quantisable(graph, Settings()) == ["query", "logits", "seen", "shifted", "rows", "output"]
