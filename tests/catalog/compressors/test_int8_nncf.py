"""NNCF's int8: what it is asked for, what it gets rid of, and that nothing of it leaves the process."""

import importlib.util
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.compressors.int8_nncf import _import, has_attention
from sartor.catalog.compressors.parts.noise import Judge
from sartor.catalog.compressors.parts.qdq import prepare
from sartor.catalog.compressors.parts.qdq_suiting import drop_clipping, store_activations, store_biases
from sartor.catalog.runtimes.onnxruntime import may_saturate
from sartor.errors import MissingExtra, Unsupported
from sartor.testing.runtimes import device

LENGTH, WIDTH, LOUD = 6, 16, 3
FLOAT = TensorProto.FLOAT
SAMPLES = np.random.default_rng(1).normal(0, 1, (48, LENGTH, WIDTH)).astype(np.float32)
SAMPLES[..., LOUD] *= 60  # one channel takes the whole range of its tensor
MADE = {}  # compressor and options -> bytes

needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason='needs pip install "sartor[nncf]"')


def write_attention(path, *, attention=True):
    """Asking, keys and values of one head, a softmax between, and a product behind; or that product alone."""
    dice = np.random.default_rng(0)
    weights = {
        name: dice.normal(0, 1 / np.sqrt(WIDTH), (WIDTH, WIDTH)).astype(np.float32)
        for name in ("asking", "keys", "values", "out")
    }
    for name in ("asking", "keys", "values"):
        weights[name][LOUD] /= 60
    nodes = [helper.make_node("MatMul", ["input", "out"], ["output"], name="last")]
    if attention:
        nodes = [
            *(helper.make_node("MatMul", ["input", name], [f"{name}_"]) for name in ("asking", "keys", "values")),
            helper.make_node("Transpose", ["keys_"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["asking_", "turned"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
            helper.make_node("MatMul", ["shares", "values_"], ["mixed"]),
            helper.make_node("MatMul", ["mixed", "out"], ["output"], name="last"),
        ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("input", FLOAT, [1, LENGTH, WIDTH])],
        [helper.make_tensor_value_info("output", FLOAT, [1, LENGTH, WIDTH])],
        [numpy_helper.from_array(values, name) for name, values in weights.items() if attention or name == "out"],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def made(tmp_path, compressor="int8-nncf", samples=SAMPLES, attention=True, **options):
    """The file that a compressor makes; of the usual samples it is made once for all tests."""
    source, target = tmp_path / "source", tmp_path / compressor
    write_attention(source, attention=attention)
    key = (compressor, attention, *sorted(options.items()))
    if samples is SAMPLES and key in MADE:
        target.write_bytes(MADE[key])
        return target
    registry.get("compressors", compressor).apply(source, target, samples, options, 0)
    if samples is SAMPLES:
        MADE[key] = target.read_bytes()
    return target


@pytest.mark.parametrize(
    ("sets", "wanted"),
    [(("avx2", "avx_vnni"), {}), (("avx2", "avx512f"), {"reduce_range": True}), (("neon",), {"activation": "int8"})],
)
def test_options_suit_the_device(sets, wanted):
    assert registry.get("compressors", "int8-nncf").options(device(sets)) == wanted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce_rang": True}, "Did you mean reduce_range"),
        ({"activation": "int4"}, "uint8 or int8"),
        ({"tolerance": 0}, "above 0"),
    ],
)
def test_bad_options_are_told(tmp_path, options, words):
    with pytest.raises(Unsupported, match="BAD_OPTION") as refusal:
        made(tmp_path, **options)
    assert words in refusal.value.detail


def test_nothing_is_done_without_samples_or_products(tmp_path):
    with pytest.raises(Unsupported, match="NO_CALIBRATION"):
        made(tmp_path, samples=SAMPLES[:0])
    model = onnx.load(tmp_path / "source")
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Softmax", ["input"], ["output"]))
    onnx.save(model, tmp_path / "source")
    with pytest.raises(Unsupported, match="NOTHING_TO_QUANTISE"):
        registry.get("compressors", "int8-nncf").apply(tmp_path / "source", tmp_path / "q", SAMPLES, {}, 0)


def test_without_nncf_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtra, match=r"sartor\[nncf\]"):
        made(tmp_path, samples=SAMPLES[:4])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("attention", [True, False])
