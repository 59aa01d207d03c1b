"""Dynamic int8: what is quantised, what its options do, what is refused."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.catalog.runtimes.onnxruntime import may_saturate
from sartor.errors import Unsupported
from sartor.testing.runtimes import device

WIDTH = 32


@pytest.fixture
def texts(tmp_path):
    """Four words looked up, a hidden layer, two classes; the file and its weights."""
    chance = np.random.default_rng(0)
    weights = {
        "table": chance.normal(size=(500, WIDTH)), "hidden": chance.normal(size=(WIDTH, WIDTH)),
        "last": chance.normal(size=(WIDTH, 2)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "input"], ["words"]),
        helper.make_node("ReduceMean", ["words"], ["text"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["text", "hidden"], ["bent"]),
        helper.make_node("Tanh", ["bent"], ["features"]),
        helper.make_node("MatMul", ["features", "last"], ["output"]),
    ]
    values = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, 4]),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2]),
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    path = tmp_path / "texts.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def made(source, sets=("avx2", "avx512f", "avx512_vnni"), **options):
    compressor, target = registry.get("compressors", "int8-dynamic"), source.with_name("dynamic.onnx")
    compressor.apply(source, target, np.empty((0, 4)), {**compressor.options(device(sets)), **options}, 0)
    return target


def test_products_and_tables_become_bytes_and_answers_stay(texts):
    target = made(texts, sets=identify().instruction_sets)  # bytes that are exact where this runs
    kinds = Counter(node.op_type for node in onnx.load(target).graph.node)
    assert kinds["MatMulInteger"] == 2
    assert not kinds["MatMul"]
    assert target.stat().st_size < 0.35 * texts.stat().st_size
    runtime = registry.get("runtimes", "onnxruntime")
    session, parent = runtime.load(target, "int8-dynamic", 1), runtime.load(texts, "fp32", 1)
    assert session.effective_precision == "int8-dynamic"
    assert parent.effective_precision == "fp32"
    rows = np.random.default_rng(1).integers(0, 500, (50, 1, 4))
    theirs, ours = (np.concatenate([one.run(row) for row in rows]) for one in (parent, session))
    assert np.abs(theirs - ours).max() < 0.1 * theirs.std()


def test_without_dot_products_weights_have_seven_bits(texts):
    assert may_saturate(made(texts))
    assert not may_saturate(made(texts, sets=("avx2",)))


def test_a_network_of_convolutions_is_declined(tmp_path):
    shapes = {"one": (4, 3, 3, 3), "two": (4, 4, 3, 3), "last": (4, 2)}
    tensors = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["input", "one"], ["a"]),
        helper.make_node("Conv", ["a", "two"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "last"], ["output"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("input", [1, 3, 8, 8]), ("output", [1, 2]))
    ]
    path = tmp_path / "pictures.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], tensors)), path)
    with pytest.raises(Unsupported, match="NOTHING_TO_QUANTISE"):
        made(path)
    assert not (tmp_path / "dynamic.onnx").exists()
