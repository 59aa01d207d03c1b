"""The same int8 file on other levels of instruction sets: what is recorded, and that it is another model there."""

import numpy as np
import pytest
from digits import HELD_OUT, digits, write_network, write_pictures
from hypothesis import given
from hypothesis import strategies as st

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.catalog.runtimes.onnxruntime import LARGEST_PAIR, _largest_pair, may_saturate
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import EvaluateJob, PrepareJob
from sartor.levels import DOT_PRODUCTS, LEVELS, X86, levels_within
from sartor.stages.measure import evaluate
from sartor.types import DataSource, Pipeline

BATCH = 8


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """(workspace, fingerprint, name -> artifact) of digits: in fp32, in 8 bits and with weights of 7 bits."""
    from sartor.stages.data import prepare, stamp

    root = tmp_path_factory.mktemp("digits")
    pixels, labels = digits()
    write_pictures(root / "train", pixels[:80], labels[:80])
    write_pictures(root / "test", pixels[-HELD_OUT:], labels[-HELD_OUT:])
    source = DataSource(str(root / "train"), test=str(root / "test"))
    workspace = Workspace(root / "workspace")
    card = prepare(PrepareJob(source, "image-classification", 0, stamp(source)), workspace).card
    write_network(root / "fp32.onnx", pixels[:-HELD_OUT], labels[:-HELD_OUT], BATCH)
    calibration = np.repeat(pixels[:200, :, :, None], 3, axis=3)
    compressor = registry.get("compressors", "int8-static")
    for name, options in (("int8", {}), ("int7", {"reduce_range": True})):
        compressor.apply(root / "fp32.onnx", root / f"{name}.onnx", calibration, options, 0)
    files = {}
    for name in ("fp32", "int8", "int7"):
        assert may_saturate(root / f"{name}.onnx") == (name == "int8")
        files[name] = workspace.objects.take(root / f"{name}.onnx", format="onnx").sha256
    return workspace, card.fingerprint, files


def scored(known, name, runtime, levels):
    workspace, data, files = known
    labels = tuple("0123456789")
    precision = "fp32" if name == "fp32" else "int8"
    pipeline = Pipeline("image-classification", labels, (8, 8), "model.onnx", runtime, precision, 1, BATCH)
    job = EvaluateJob(files[name], pipeline, data, "test", "device", 0.95, levels=levels)
    return evaluate(job, workspace).measurements[0]


@pytest.mark.slow
def test_without_dot_products_the_same_int8_file_is_another_model(known):
    pytest.importorskip("openvino")
    levels = levels_within(identify().instruction_sets)
    if not (set(levels[:1]) & DOT_PRODUCTS and "avx2" in levels):
        pytest.skip("this processor has no dot products to be held from")
    wanted = (levels[0], "avx2")
    full, reduced = (scored(known, name, "openvino", wanted) for name in ("int8", "int7"))
    assert full.value > 0.85
    assert full.conditions["level"] == levels[0]
    value, low, high = full.conditions["on_levels"]["avx2"]
    assert low < value < high < full.low  # sums of bright pixels saturate
    assert reduced.value > 0.85
    assert reduced.conditions["on_levels"]["avx2"] == [reduced.value, reduced.low, reduced.high]


def test_onnx_runtime_reasons_where_it_cannot_be_held(known):
    workspace, _, files = known
    full = scored(known, "int8", "onnxruntime", ("avx512-vnni", "avx2", "avx512"))
    assert set(full.conditions["same_on"]) == {"avx2-vnni", "avx512-vnni", "amx"}
    assert full.conditions["on_levels"] == {}
    runtime = registry.get("runtimes", "onnxruntime")
    same = {
        (name, level): runtime.same_on(workspace.objects.path(files[name]), level)
        for name in ("int8", "int7")
        for level in ("avx2", "neon-dot")
    }
    assert same["int8", "avx2"] == {"avx2"}
    assert same["int7", "avx2"] == X86
    assert same["int8", "neon-dot"] == same["int7", "neon-dot"] == {"neon-dot"}


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=60))
def test_weights_that_pass_never_leave_16_bits(weights):
    found = np.array(weights, np.int32)
    extremes = [255 * (a + b) for i, a in enumerate(weights) for b in weights[i + 1 :] if a * b > 0]
    leaves = any(not -32768 <= value <= 32767 for value in extremes)
    if _largest_pair(found) <= LARGEST_PAIR:
        assert not leaves
    elif len(weights) > 1 and all(weight > 0 for weight in weights):
        assert leaves


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_without_a_switch_is_a_refusal(level):
    runtime = registry.get("runtimes", "openvino")
    if level in X86:
        assert runtime.held_to(level)["ONEDNN_MAX_CPU_ISA"]
    else:
        with pytest.raises(Unsupported, match="cannot be held to neon"):
            runtime.held_to(level)
