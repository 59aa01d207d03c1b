"""Matrices in 4 bits: exact against arithmetic by hand in both runtimes, off by a step of a block at most."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.compressors.parts.blocks import BLOCK, in_blocks
from sartor.catalog.compressors.parts.small_weights import quantised
from sartor.errors import Unsupported

COMPRESSOR = registry.get("compressors", "int4-weights")
DICE = np.random.default_rng(5)
TABLE = DICE.standard_normal((200, 50)).astype(np.float32)
MATRIX = DICE.standard_normal((50, 96)).astype(np.float32)  # 50 inputs are no whole number of blocks
TURNED = DICE.standard_normal((40, 96)).astype(np.float32)
BIAS = DICE.standard_normal(40).astype(np.float32)
IDS = DICE.integers(0, 200, (1, 20))


def write(path, nodes, constants, width, opset=18):
    graph = helper.make_graph(
        [helper.make_node(kind, taken, [given], name=given, **more) for kind, taken, given, more in nodes],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, IDS.shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, width))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def network(path, matrix=MATRIX):
    """The mean of rows of a table through a matrix, and through one that lies turned and has a bias."""
    nodes = [
        ("Gather", ["table", "ids"], "rows", {}),
        ("ReduceMean", ["rows", "one"], "mean", {"keepdims": 0}),
        ("MatMul", ["mean", "matrix"], "wide", {}),
        ("Relu", ["wide"], "positive", {}),
        ("Gemm", ["positive", "turned", "bias"], "output", {"transB": 1}),
    ]
    constants = {"table": TABLE, "matrix": matrix, "turned": TURNED, "bias": BIAS, "one": np.array([1])}
    return write(path, nodes, constants, 40)


def compressed(source):
    target = source.with_suffix(".w4.onnx")
    COMPRESSOR.apply(source, target, np.zeros((0, 1)), {}, 0)
    onnx.checker.check_model(onnx.load(target), full_check=True)
    return target


def restored(values):
    small, scales = in_blocks(values)
    return (small * np.repeat(scales, BLOCK, axis=0))[: len(values)].astype(np.float64)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_answers_are_those_of_the_rounded_weights_in_full_precision(runtime, tmp_path):
    source = network(tmp_path / "a.onnx")
    session = registry.get("runtimes", runtime).load(compressed(source), "w4", 1)
    small, scales = quantised(TABLE, 0)
    mean = (small.astype(np.float64) * scales)[IDS[0]].mean(0)
    wanted = np.maximum(mean @ restored(MATRIX), 0) @ restored(TURNED.T) + BIAS
    np.testing.assert_allclose(session.run(IDS)[0], wanted, atol=2e-5 * np.abs(wanted).max())
    assert session.effective_precision == "w4"
    assert registry.get("runtimes", runtime).load(source, "w4", 1).effective_precision == "fp32"


def test_matrices_take_half_a_byte_and_tables_one(tmp_path):
    target = onnx.load(compressed(network(tmp_path / "a.onnx")))
    kinds = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in target.graph.initializer}
    assert kinds["matrix_w4"] == (TensorProto.INT4, [64, 96])
    assert kinds["turned_w4"] == (TensorProto.INT4, [96, 40])
    assert kinds["table_w8"] == (TensorProto.INT8, [200, 50])
    assert not {"matrix", "turned", "table"} & set(kinds)


def test_a_weight_is_off_by_less_than_a_step_of_its_block_and_the_block_by_less_than_plain_rounding():
    grouped = MATRIX[:32].astype(np.float64)
    largest = np.abs(grouped).max(axis=0)
    found = restored(MATRIX[:32])
    assert (np.abs(found - grouped) <= largest / 7).all()
    plain = np.clip(np.rint(grouped / (largest / 7)), -8, 7) * (largest / 7)
    ours, theirs = (((made - grouped) ** 2).sum(axis=0) for made in (found, plain))
    assert (ours <= theirs * (1 + 1e-5)).all()
    assert ours.sum() < 0.95 * theirs.sum()
    assert not restored(np.zeros((32, 4), np.float32)).any()


def test_tables_alone_gain_nothing_over_8_bits(tmp_path):
    nodes = [("Gather", ["table", "ids"], "rows", {}), ("ReduceMean", ["rows", "one"], "output", {"keepdims": 0})]
    with pytest.raises(Unsupported, match="NOTHING_TO_SHRINK"):
        compressed(write(tmp_path / "a.onnx", nodes, {"table": TABLE, "one": np.array([1])}, 50))


def test_weights_without_a_scale_are_refused(tmp_path):
    bad = MATRIX.copy()
    bad[3, 3] = np.nan
    with pytest.raises(Unsupported, match="NOT_FINITE"):
        compressed(network(tmp_path / "a.onnx", bad))
