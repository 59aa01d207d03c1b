"""Weights in 8 bits: exact against arithmetic by hand, in both runtimes, and the same on every level."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.compressors.parts.small_weights import quantised
from sartor.errors import Unsupported
from sartor.levels import reach_of
from sartor.types import Pipeline

RUNTIMES = ("onnxruntime", "openvino")
COMPRESSOR = registry.get("compressors", "int8-weights")
DICE = np.random.default_rng(3)
TABLE = DICE.standard_normal((500, 64)).astype(np.float32) * DICE.uniform(0.01, 3, (500, 1)).astype(np.float32)
MATRIX = DICE.standard_normal((64, 300)).astype(np.float32)
HALVES = DICE.standard_normal((500, 32)).astype(np.float16)
IDS = DICE.integers(0, 500, (1, 20))


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def write(path, nodes, constants, width, ids="ids"):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(ids, TensorProto.INT64, IDS.shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, width))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8), path)
    return path


def compressed(source):
    target = source.with_suffix(".w8.onnx")
    COMPRESSOR.apply(source, target, np.zeros((0, 1)), {}, 0)
    onnx.checker.check_model(onnx.load(target), full_check=True)
    return target


def recommender(path):
    """The mean of rows of a table, by a product with a matrix and by one with the table itself, turned."""
    nodes = [
        node("Gather", ["table", "ids"], "rows", axis=0),
        node("Unsqueeze", ["ids", "last"], "single"),
        node("GatherND", ["table", "single"], "again"),
        node("Add", ["rows", "again"], "both"),
        node("ReduceMean", ["both", "one"], "mean", keepdims=0),
        node("MatMul", ["mean", "matrix"], "left"),
        node("Transpose", ["table"], "turned", perm=[1, 0]),
        node("MatMul", ["mean", "turned"], "right"),
        node("Concat", ["left", "right"], "output", axis=1),
    ]
    constants = {"table": TABLE, "matrix": MATRIX, "one": np.array([1]), "last": np.array([2])}
    return write(path, nodes, constants, 800)


def restored(values, axis):
    small, scales = quantised(values, axis)
    return small.astype(np.float64) * scales.astype(np.float64)


def loaded(path, runtime):
    return registry.get("runtimes", runtime).load(path, "w8", 1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answers_are_those_of_the_rounded_weights_in_full_precision(runtime, tmp_path):
    source = recommender(tmp_path / "a.onnx")
    session = loaded(compressed(source), runtime)
    mean = 2 * restored(TABLE, 0)[IDS[0]].mean(0)
    wanted = np.concatenate([mean @ restored(MATRIX, 1), mean @ restored(TABLE, 0).T])
    np.testing.assert_allclose(session.run(IDS)[0], wanted, atol=1e-4 * np.abs(wanted).max())
    assert session.effective_precision == "w8"
    assert loaded(source, runtime).effective_precision == "fp32"  # what keeps no bytes is not called so


def test_a_rounded_weight_is_off_by_half_a_step_of_its_row_at_most():
    steps = np.abs(TABLE).max(1, keepdims=True) / 127
    assert (np.abs(restored(TABLE, 0) - TABLE) <= 0.51 * steps).all()
    assert not restored(np.zeros((4, 8)), 0).any()


def test_the_file_shrinks_by_what_the_weights_do(tmp_path):
    source = recommender(tmp_path / "a.onnx")
    assert compressed(source).stat().st_size < 0.3 * source.stat().st_size
    assert COMPRESSOR.weight_bytes == 1.0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_tables_of_16_bits_and_narrow_ones(runtime, tmp_path):
    narrow = DICE.standard_normal((500, 4)).astype(np.float32)
    nodes = [
        node("Gather", ["halves", "ids"], "rows"),
        node("Cast", ["rows"], "full", to=TensorProto.FLOAT),
        node("Gather", ["narrow", "ids"], "few"),
        node("Concat", ["full", "few"], "all", axis=2),
        node("ReduceSum", ["all", "one"], "output", keepdims=0),
    ]
    source = write(tmp_path / "a.onnx", nodes, {"halves": HALVES, "narrow": narrow, "one": np.array([1])}, 36)
    target = compressed(source)
    found = loaded(target, runtime).run(IDS)[0]
    wanted = np.concatenate([restored(HALVES, 0)[IDS[0]].sum(0), restored(narrow, 1)[IDS[0]].sum(0)])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    scales = {tensor.name: list(tensor.dims) for tensor in onnx.load(target).graph.initializer}
    assert scales["halves_scale"] == [500, 1]
    assert scales["narrow_scale"] == [1, 4]  # by row they would be as large as what they save


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_convolutions_and_gemm(runtime, tmp_path):
    kernel, weights = DICE.standard_normal((8, 20, 3)), DICE.standard_normal((50, 144))
    nodes = [
        node("Cast", ["ids"], "floats", to=TensorProto.FLOAT),
        node("Reshape", ["floats", "shape"], "series"),
        node("Expand", ["series", "wide"], "wider"),
        node("Conv", ["wider", "kernel"], "map", kernel_shape=[3]),
        node("Flatten", ["map"], "flat"),
        node("Gemm", ["flat", "weights"], "output", transB=1),
    ]
    constants = {"kernel": kernel.astype(np.float32), "weights": weights.astype(np.float32)}
    shapes = {"shape": np.array([1, 1, 20]), "wide": np.array([1, 20, 20])}
    target = compressed(write(tmp_path / "a.onnx", nodes, constants | shapes, 50))
    series = np.broadcast_to(IDS.astype(np.float64), (20, 20))
    spans = np.stack([series[:, place : place + 3] for place in range(18)])  # (18, 20, 3)
    flat = np.einsum("pcs,kcs->kp", spans, restored(constants["kernel"], 0)).ravel()
    wanted = restored(constants["weights"], 0) @ flat
    found = loaded(target, runtime).run(IDS)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_what_is_used_in_another_way_stays_as_it_is(tmp_path):
    nodes = [
        node("Gather", ["table", "ids"], "rows"),
        node("ReduceMean", ["rows", "one"], "mean", keepdims=0),
        node("ReduceSum", ["table", "zero"], "whole", keepdims=1),
        node("Add", ["mean", "whole"], "output"),
    ]
    source = write(tmp_path / "a.onnx", nodes, {"table": TABLE, "one": np.array([1]), "zero": np.array([0])}, 64)
    with pytest.raises(Unsupported, match="NOTHING_TO_SHRINK"):
        compressed(source)


def test_weights_without_a_scale_are_refused(tmp_path):
    bad = TABLE.copy()
    bad[3, 3] = np.inf
    nodes = [node("Gather", ["table", "ids"], "rows"), node("ReduceMean", ["rows", "one"], "output", keepdims=0)]
    with pytest.raises(Unsupported, match="NOT_FINITE"):
        compressed(write(tmp_path / "a.onnx", nodes, {"table": bad, "one": np.array([1])}, 64))


def test_the_file_is_the_same_model_on_a_lower_level(tmp_path):
    """Else its evidence would have to name levels, as that of products of bytes does."""
    target = compressed(recommender(tmp_path / "a.onnx"))
    script = (
        "import json, sys; import numpy as np; from pathlib import Path; from sartor import registry\n"
        "session = registry.get('runtimes', 'openvino').load(Path(sys.argv[1]), 'w8', 1)\n"
        "found = session.run(np.array(json.loads(sys.argv[2]), sys.argv[3])).tolist()\n"
        "print(json.dumps([session.effective_precision, found]))"
    )
    command = [sys.executable, "-c", script, str(target), json.dumps(IDS.tolist()), str(IDS.dtype)]
    lower = subprocess.run(
        command, env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True, check=True
    )
    precision, found = json.loads(lower.stdout.splitlines()[-1])
    here = loaded(target, "openvino").run(IDS)
    np.testing.assert_allclose(found, here, atol=1e-5 * np.abs(here).max())
    assert precision == "w8"
    assert reach_of((), Pipeline("recommendation", (), (8,), "model.onnx", "openvino", "w8", 1, 1)) is None
