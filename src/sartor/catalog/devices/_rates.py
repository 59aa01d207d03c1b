"""What a machine can do at best, measured in a process of its own: one runtime's arithmetic, or reading memory.

Run as ``python -m sartor.catalog.devices._rates onnxruntime`` with the device's JSON on standard input; the last line
of standard output is a JSON object. Rates are the best seen: others may slow a machine down, nobody speeds it up.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.codec import from_plain
from sartor.errors import SartorError
from sartor.types import Device

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SECONDS = 0.4  # per graph and precision
# A call takes 1-3 ms: long enough that the copies at both ends cost little, and shorter than a scheduler's time slice,
# so that on a busy machine some calls run undisturbed (with calls of 30 ms a busy machine showed half its ceiling).
LAYERS, LAYERS_FP32 = 4, 2  # in a row
SIDE = 512  # of the square matrices
CHANNELS, PIXELS = 256, 16
BUFFER_BYTES = 512 << 20
BUFFER_SHARE = 16  # of the memory, at most


def main() -> None:
    """Measure what the first argument names."""
    device = from_plain(Device, json.loads(sys.stdin.read()))
    part = sys.argv[1]
    found = {"bytes_per_s": bandwidth(device)} if part == "bandwidth" else runtime_rates(part, device)
    print(json.dumps(found))


def runtime_rates(name: str, device: Device) -> dict[str, Any]:
    """Try a runtime and time it: ``{"rates": {precision: operations/s}, "problems": [sentence, …]}``.

    A rate belongs to the precision that the runtime says it truly used.

    Raises:
        SartorError: the runtime is not installed or answers wrongly.
    """
    runtime = registry.get("runtimes", name)
    runtime.version()  # imports it
    rates: dict[str, float] = {}
    problems: list[str] = []
    if "onnx" not in runtime.accepts:
        return {"rates": rates, "problems": problems}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        self_test(runtime, path)
        for precision, compressor in runtime.precisions(device).items():
            if hasattr(registry.get("compressors", compressor), "computed_in"):
                continue  # no rate of its own
            for build in (matrix_chain, convolution_chain):
                layers = LAYERS_FP32 if precision == "fp32" else LAYERS
                model, example, operations = build(layers, quantised=compressor != "none")
                path.write_bytes(model.SerializeToString())
                try:
                    session = runtime.load(path, precision, device.cores)
                    seconds = fastest(lambda session=session, example=example: session.run(example))  # type: ignore[misc]
                    used = session.effective_precision
                except SartorError as error:
                    problems.append(f"{name} in {precision}: {error}")
                    continue
                rates[used] = max(rates.get(used, 0.0), operations / seconds)
    return {"rates": rates, "problems": problems}


def self_test(runtime: Any, path: Path) -> None:
    """Raise where a runtime multiplies two matrices wrongly."""
    import numpy as np

    graph, weights = _Chain(np.zeros((4, 8), np.float32)), np.arange(24, dtype=np.float32).reshape(8, 3) / 24
    graph.add("MatMul", weights, quantised=False)
    path.write_bytes(graph.model(reduced=False).SerializeToString())
    given = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    answer = runtime.load(path, "fp32", 1).run(given)
    if answer.shape != (4, 3) or not np.allclose(answer, given @ weights, atol=1e-4):
        raise SartorError(f"{runtime.name} multiplies two small matrices wrongly")


def fastest(call: Callable[[], object], seconds: float = SECONDS) -> float:
    """Seconds of the fastest of the calls made within ``seconds`` (at least 3), after one to warm up."""
    call()
    best, began, calls = float("inf"), time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best


def matrix_chain(layers: int, *, quantised: bool) -> tuple[Any, Array, float]:
    """Square matrix products in a row: model, example input (side, side), operations of one run."""
    import numpy as np

    chance = np.random.default_rng(0)
    example = chance.standard_normal((SIDE, SIDE), dtype=np.float32)
    graph = _Chain(example)
    for _ in range(layers):
        weights = chance.standard_normal((SIDE, SIDE), dtype=np.float32) / SIDE**0.5
        graph.add("MatMul", weights, quantised=quantised)
    return graph.model(reduced=True), example, 2.0 * layers * SIDE**3


def convolution_chain(layers: int, *, quantised: bool) -> tuple[Any, Array, float]:
    """3×3 convolutions in a row: model, example input (1, channels, side, side), operations of one run."""
    import numpy as np

    chance = np.random.default_rng(0)
    example = chance.standard_normal((1, CHANNELS, PIXELS, PIXELS), dtype=np.float32)
    graph = _Chain(example)
    for _ in range(layers):
        weights = chance.standard_normal((CHANNELS, CHANNELS, 3, 3), dtype=np.float32) / (9 * CHANNELS) ** 0.5
        graph.add("Conv", weights, quantised=quantised, pads=[1, 1, 1, 1])
    return graph.model(reduced=True), example, 2.0 * layers * CHANNELS**2 * PIXELS**2 * 9


class _Chain:
    """An ONNX graph of weighted layers in a row, in fp32 or with quantise-dequantise pairs around each."""

    def __init__(self, example: Array) -> None:
        self._shape = example.shape
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._last = "input"
        self._is_quantised = False

    def add(self, operator: str, weights: Array, *, quantised: bool, **attributes: Any) -> None:
        """One layer; activations become uint8 and weights int8, both with fixed scales."""
        import numpy as np

        if not quantised:
            self._node(operator, [self._last, self._constant(weights)], **attributes)
            return
        if not self._is_quantised:  # the next layer's input is what the last one gave, already rounded
            self._rounded()
            self._is_quantised = True
        scale, zero = self._constant(np.float32(np.abs(weights).max() / 127)), self._constant(np.int8(0))
        rounded = np.rint(weights / np.abs(weights).max() * 127).astype(np.int8)
        before = self._last
        self._node("DequantizeLinear", [self._constant(rounded), scale, zero])
        self._node(operator, [before, self._last], **attributes)
        self._rounded()

    def _rounded(self) -> None:
        import numpy as np

        scale, zero = self._constant(np.float32(8 / 255)), self._constant(np.uint8(128))  # covers -4..4
        self._node("QuantizeLinear", [self._last, scale, zero])
        self._node("DequantizeLinear", [self._last, scale, zero])

    def _constant(self, value: Any) -> str:
        import numpy as np
        from onnx import numpy_helper

        name = f"c{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, operator: str, inputs: list[str], **attributes: Any) -> None:
        from onnx import helper

        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self._last = name

    def model(self, *, reduced: bool) -> Any:
        """The finished model; ``reduced`` keeps one maximum, so that no large output is copied."""
        from onnx import TensorProto, helper

        if reduced:
            self._node("ReduceMax", [self._last], keepdims=1)
        shape = [1 if reduced else None] * len(self._shape)
        graph = helper.make_graph(
            self._nodes,
            "probe",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(self._shape))],
            [helper.make_tensor_value_info(self._last, TensorProto.FLOAT, shape)],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def bandwidth(device: Device) -> float:
    """Bytes per second that all cores together read from a buffer far larger than the usual caches.

    A dot product of a block with itself is bound by reading; one thread per core, each its own blocks.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # before numpy loads: the threads here are ours
    import numpy as np

    size = min(BUFFER_BYTES, device.memory_bytes // BUFFER_SHARE)
    shares = np.array_split(np.ones(max(size // 4, device.cores), np.float32), device.cores)
    with ThreadPoolExecutor(device.cores) as pool:

        def read() -> None:
            list(pool.map(lambda share: float(np.dot(share, share)), shares))

        seconds = fastest(read, 1.0)
    return sum(share.nbytes for share in shares) / seconds


if __name__ == "__main__":
    try:
        main()
    except SartorError as error:
        sys.exit(str(error))
