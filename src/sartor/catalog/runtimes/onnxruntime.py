"""ONNX Runtime on the CPU: fp32, int8 files quantised statically or dynamically, fp32 with weights in 8 or 4 bits.

Source: https://github.com/microsoft/onnxruntime (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sartor.catalog.runtimes._stored import STORED, effective_storage
from sartor.catalog.runtimes.parts.onnx_session import OnnxSession, import_onnxruntime
from sartor.errors import Unsupported
from sartor.levels import DOT_PRODUCTS, X86
from sartor.registry import register
from sartor.types import Device

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

# What runs an int8 product faster than fp32 does; a device without any of these gains nothing from int8.
_INT8_SETS = frozenset({"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
_DYNAMIC_OPERATORS = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})
_INT8_OPERATORS = _DYNAMIC_OPERATORS | {"QLinearConv", "QLinearMatMul", "QGemm", "QAttention"}
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_INTEGER_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger"})


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
        return str(import_onnxruntime("onnxruntime").__version__)

    def precisions(self, device: Device) -> Mapping[str, str]:
        found = {"fp32": "none", "w8": "int8-weights", "w4": "int4-weights"}
        if _INT8_SETS & set(device.instruction_sets):
            found |= {"int8": "int8-static", "int8-dynamic": "int8-dynamic"}
        return found

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
        if precision not in ("fp32", "int8", "int8-dynamic", *STORED):
            raise Unsupported(
                "NO_PRECISION", f"ONNX Runtime is run in fp32, int8, int8-dynamic, w8 or w4 here, not in {precision}"
            )
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
        for name in node.input[1:2] if node.op_type in _PRODUCTS | _INTEGER_PRODUCTS else ():
            maker = makers.get(name)
            stored = name if node.op_type in _INTEGER_PRODUCTS else ""
            if maker is not None and maker.op_type == "DequantizeLinear":
                stored = maker.input[0]
            if stored not in constants:
                continue
            weights = numpy_helper.to_array(constants[stored])
            if weights.dtype == np.int8 and _largest_pair(weights.astype(np.int32).ravel()) > LARGEST_PAIR:
                return True
    return False


def _largest_pair(weights: Array) -> int:
    """The largest sum, in size, of two weights of one sign."""
    if weights.size < 2:
        return 0
    ordered = np.partition(weights, (1, weights.size - 2))
    return max(int(ordered[-2:].sum()), -int(ordered[:2].sum()))


class OnnxRuntimeSession(OnnxSession):
    """One ONNX file, loaded into the CPU provider."""

    def __init__(self, path: Path, threads: int, precision: str = "fp32") -> None:
        super().__init__(path, threads, ["CPUExecutionProvider"])
        self._asked = precision

    @cached_property
    def effective_precision(self) -> str:
        """What ran, from ONNX Runtime's own profile of one call: ``int8`` where a product ran on int8, else ``fp32``.

        Where ``int8-dynamic`` was asked for: that, if ranges of activations were found in the call.

        Where ``w8`` or ``w4`` was asked for: that, if nothing ran on int8 and the file keeps weights so.
        """
        operators = {str(event.get("op_name")) for event in self.profile()}
        if self._asked == "int8-dynamic" and operators & _DYNAMIC_OPERATORS:
            return self._asked
        ran = "int8" if operators & _INT8_OPERATORS else "fp32"
        return effective_storage(self._path, ran) if self._asked in STORED else ran
