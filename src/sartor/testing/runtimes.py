"""Conformance of runtimes: what every plug-in of the catalogue ``runtimes`` must do.

A plug-in's own tests run all of it::

    @pytest.mark.parametrize("check", CHECKS)
    def test_conformance(check, tmp_path):
        check("my-runtime", tmp_path)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import registry
from sartor.codec import to_plain
from sartor.errors import Unsupported
from sartor.stages.measure.process import THREAD_VARIABLES
from sartor.types import Ceiling, Device, Network

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

INPUT_SHAPE = (2, 8, 8, 3)  # (batch, height, width, channels) uint8
CLASSES = 4
_CHANNELS = 16
_WIDE = 64  # channels of the example for what finds nothing to gain on fewer
_TOLERANCE = {"fp32": 1e-5} | dict.fromkeys(("w8", "bf16", "int8", "int8-dynamic"), 0.02)  # of a probability
_TOLERANCE["w4"] = 0.15  # of random weights, which 4 bits hold worse than trained ones
_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp")


def device(instruction_sets: tuple[str, ...] = _SETS) -> Device:
    """A device with these instruction sets and nothing else of note."""
    ceilings = {"fp32": Ceiling(1e11, "test")}
    return Device("test", "test", 2, 1 << 30, instruction_sets, ceilings, 1e10, {})


def example_input(seed: int = 0) -> Array:
    """A batch of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, INPUT_SHAPE, dtype=np.uint8)


def write_example_onnx(path: Path, *, quantised: bool = False, width: int = _CHANNELS) -> None:
    """A small known classifier as ONNX: pixels / 255 -> 3×3 convolution -> ReLU -> mean -> linear -> softmax.

    With ``quantised`` the convolution stands between QuantizeLinear and DequantizeLinear (uint8 × int8 per channel).
    """
    from onnx import TensorProto, helper, numpy_helper, save

    kernel, weights = _example_weights(width)
    constants: dict[str, Any] = {"scale": np.float32(1 / 255), "weights": weights}
    nodes = [
        helper.make_node("Cast", ["input"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["channels_first"], perm=[0, 3, 1, 2]),
    ]
    if quantised:
        each = np.abs(kernel).max(axis=(1, 2, 3)) / 127
        constants |= {
            "kernel_int8": np.round(kernel / each[:, None, None, None]).astype(np.int8),
            "kernel_scale": each.astype(np.float32),
            "kernel_zero": np.zeros(width, np.int8),
            "pixel_scale": np.float32(1 / 255),
            "pixel_zero": np.uint8(0),
            "map_scale": np.float32(_map_range(kernel) / 255),
        }
        nodes += [
            helper.make_node("QuantizeLinear", ["channels_first", "pixel_scale", "pixel_zero"], ["pixels_q"]),
            helper.make_node("DequantizeLinear", ["pixels_q", "pixel_scale", "pixel_zero"], ["pixels"]),
            helper.make_node("DequantizeLinear", ["kernel_int8", "kernel_scale", "kernel_zero"], ["kernel"], axis=0),
            helper.make_node("Conv", ["pixels", "kernel"], ["map"], kernel_shape=[3, 3]),
            helper.make_node("Relu", ["map"], ["positive_float"]),
            helper.make_node("QuantizeLinear", ["positive_float", "map_scale", "pixel_zero"], ["positive_q"]),
            helper.make_node("DequantizeLinear", ["positive_q", "map_scale", "pixel_zero"], ["positive"]),
        ]
    else:
        constants["kernel"] = kernel
        nodes += [
            helper.make_node("Conv", ["channels_first", "kernel"], ["map"], kernel_shape=[3, 3]),
            helper.make_node("Relu", ["map"], ["positive"]),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "example",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, INPUT_SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (INPUT_SHAPE[0], CLASSES))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_example_for(compressor: str, path: Path) -> int:
    """Write the example so wide that a compressor gains something on it; its channels."""
    plugin = registry.get("compressors", compressor)
    write_example_onnx(path)
    if not hasattr(plugin, "computed_in"):
        return _CHANNELS
    with tempfile.TemporaryDirectory() as folder:
        try:
            plugin.apply(path, Path(folder) / "tried", example_input(), plugin.options(device()), 0)
        except Unsupported as refusal:
            if refusal.code == "NOTHING_TO_SHRINK":
                write_example_onnx(path, width=_WIDE)
                return _WIDE
    return _CHANNELS


def expected_output(batch: Array, width: int = _CHANNELS) -> Array:
    """What the example of so many channels gives in exact arithmetic, (batch, CLASSES)."""
    kernel, weights = _example_weights(width)
    positive = np.maximum(_convolve(batch.transpose(0, 3, 1, 2) / 255.0, kernel), 0)
    logits = positive.mean(axis=(2, 3)) @ weights
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _example_weights(width: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(7)
    kernel = generator.normal(size=(width, 3, 3, 3)).astype(np.float32)
    weights = generator.normal(size=(width, CLASSES)) * np.sqrt(_CHANNELS / width)  # logits as large whatever the width
    return kernel, weights.astype(np.float32)


def _convolve(pixels: Array, kernel: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(2, 3))  # (n, 3, h, w, 3, 3)
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, kernel))