def test_attention_is_recognised(tmp_path, attention):
    write_attention(tmp_path / "source", attention=attention)
    assert has_attention(onnx.load(tmp_path / "source").graph) == attention


@needs_nncf
def test_a_loud_channel_costs_less_than_in_plain_int8(tmp_path):
    write_attention(tmp_path / "source")
    judge = Judge(prepare(tmp_path / "source", tmp_path / "prepared"), SAMPLES)
    plain, ours = (
        judge.noise(onnx.load(made(tmp_path, name, reduce_range=True))) for name in ("int8-static", "int8-nncf")
    )
    assert 0 < ours < plain / 4


@needs_nncf
def test_weights_of_seven_bits_where_sums_would_saturate(tmp_path):
    assert may_saturate(made(tmp_path))
    assert not may_saturate(made(tmp_path, reduce_range=True))


@needs_nncf
@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_activations_are_stored_as_the_device_wants_them(tmp_path, activation):
    graph = onnx.load(made(tmp_path, activation=activation)).graph
    zeros = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in graph.initializer}
    kinds = {zeros[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert kinds == {np.dtype(activation)}


@needs_nncf
@pytest.mark.parametrize(("tolerance", "holds"), [(0.5, True), (0.001, False)])
def test_a_repair_counts_only_where_it_leaves_as_little_noise_as_was_asked_for(tmp_path, tolerance, holds):
    if holds:
        assert made(tmp_path, tolerance=tolerance).exists()
        return
    with pytest.raises(Unsupported, match="NOT_REPAIRED: quantised by NNCF it keeps [0-9]+% of the noise"):
        made(tmp_path, tolerance=tolerance)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@needs_nncf
def test_without_attention_nothing_is_repaired(tmp_path):
    assert made(tmp_path, attention=False).exists()
    with pytest.raises(Unsupported, match="NOT_REPAIRED: without attention"):
        made(tmp_path, attention=False, tolerance=0.5)


@needs_nncf
def test_what_nncf_cannot_take_is_a_reason(tmp_path, monkeypatch):
    def refusing(*_, **__):
        raise _import().UnsupportedModelError("no\nsuch node")

    monkeypatch.setattr(_import(), "quantize", refusing)
    with pytest.raises(Unsupported, match="QUANTISATION_FAILED: NNCF cannot quantise this graph: no such node"):
        made(tmp_path, samples=SAMPLES[:4])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@needs_nncf
def test_nothing_is_sent_nor_printed_and_loggers_stay_what_they_were(tmp_path):
    """In a process of its own: among tests NNCF sends nothing anyway."""
    write_attention(tmp_path / "source")
    np.save(tmp_path / "samples.npy", SAMPLES[:4])
    code = """if True:
        import logging, sys
        from pathlib import Path
        import numpy as np
        from sartor import registry
        plugin = registry.get("compressors", "int8-nncf")
        plugin.apply(Path("source"), Path("target"), np.load("samples.npy"), {}, 0)
        from nncf.telemetry import telemetry
        assert "openvino_telemetry" not in sys.modules
        assert type(telemetry).__module__ == "unittest.mock"
        assert logging.getLoggerClass() is logging.Logger
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def quantising(nodes, zero):
    """A graph from x (300) to y (300) whose nodes quantise in steps of 0.1 from a zero point."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [300])],
        [helper.make_tensor_value_info("y", FLOAT, [300])],
        [numpy_helper.from_array(np.array(0.1, np.float32), "scale"), numpy_helper.from_array(zero, "zero")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(("before", "after", "moved"), [(np.int8, "uint8", 128), (np.uint8, "int8", -128)])
def test_a_zero_point_moves_with_its_type_and_answers_stay_the_same(before, after, moved):
    import onnxruntime

    kind = np.dtype(before)
    zero = 7
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    model = quantising(nodes, np.array(zero, kind))
    values = {"x": np.linspace(-40, 40, 300, dtype=np.float32)}  # beyond both ends of the range

    def answers():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, values)[0]

    wanted = answers()
    store_activations(model, after)
    (stored,) = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name != "scale"]
    assert (stored.dtype, int(stored)) == (np.dtype(after), zero + moved)
    assert np.array_equal(answers(), wanted)


@pytest.mark.parametrize(("bias", "stored"), [(3.0, True), (1e9, False)])
def test_biases_are_stored_in_32_bits_so_that_the_product_runs_in_8(bias, stored):
    import onnxruntime

    dice = np.random.default_rng(0)
    weights = dice.integers(-60, 60, (WIDTH, 4), dtype=np.int8)
    constants = {"weights": weights, "a scale": np.array(0.1, np.float32), "bias": np.full(4, bias, np.float32)}
    constants |= {"w scale": np.array([0.01, 0.02, 0.03, 0.04], np.float32)}
    constants |= {"a zero": np.array(128, np.uint8), "w zero": np.zeros(4, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "a scale", "a zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "a scale", "a zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weights", "w scale", "w zero"], ["w"], axis=1),
        helper.make_node("Gemm", ["d", "w", "bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 4])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    values = {"x": dice.normal(size=(1, WIDTH)).astype(np.float32)}

    def answer():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, values)[0]

    wanted = answer()
    store_biases(model)
    assert ("bias" not in {tensor.name for tensor in model.graph.initializer}) == stored
    assert np.allclose(answer(), wanted, atol=0.05, rtol=1e-6)


@needs_nncf
def test_depthwise_convolutions_run_in_onnx_runtime(tmp_path):
    dice = np.random.default_rng(0)
    constants = {"w1": dice.normal(size=(8, 3, 3, 3)), "w2": dice.normal(size=(8, 1, 3, 3)), "w3": np.eye(8)[..., None]}
    constants["w3"] = constants["w3"][..., None]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["one"]),
            helper.make_node("Relu", ["one"], ["bent"]),
            helper.make_node("Conv", ["bent", "w2"], ["two"], group=8),
            helper.make_node("Conv", ["two", "w3"], ["y"]),
        ],
        "depthwise",
        [helper.make_tensor_value_info("x", FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 8, 5, 5])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items()],
    )
    source, target = tmp_path / "source", tmp_path / "target"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), source)
    samples = dice.normal(size=(16, 3, 9, 9)).astype(np.float32)
    registry.get("compressors", "int8-nncf").apply(source, target, samples, {"reduce_range": True}, 0)
    judge = Judge(prepare(source, tmp_path / "prepared"), samples)
    assert judge.noise(onnx.load(target)) < 1e-3


@needs_nncf
def test_onnx_runtime_runs_its_products_in_8_bits(tmp_path):
    session = registry.get("runtimes", "onnxruntime").load(made(tmp_path), "int8", 1)
    assert session.effective_precision == "int8"


@pytest.mark.parametrize(("zero", "kept"), [(0, False), (128, True)])
def test_a_relu_goes_only_where_its_quantisation_clips_alike(zero, kept):
    import onnxruntime

    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    model = quantising(nodes, np.array(zero, np.uint8))
    values = {"x": np.linspace(-30, 30, 300, dtype=np.float32)}

    def answers():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, values)[0]

    wanted = answers()
    drop_clipping(model)
    assert ("Relu" in {node.op_type for node in model.graph.node}) == kept
    assert np.array_equal(answers(), wanted)
