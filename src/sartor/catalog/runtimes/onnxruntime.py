"""ONNX Runtime on the CPU: fp32, statically quantised int8 files, and fp32 with weights kept in 8 bits.

Source: https://github.com/microsoft/onnxruntime (MIT).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.runtimes._stored import effective_w8
from sartor.errors import MissingExtra, Unsupported
from sartor.levels import DOT_PRODUCTS, X86
from sartor.registry import register
from sartor.types import Device

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

# What runs an int8 product faster than fp32 does; a device without any of these gains nothing from int8.
_INT8_SETS = frozenset({"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
_INT8_OPERATORS = frozenset(
    {"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention"}
    | {"DynamicQuantizeMatMul"}
)
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_FATAL = 4  # exceptions carry the message; the log would print it a second time


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("the runtime onnxruntime", "", "onnxruntime") from None
    return onnxruntime


@register("runtimes", "onnxruntime")
class OnnxRuntime:
    """ONNX Runtime's CPU provider: sequential execution, ``threads`` threads inside an operator."""

    name: str
    title = "ONNX Runtime"
    accepts = frozenset({"onnx"})
    extra = ""
    reference = False
    domains = frozenset({"ai.onnx.ml"})

    def version(self) -> str:
        return str(_import().__version__)

    def precisions(self, device: Device) -> Mapping[str, str]:
        int8 = {"int8": "int8-static"} if _INT8_SETS & set(device.instruction_sets) else {}
        return {"fp32": "none", "w8": "int8-weights"} | int8

    def same_on(self, path: Path, level: str) -> frozenset[str]:
        """Levels of instruction sets on which a file's products of bytes come out as on ``level``.

        On x86 without dot products its kernels add pairs of products in 16 bits, which saturate where weights are
        large; with them sums are exact. It cannot be held to a level, so this is by reasoning on the weights.
        """
        if level not in X86:
            return frozenset({level})
        if not may_saturate(path):
            return X86
        return DOT_PRODUCTS if level in DOT_PRODUCTS else frozenset({level})

    def load(self, path: Path, precision: str, threads: int) -> OnnxRuntimeSession:
        if precision == "bf16":
            raise Unsupported("NO_BF16", "ONNX Runtime has no bf16 kernels for CPUs; use fp32 or int8")
        if precision not in ("fp32", "int8", "w8"):
            raise Unsupported("NO_PRECISION", f"ONNX Runtime is run in fp32, int8 or w8 here, not in {precision}")
        return OnnxRuntimeSession(path, threads, precision)


LARGEST_PAIR = 128  # 255 × 128 still fits into 16 bits, 255 × 129 does not


def may_saturate(path: Path) -> bool:
    """Whether two products of a byte of activation and a byte of weight may leave 16 bits in some product of a file.

    Whichever weights the kernel pairs: the two largest of one sign in a tensor are asked. Weights of 7 bits never do.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for name in node.input[1:2] if node.op_type in _PRODUCTS else ():
            maker = makers.get(name)
            if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in constants:
                continue
            weights = numpy_helper.to_array(constants[maker.input[0]])
            if weights.dtype == np.int8 and _largest_pair(weights.astype(np.int32).ravel()) > LARGEST_PAIR:
                return True
    return False


def _largest_pair(weights: Array) -> int:
    """The largest sum, in size, of two weights of one sign."""
    if weights.size < 2:
        return 0
    ordered = np.partition(weights, (1, weights.size - 2))
    return max(int(ordered[-2:].sum()), -int(ordered[:2].sum()))


_KINDS = {"tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool"} | {
    f"tensor({name})": name for name in ("uint8", "int8", "int16", "int32", "int64")
}


class OnnxRuntimeSession:
    """One ONNX file, loaded."""

    def __init__(self, path: Path, threads: int, precision: str = "fp32") -> None:
        runtime = _import()
        self.version = str(runtime.__version__)
        self._path, self._threads, self._asked = path, threads, precision
        self._session = _open(runtime, path, threads)
        if len(self._session.get_inputs()) != 1:
            names = ", ".join(value.name for value in self._session.get_inputs()) or "none"
            raise Unsupported("WRONG_INPUT", f"{path.name} must have exactly one input, but has: {names}")
        self._input = self._session.get_inputs()[0].name
        self._output = [self._session.get_outputs()[0].name]

    def run(self, batch: Array) -> Array:
        """Prepared batch to outputs (batch, …), floats as float32."""
        try:
            output = self._session.run(self._output, {self._input: batch})[0]
        except Exception as error:  # ONNX Runtime raises classes of its own, all bare Exceptions
            raise Unsupported("RUNTIME_FAILED", f"ONNX Runtime cannot run {self._path.name}: {_line(error)}") from None
        found: Array = np.asarray(output)
        return found.astype(np.float32) if found.dtype.kind == "f" and found.dtype != np.float32 else found

    @cached_property
    def effective_precision(self) -> str:
        """What ran, from ONNX Runtime's own profile of one call: ``int8`` where a product ran on int8, else ``fp32``.

        Where ``w8`` was asked for: that, if nothing ran on int8 and the file keeps weights so.

        Loads the file a second time, so ask after timing, not before.
        """
        runtime = _import()
        with tempfile.TemporaryDirectory() as folder:
            session = _open(runtime, self._path, self._threads, profile=str(Path(folder) / "profile"))
            wanted = session.get_inputs()[0]
            shape = [size if isinstance(size, int) else 1 for size in wanted.shape]
            kind = np.dtype(_KINDS.get(wanted.type, "float32"))
            session.run(self._output, {self._input: np.zeros(shape, kind)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        operators = {event.get("args", {}).get("op_name") for event in events if event.get("cat") == "Node"}
        ran = "int8" if operators & _INT8_OPERATORS else "fp32"
        return effective_w8(self._path, ran) if self._asked == "w8" else ran


def _open(runtime: Any, path: Path, threads: int, profile: str = "") -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Unsupported("RUNTIME_FAILED", f"ONNX Runtime cannot load {path.name}: {_line(error)}") from None


def _line(error: Exception) -> str:
    """The first line of a runtime's message, without the source position it starts with."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return text[0].rsplit(" : ", 1)[-1][:300]