def _map_range(kernel: Array) -> float:
    """The largest value after the ReLU on random pixels: the range a calibration would find."""
    return float(_convolve(example_input().transpose(0, 3, 1, 2) / 255.0, kernel).max())


# ------------------------------------------------------------------------------------------------------ the checks


def check_names_itself(name: str, folder: Path) -> None:
    """Name, title, formats and a version are there."""
    runtime = registry.get("runtimes", name)
    assert runtime.name == name
    assert runtime.title
    assert runtime.accepts
    assert isinstance(runtime.reference, bool)
    assert runtime.version()


def check_precisions_follow_the_device(name: str, folder: Path) -> None:
    """fp32 without a compressor is always there; without special instructions nothing is computed in anything else."""
    runtime = registry.get("runtimes", name)
    assert runtime.precisions(device(()))["fp32"] == "none"
    assert set(runtime.precisions(device(()))) <= set(runtime.precisions(device()))
    for precision, compressor in runtime.precisions(device(())).items():
        assert getattr(registry.get("compressors", compressor), "computed_in", precision) == "fp32"


def check_outputs_are_right(name: str, folder: Path) -> None:
    """At every precision that runs here: known outputs within its tolerance, and that precision read back."""
    runtime = registry.get("runtimes", name)
    batch = example_input()
    ran = []
    for precision in runtime.precisions(device()):
        path, expected = _example(runtime, precision, folder)
        try:
            session = runtime.load(path, precision, 1)
        except Unsupported:
            if precision == "fp32":
                raise
            continue
        output = session.run(batch)
        assert output.dtype == np.float32
        assert output.shape == (INPUT_SHAPE[0], CLASSES)
        np.testing.assert_allclose(output, expected, atol=_TOLERANCE[precision])
        assert session.effective_precision == precision
        assert session.version == runtime.version()
        ran.append(precision)
    assert "fp32" in ran


def check_outputs_stay_the_callers(name: str, folder: Path) -> None:
    """A result is not overwritten by the next call, and the same input gives the same result."""
    runtime = registry.get("runtimes", name)
    session = runtime.load(_example(runtime, "fp32", folder)[0], "fp32", 1)
    first = session.run(example_input(0))
    kept = first.copy()
    assert not np.allclose(session.run(example_input(1)), kept, atol=1e-6)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(session.run(example_input(0)), kept)


def check_numbers_of_any_shape(name: str, folder: Path) -> None:
    """Tokens in, (batch, tokens, 3) float32 or (batch, tokens) int64 out: neither type nor shape is bent."""
    runtime = registry.get("runtimes", name)
    if "onnx" not in runtime.accepts:
        return
    tokens = np.array([[0, 3, 1, 2, 2], [1, 1, 0, 3, 0]], np.int64)
    table = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    for whole in (False, True):
        path = folder / f"tokens-{whole}.onnx"
        _write_tokens_onnx(path, table, tokens.shape, whole=whole)
        output = runtime.load(path, "fp32", 1).run(tokens)
        expected = table.argmax(axis=1)[tokens] if whole else table[tokens]
        assert output.dtype == expected.dtype, f"{name} gives {output.dtype} where the file gives {expected.dtype}"
        np.testing.assert_allclose(output, expected, rtol=1e-6)


