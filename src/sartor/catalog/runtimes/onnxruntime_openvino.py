"""ONNX Runtime with OpenVINO's provider on the CPU: fp32, bf16 where the processor has it, int8 files.

Offered where the build ``onnxruntime-openvino`` is installed, which takes the place of ``onnxruntime``.

Source: https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html (MIT).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib import metadata
from pathlib import Path

from sartor.catalog.runtimes.parts.onednn_levels import held_to
from sartor.catalog.runtimes.parts.onnx_session import OnnxSession, import_onnxruntime
from sartor.errors import MissingExtra, Unsupported
from sartor.registry import register
from sartor.types import Device

_PROVIDER = "OpenVINOExecutionProvider"
_PACKAGE = "onnxruntime-openvino"
_BF16_SETS = frozenset({"amx_bf16", "avx512_bf16"})
_INT8_SETS = frozenset({"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised
_INT8_PRODUCT = re.compile(r",exec,cpu,(convolution|inner_product|matmul|deconvolution),[^\n]*src:[us]8[^\n]*wei:s8")
_BF16_PRODUCT = re.compile(r",exec,cpu,(convolution|inner_product|matmul|deconvolution),[^\n]*src:bf16")
_PATIENCE_S = 120.0


@register("runtimes", _PACKAGE)
class OnnxRuntimeOpenVino:
    """OpenVINO's kernels behind ONNX Runtime's interface: latency hint, one stream, ``threads`` threads."""

    name: str
    title = "ONNX Runtime with OpenVINO"
    accepts = frozenset({"onnx"})
    extra = ""
    reference = False

    def version(self) -> str:
        missing = MissingExtra(f"the runtime {_PACKAGE} (a build in place of onnxruntime)", "", _PACKAGE)
        try:
            metadata.version(_PACKAGE)  # asked first: importing takes a while, and most have the plain build
        except metadata.PackageNotFoundError:
            raise missing from None
        runtime = import_onnxruntime(_PACKAGE)
        if _PROVIDER not in runtime.get_available_providers():
            raise missing  # the plain build was installed over it
        return str(runtime.__version__)

    def precisions(self, device: Device) -> Mapping[str, str]:
        sets = set(device.instruction_sets)
        found = {"fp32": "none"}
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

    def load(self, path: Path, precision: str, threads: int) -> OnnxRuntimeOpenVinoSession:
        if precision not in _HINTS:
            raise Unsupported("NO_PRECISION", f"OpenVINO is run in fp32, bf16 or int8 here, not in {precision}")
        self.version()
        return OnnxRuntimeOpenVinoSession(path, precision, threads)


class OnnxRuntimeOpenVinoSession(OnnxSession):
    """One ONNX file, all of it compiled by OpenVINO."""

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": "NO",  # pinned, two processes of one thread each would share the first core
        }
        options = {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}
        self._precision = precision
        super().__init__(path, threads, [(_PROVIDER, options)])
        if self._session.get_providers()[0] != _PROVIDER:  # it falls back to its own kernels without a word
            raise Unsupported("RUNTIME_FAILED", f"ONNX Runtime cannot give {path.name} to OpenVINO")

    @cached_property
    def effective_precision(self) -> str:
        """What the products ran in, from what OpenVINO's kernels tell of one call in a process of its own.

        ``mixed`` where a part of the graph was left to ONNX Runtime's own kernels. Takes a second; ask after timing.
        """
        told = {str(event.get("provider")) for event in self.profile()}
        if told != {_PROVIDER}:
            return "mixed"
        code = (
            "import sys; from pathlib import Path; from sartor import registry; "
            f"registry.get('runtimes', {_PACKAGE!r}).load(Path(sys.argv[1]), sys.argv[2], 1).profile()"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(self._path), self._precision],
            env={**os.environ, "ONEDNN_VERBOSE": "1"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode:
            return "unknown"
        return "int8" if _INT8_PRODUCT.search(done.stdout) else "bf16" if _BF16_PRODUCT.search(done.stdout) else "fp32"
