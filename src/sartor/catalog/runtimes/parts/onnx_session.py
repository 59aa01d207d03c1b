"""An ONNX file in ONNX Runtime, whichever of its providers runs it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import MissingExtra, Unsupported

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

_FATAL = 4  # exceptions carry the message; the log would print it a second time
_KINDS = {"tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool"} | {
    f"tensor({name})": name for name in ("uint8", "int8", "int16", "int32", "int64")
}


def import_onnxruntime(name: str) -> Any:
    """ONNX Runtime, for the runtime ``name``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra(f"the runtime {name}", "", "onnxruntime") from None
    return onnxruntime


class OnnxSession:
    """One ONNX file, loaded: sequential execution, ``threads`` threads inside an operator."""

    def __init__(self, path: Path, threads: int, providers: Sequence[Any]) -> None:
        self._runtime = import_onnxruntime("onnxruntime")
        self.version = str(self._runtime.__version__)
        self._path, self._threads, self._providers = path, threads, list(providers)
        self._session = self._open()
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

    def profile(self) -> list[Mapping[str, str]]:
        """What ran in one call, an entry per node: ``op_name``, ``provider`` and more, as ONNX Runtime tells it.

        Loads the file a second time, so ask after timing, not before.
        """
        with tempfile.TemporaryDirectory() as folder:
            session = self._open(profile=str(Path(folder) / "profile"))
            wanted = session.get_inputs()[0]
            shape = [size if isinstance(size, int) else 1 for size in wanted.shape]
            kind = np.dtype(_KINDS.get(wanted.type, "float32"))
            session.run(self._output, {self._input: np.zeros(shape, kind)})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return [event.get("args", {}) for event in events if event.get("cat") == "Node"]

    def _open(self, profile: str = "") -> Any:
        runtime = self._runtime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _FATAL
        # else products with weights of 4 bits round their other side to 8 bits
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        try:
            return runtime.InferenceSession(str(self._path), options, providers=self._providers)
        except Exception as error:
            reason = f"ONNX Runtime cannot load {self._path.name}: {_line(error)}"
            raise Unsupported("RUNTIME_FAILED", reason) from None


def _line(error: Exception) -> str:
    """The first line of a runtime's message, without the source position it starts with."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return text[0].rsplit(" : ", 1)[-1][:300]
