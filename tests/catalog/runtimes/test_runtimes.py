"""What is particular to each runtime."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sartor import registry
from sartor.errors import MissingExtra, Unsupported
from sartor.testing.runtimes import device, example_input, write_example_onnx


def write_onnx(path, nodes, inputs, outputs):
    from onnx import helper, save

    graph = helper.make_graph(nodes, "g", inputs, outputs)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def two_inputs(tmp_path):
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y", "z")]
    write_onnx(tmp_path / "two.onnx", [helper.make_node("Add", ["x", "y"], ["z"])], values[:2], values[2:])
    return tmp_path / "two.onnx"


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_two_inputs_are_declined_and_named(name, two_inputs):
    with pytest.raises(Unsupported, match="WRONG_INPUT: two.onnx must have exactly one input, but has: x, y"):
        registry.get("runtimes", name).load(two_inputs, "fp32", 1)


def test_openvino_declines_dynamic_shapes(tmp_path):
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    write_onnx(tmp_path / "d.onnx", [helper.make_node("Relu", ["x"], ["y"])], values[:1], values[1:])
    with pytest.raises(Unsupported, match="DYNAMIC_SHAPE"):
        registry.get("runtimes", "openvino").load(tmp_path / "d.onnx", "fp32", 1)


@pytest.mark.parametrize(
    ("name", "sets", "precisions"),
    [
        ("onnxruntime", (), {"fp32", "w8", "w4"}),
        ("onnxruntime", ("avx2",), {"fp32", "w8", "w4", "int8", "int8-dynamic"}),
        ("onnxruntime", ("avx512_bf16", "amx_bf16"), {"fp32", "w8", "w4"}),
        ("openvino", (), {"fp32", "w8", "w4"}),
        ("openvino", ("avx2",), {"fp32", "w8", "w4", "int8"}),
        ("openvino", ("avx512_bf16",), {"fp32", "w8", "w4", "bf16"}),
        ("openvino", ("amx_bf16", "amx_int8"), {"fp32", "w8", "w4", "bf16", "int8"}),
        ("onnxruntime-openvino", ("avx2",), {"fp32", "int8"}),
        ("onnxruntime-openvino", ("amx_bf16",), {"fp32", "bf16"}),
        ("torch", ("amx_bf16", "amx_int8"), {"fp32"}),
    ],
)
def test_precisions_of_a_device(name, sets, precisions):
    found = registry.get("runtimes", name).precisions(device(sets))
    assert set(found) == precisions
    made = {"int8": "int8-static", "int8-dynamic": "int8-dynamic", "w8": "int8-weights", "w4": "int4-weights"}
    assert all(compressor == made.get(precision, "none") for precision, compressor in found.items())


def test_openvino_bf16_needs_a_processor_that_has_it(tmp_path, monkeypatch):
    import openvino

    write_example_onnx(tmp_path / "m.onnx")
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with pytest.raises(Unsupported, match="NO_BF16"):
        registry.get("runtimes", "openvino").load(tmp_path / "m.onnx", "bf16", 1)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_quantised_file_runs_in_int8(name, tmp_path):
    write_example_onnx(tmp_path / "q.onnx", quantised=True)
    session = registry.get("runtimes", name).load(tmp_path / "q.onnx", "int8", 1)
    assert session.effective_precision == "int8"


def test_fp32_in_openvino_is_not_its_bf16_default(tmp_path):
    write_example_onnx(tmp_path / "m.onnx", width=64)
    runtime = registry.get("runtimes", "openvino")
    session = runtime.load(tmp_path / "m.onnx", "fp32", 1)
    reference = registry.get("runtimes", "onnxruntime").load(tmp_path / "m.onnx", "fp32", 1)
    np.testing.assert_allclose(session.run(example_input()), reference.run(example_input()), atol=1e-6)
    assert session.effective_precision == "fp32"


def test_openvino_loads_no_telemetry_and_connects_to_nothing(tmp_path):
    write_example_onnx(tmp_path / "m.onnx")
    code = f"""
import socket, sys
def refuse(*args, **kwargs): raise SystemExit("a connection was tried")
socket.socket.connect = socket.create_connection = refuse
from pathlib import Path
from sartor import registry
from sartor.testing.runtimes import example_input
registry.get("runtimes", "openvino").load(Path({str(tmp_path / "m.onnx")!r}), "fp32", 1).run(example_input())
print([m for m in sys.modules if "telemetry" in m or "tools.ovc" in m])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_converter_still_imports_after_us():
    code = (
        "from sartor import registry; registry.get('runtimes', 'openvino').version()\n"
        "import sys; assert 'openvino.tools.ovc' not in sys.modules\n"
        "import openvino.tools.ovc"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_a_missing_package_names_the_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="pip install"):
        registry.get("runtimes", name).version()


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"sartor": "{"}, {"sartor": "{}"}, {"sartor": json.dumps({"task": "t", "network": {"x": 1}})}],
)
def test_torch_declines_weights_without_their_network(metadata, tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, str(tmp_path / "m.safetensors"), metadata=metadata)
    with pytest.raises(Unsupported, match="RUNTIME_FAILED: m.safetensors is no network in torch format"):
        registry.get("runtimes", "torch").load(tmp_path / "m.safetensors", "fp32", 1)


def test_torch_is_the_reference_and_the_others_are_not():
    assert {name for name in registry.names("runtimes") if registry.get("runtimes", name).reference} == {"torch"}


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_products_of_seven_bit_weights_are_exact_where_eight_bits_may_saturate(name, tmp_path):
    """Largest bytes times weights of one sign: on x86 without dot products pairs are added in 16 bits."""
    from onnx import TensorProto, helper, numpy_helper, save

    from sartor.catalog.runtimes.onnxruntime import may_saturate

    n, m, step = 64, 16, 2000.0
    weights = np.random.default_rng(0).integers(-63, 64, (n, m)).astype(np.int8)
    weights[:, 0] = 63
    constants = {
        "one": np.float32(1), "zero": np.uint8(0), "signed zero": np.int8(0), "weights": weights,
        "step": np.float32(step), "middle": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "one", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["weights", "one", "signed zero"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "step", "middle"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "step", "middle"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(v, TensorProto.FLOAT, [8, k]) for v, k in (("x", n), ("y", m))]
    tensors = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    path = tmp_path / "seven.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    inputs = np.random.default_rng(1).integers(200, 256, (8, n))
    exact = np.clip(np.rint(inputs @ weights.astype(np.int64) / step), 0, 255) * step
    session = registry.get("runtimes", name).load(path, "int8", 1)
    found = session.run(inputs.astype(np.float32))
    assert session.effective_precision == "int8"
    assert exact.max() > 200 * step
    assert np.array_equal(np.rint(found / step), exact / step)
    assert not may_saturate(path)


def test_the_openvino_build_of_onnxruntime_is_declined_where_it_is_not_installed(monkeypatch):
    from importlib import metadata

    runtime = registry.get("runtimes", "onnxruntime-openvino")

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # it must not even be imported to find out
    with pytest.raises(MissingExtra, match="pip install onnxruntime-openvino"):
        runtime.version()


def test_the_plain_build_installed_over_the_openvino_one_is_no_openvino(monkeypatch):
    from importlib import metadata
    from types import SimpleNamespace

    monkeypatch.setattr(metadata, "version", lambda name: "1.24.1")
    plain = SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", plain)
    with pytest.raises(MissingExtra, match="pip install onnxruntime-openvino"):
        registry.get("runtimes", "onnxruntime-openvino").version()
