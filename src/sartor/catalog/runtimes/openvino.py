"""OpenVINO on the CPU: fp32 (weights in 8 or 4 bits too), bf16 where the processor has it, static int8 files.

Source: https://github.com/openvinotoolkit/openvino (Apache-2.0).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.runtimes._stored import STORED, effective_storage
from sartor.catalog.runtimes.parts.onednn_levels import held_to
from sartor.errors import MissingExtra, Unsupported
from sartor.registry import register
from sartor.types import Device

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

_BF16_SETS = frozenset({"amx_bf16", "avx512_bf16"})
_INT8_SETS = frozenset({"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
_PRODUCTS = frozenset({"Convolution", "GroupConvolution", "FullyConnected", "MatMul", "Deconvolution"})
_HINTS = {"fp32": "f32", "w8": "f32", "w4": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised
_SMALL = frozenset({"i8", "u8", "i4", "u4"})
_NAMES = {"float32": "fp32", "f32": "fp32", "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "f16": "fp16"}


def _import() -> Any:
    """OpenVINO without its converter, which would load a telemetry client; nothing here converts."""
    module = "openvino.tools.ovc"
    hidden = module not in sys.modules
    if hidden:
        sys.modules[module] = None  # type: ignore[assignment]  # makes its import an ImportError, which is tolerated
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the runtime openvino", "openvino", "openvino") from None
    finally:
        if hidden:
            del sys.modules[module]
    return openvino


@register("runtimes", "openvino")
class OpenVino:
    """OpenVINO's CPU plug-in: latency hint, one stream, ``threads`` threads, precision asked for and read back."""

    name: str
    title = "OpenVINO"
    accepts = frozenset({"onnx"})
    extra = "openvino"
    reference = False

    def version(self) -> str:
        return str(_import().__version__).split("-")[0]

    def precisions(self, device: Device) -> Mapping[str, str]:
        sets = set(device.instruction_sets)
        found = {"fp32": "none", "w8": "int8-weights", "w4": "int4-weights"}
        if _BF16_SETS & sets:
            found["bf16"] = "none"
        if _INT8_SETS & sets:
            found["int8"] = "int8-static"
        return found

    def held_to(self, level: str) -> Mapping[str, str]:
        """Environment variables with which a process behaves as on a processor of a level below its own.

        Raises:
            Unsupported: ``NO_LEVEL``: there is no such switch for the level.
        """
        return held_to(level)

    def load(self, path: Path, precision: str, threads: int) -> OpenVinoSession:
        if precision not in _HINTS:
            raise Unsupported("NO_PRECISION", f"OpenVINO is run in fp32, bf16, int8, w8 or w4 here, not in {precision}")
        return OpenVinoSession(path, precision, threads)


class OpenVinoSession:
    """One ONNX file, compiled for the CPU."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        openvino = _import()
        self.version = str(openvino.__version__).split("-")[0]
        self._name = path.name
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unsupported("NO_BF16", "OpenVINO finds no bf16 on this processor; use fp32 or int8")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            # else products with weights of 8 bits round their other side to 8 bits as well, on some processors
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "ENABLE_CPU_PINNING": False,  # pinned, two processes of one thread each would share the first core
        }
        try:
            model = core.read_model(str(path))
        except Exception as error:
            raise Unsupported("RUNTIME_FAILED", f"OpenVINO cannot read {path.name}: {_line(error)}") from None
        if len(model.inputs) != 1:
            names = ", ".join(sorted(value.any_name for value in model.inputs)) or "none"
            raise Unsupported("WRONG_INPUT", f"{path.name} must have exactly one input, but has: {names}")
        if model.is_dynamic():
            raise Unsupported("DYNAMIC_SHAPE", f"{path.name} has a dynamic shape; export it with a fixed batch")
        try:
            compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise Unsupported("RUNTIME_FAILED", f"OpenVINO cannot compile {path.name}: {_line(error)}") from None
        self.effective_precision = _effective_precision(compiled, precision, path)
        # Buffers of our own, set once: handing arrays over at each call was measured at 53 µs against 14 µs.
        self._input: Array = _buffer(compiled.inputs[0])
        self._output: Array = _buffer(compiled.outputs[0])
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(openvino.Tensor(self._input, shared_memory=True))
        self._request.set_output_tensor(0, openvino.Tensor(self._output, shared_memory=True))

    def run(self, batch: Array) -> Array:
        """Prepared batch to outputs (batch, …), floats as float32."""
        if batch.shape != self._input.shape or batch.dtype != self._input.dtype:
            raise Unsupported(
                "RUNTIME_FAILED",
                f"OpenVINO cannot run {self._name}: its input is {self._input.dtype} {self._input.shape}, "
                f"but got {batch.dtype} {batch.shape}",
            )
        self._input[...] = batch
        try:
            self._request.infer(share_outputs=True)
        except Exception as error:
            raise Unsupported("RUNTIME_FAILED", f"OpenVINO cannot run {self._name}: {_line(error)}") from None
        return np.array(self._output, dtype=np.float32 if self._output.dtype.kind == "f" else None)


def _buffer(port: Any) -> Array:
    return np.zeros(tuple(port.shape), port.element_type.to_dtype())


def _effective_precision(compiled: Any, asked: str, path: Path) -> str:
    """What the compiled model runs in: ``int8`` where a product does, else the precision OpenVINO says it uses."""
    if asked == "int8" or asked in STORED:
        for operator in compiled.get_runtime_model().get_ops():
            info = operator.get_rt_info()
            if info["layerType"].astype(str) in _PRODUCTS and info["runtimePrecision"].astype(str) in _SMALL:
                # of weights alone in few bits the precision told is theirs; the kernel's name ends with what it adds in
                if asked in STORED and info["primitiveType"].astype(str).endswith("_f32"):
                    continue
                return "int8"
    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    name = str(hint.get_type_name() if hasattr(hint, "get_type_name") else hint)
    ran = _NAMES.get(name, name)
    return effective_storage(path, ran) if asked in STORED else ran


def _line(error: Exception) -> str:
    """The last telling line of OpenVINO's message; the lines before it name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