def _write_tokens_onnx(path: Path, table: Array, shape: tuple[int, ...], *, whole: bool) -> None:
    """Each token's row of a table, or where that row is largest."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes = [helper.make_node("Gather", ["table", "input"], ["rows" if whole else "output"], axis=0)]
    if whole:
        nodes.append(helper.make_node("ArgMax", ["rows"], ["output"], axis=2, keepdims=0))
    kind, sizes = (TensorProto.INT64, shape) if whole else (TensorProto.FLOAT, (*shape, table.shape[1]))
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("input", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("output", kind, sizes)],
        [numpy_helper.from_array(table, "table")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def check_refuses_garbage(name: str, folder: Path) -> None:
    """A damaged file, an unknown precision and an input of the wrong shape are declined with a code and a sentence."""
    runtime = registry.get("runtimes", name)
    path, _ = _example(runtime, "fp32", folder)
    damaged = folder / f"damaged{path.suffix}"
    damaged.write_bytes(b"\x00garbage" * 40)
    cut = folder / f"cut{path.suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    session = runtime.load(path, "fp32", 1)
    attempts: tuple[Callable[[], object], ...] = (
        lambda: runtime.load(damaged, "fp32", 1),
        lambda: runtime.load(cut, "fp32", 1),
        lambda: runtime.load(path, "fp3", 1),
        lambda: session.run(np.zeros((1, 3, 3, 1), np.uint8)),
    )
    for number, attempt in enumerate(attempts):
        refusal = _refusal_of(attempt)
        assert refusal is not None, f"{name} accepted garbage (attempt {number})"
        assert refusal.code.isupper()
        assert len(refusal.detail) > 10
        assert "\n" not in refusal.detail


def _refusal_of(attempt: Callable[[], object]) -> Unsupported | None:
    try:
        attempt()
    except Unsupported as refusal:
        return refusal
    return None


def check_threads_are_kept(name: str, folder: Path) -> None:
    """With one thread, a call costs no more processor time than wall time: counted in a fresh process."""
    runtime = registry.get("runtimes", name)
    path, _ = _example(runtime, "fp32", folder)
    if "onnx" in runtime.accepts:
        write_example_onnx(path, width=1024)  # enough work to spread over threads, were that allowed
    done = subprocess.run(
        [sys.executable, "-m", "sartor.testing.runtimes", name, str(path)],
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},  # as where candidates are timed
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wall, processor = json.loads(done.stdout)
    assert processor <= 1.25 * wall + 0.02, f"{processor:.2f} s of processor time in {wall:.2f} s with one thread"


CHECKS: tuple[Callable[[str, Path], None], ...] = (
    check_names_itself,
    check_precisions_follow_the_device,
    check_outputs_are_right,
    check_outputs_stay_the_callers,
    check_numbers_of_any_shape,
    check_refuses_garbage,
    check_threads_are_kept,
)


def _example(runtime: Any, precision: str, folder: Path) -> tuple[Path, Array]:
    """The example in a format the runtime takes, and its expected outputs on ``example_input()``."""
    if "onnx" in runtime.accepts:
        path, compressor = folder / f"example-{precision}.onnx", runtime.precisions(device())[precision]
        if precision in ("int8", "fp32", "bf16"):
            write_example_onnx(path, quantised=precision == "int8")
            return path, expected_output(example_input())
        width = write_example_for(compressor, path)
        registry.get("compressors", compressor).apply(path, path, example_input(), {}, 0)
        return path, expected_output(example_input(), width)
    if "torch" in runtime.accepts:
        return _torch_example(folder / "example.safetensors")
    raise AssertionError(f"the examples here are ONNX and torch files; {runtime.name} accepts {set(runtime.accepts)}")


def _torch_example(path: Path) -> tuple[Path, Array]:
    """The smallest network that is trained by gradient, with random weights."""
    import torch
    from safetensors.torch import save_file

    card = _example_card()
    families = (family for family in registry.every("models") if card.task in family.tasks and not family.baseline)
    family = next(family for family in families if family.fitting == "gradient")
    variant = next(iter(family.variants(card, [INPUT_SHAPE[1:3]], "quick")))
    network = Network(family.name, variant.name, dict(variant.options), INPUT_SHAPE[1:3], CLASSES)
    torch.manual_seed(0)
    module = family.build(network).eval()
    statistics = {"mean": (120.0, 120.0, 120.0), "std": (60.0, 60.0, 60.0)}
    about = {"task": card.task, "network": to_plain(network), "statistics": to_plain(statistics)}
    weights = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(weights, str(path), metadata={"sartor": json.dumps(about)})
    wrapped = registry.get("tasks", card.task).wrap(module, statistics).eval()
    with torch.inference_mode():
        return path, wrapped(torch.from_numpy(example_input())).numpy()


def _example_card() -> Any:
    from sartor.types import DataCard, SplitCard

    labels = tuple("abcd")
    split = SplitCard(40, dict.fromkeys(labels, 10), "f")
    sizes = {"smallest": INPUT_SHAPE[1:3], "median": INPUT_SHAPE[1:3], "largest": INPUT_SHAPE[1:3]}
    return DataCard("image-classification", "f", labels, {"train": split}, (), {"sizes": sizes})


def _count_time(name: str, path: Path) -> tuple[float, float]:
    """Wall and processor seconds of calls that last about half a second."""
    session = registry.get("runtimes", name).load(path, "fp32", 1)
    session.run(example_input())
    started, at_start = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < 0.5:
        session.run(example_input())
    return time.perf_counter() - started, time.process_time() - at_start


if __name__ == "__main__":
    print(json.dumps(_count_time(sys.argv[1], Path(sys.argv[2]))))
