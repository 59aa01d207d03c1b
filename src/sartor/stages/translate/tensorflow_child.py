"""Runs in an environment with TensorFlow and tf2onnx, by its path: one JSON request on stdin, one JSON line as answer.

Nothing of Sartor is imported here. The model is converted by tf2onnx's own command, and asked once with noise, so that
whoever reads the ONNX file can compare.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from typing import Any

OPSET = 18
_NOT_IN_A_NETWORK = (
    "PyFunc PyFuncStateless EagerPyFunc ReadFile WriteFile MatchingFiles ImmutableConst Save SaveSlices TFRecordReader "
    "TFRecordReaderV2 WholeFileReader WholeFileReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2 "
    "TextLineReader TextLineReaderV2 TFRecordDataset TextLineDataset FixedLengthRecordDataset LoadAndRemapMatrix "
    "InitializeTableFromTextFile InitializeTableFromTextFileV2 RpcServer RpcClient DataServiceDataset"
)
NOT_IN_A_NETWORK = frozenset(_NOT_IN_A_NETWORK.split())
"""Operators that read or write files, or call Python; the saver's own are not among them."""


class Problem(Exception):
    """What is told instead of a result; ``kind`` is ``refused``, ``unsupported`` or ``problem``."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    try:
        try:
            import tensorflow as tf
            import tf2onnx  # noqa: F401
        except ImportError as error:
            raise Problem(
                "problem",
                f"{sys.executable} has no {error.name}; run: {sys.executable} -m pip install tensorflow-cpu tf2onnx",
            ) from None
        reply = _converted(tf, request)
    except Problem as problem:
        reply = {"error": str(problem), "kind": problem.kind}
    except Exception as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        name = os.path.basename(request["path"])
        reply = {"error": f"TensorFlow cannot convert {name}: {text}", "kind": "unsupported"}
    out.write(json.dumps(reply) + "\n")


def _converted(tf: Any, request: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    path, folder = request["path"], request["folder"]
    name = os.path.basename(path)
    with tempfile.TemporaryDirectory() as scratch:
        if request["kind"] == "tflite":
            asked, answered, steps = _ask_lite(tf, path, name)
            quantised = bool(steps)
            _run_converter(["--tflite", path, *(["--dequantize"] if quantised else [])], folder, name)
        else:
            saved, quantised, steps = path, False, {}
            if request["kind"] == "keras":
                saved = os.path.join(scratch, "saved")
                model = tf.keras.models.load_model(path, compile=False, safe_mode=not request["trusted"])
                model.export(saved, verbose=False)
            elif not request["trusted"]:
                _check_operators(saved, name, request)
            asked, answered = _ask_saved(tf, saved, name)
            _run_converter(["--saved-model", saved, "--signature_def", "serving_default"], folder, name)
    given, told, bytes_of = _in_order(os.path.join(folder, "converted.onnx"), asked, answered, steps)
    arrays = {f"asked_{place}": values for place, values in enumerate(given.values())}
    arrays |= {f"answered_{place}": values for place, values in enumerate(told)}
    np.savez(os.path.join(folder, "answers.npz"), **arrays)
    return {"inputs": list(given), "outputs": len(told), "quantised": quantised, "steps": bytes_of}


def _check_operators(folder: str, name: str, request: dict[str, Any]) -> None:
    """Refuse a SavedModel whose graphs do more than compute, before it is loaded."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry

    document = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
            document.ParseFromString(file.read())
    except Exception:
        raise Problem("refused", f"{name}: saved_model.pb is damaged or cut off") from None
    for meta in document.meta_graphs:
        functions = {function.signature.name for function in meta.graph_def.library.function}
        nodes = list(meta.graph_def.node)
        for function in meta.graph_def.library.function:
            nodes += function.node_def
        for node in nodes:
            known = node.op in functions or op_def_registry.get(node.op) is not None
            if node.op in NOT_IN_A_NETWORK or not known:
                why = "reads or writes files or runs Python" if node.op in NOT_IN_A_NETWORK else "is not of TensorFlow"
                raise Problem(
                    "refused",
                    f"{name}: node {node.name!r} is {node.op}, which {why}; if you trust this folder, set "
                    f"{request['trust']}={request['stamp'][:16]}",
                )


def _run_converter(arguments: list[str], folder: str, name: str) -> None:
    """tf2onnx's own command line, in this process."""
    import logging

    from tf2onnx import convert

    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(" ".join(record.getMessage().split()))

    ear = Ear(level=logging.ERROR)
    for logger in (logging.getLogger(), logging.getLogger("tf2onnx")):
        logger.addHandler(ear)
    target = os.path.join(folder, "converted.onnx")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    sys.argv = ["tf2onnx", *arguments, "--output", target, "--opset", str(OPSET)]
    convert.main()
    missing = [line for line in heard if "not supported" in line or "Unsupported ops" in line]
    if missing or not os.path.exists(target):
        raise Problem("unsupported", f"{name} has no ONNX form: {(missing or heard or ['no file came out'])[0][:240]}")


def _sides(shape: Any) -> list[int]:
    """A batch of one, and 64 pixels where a side is open."""
    sides = [side if side is not None and side > 0 else 0 for side in shape]
    return [side or (1 if place == 0 else 64) for place, side in enumerate(sides)]


def _noise(shape: list[int], dtype: Any) -> Any:
    import numpy as np

    generator = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.random(shape).astype(kind)
    return generator.integers(0, 100 if kind.itemsize == 1 else 2, shape).astype(kind)


def _ask_saved(tf: Any, folder: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    loaded = tf.saved_model.load(folder)
    if "serving_default" not in loaded.signatures:
        raise Problem("unsupported", f"{name} has no signature serving_default; export it with model.export(folder)")
    signature = loaded.signatures["serving_default"]
    _, keywords = signature.structured_input_signature
    asked = {key: _noise(_sides(spec.shape), spec.dtype.as_numpy_dtype) for key, spec in keywords.items()}
    found = signature(**{key: tf.constant(values) for key, values in asked.items()})
    return asked, {key: values.numpy() for key, values in found.items()}


def _ask_lite(tf: Any, path: str, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Noise, answers, and by name how bytes stand for numbers: (scale, zero); empty where nothing is quantised."""
    import numpy as np

    try:
        runner = tf.lite.Interpreter(model_path=path, experimental_op_resolver_type=_plain_kernels(tf))
        runner.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        raise Problem("refused", f"{name} is no LiteRT model that can be opened: {text}") from None
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    asked = {one["name"]: _noise([int(side) for side in one["shape"]], one["dtype"]) for one in inputs}
    for one in inputs:
        runner.set_tensor(one["index"], asked[one["name"]])
    runner.invoke()
    answered = {one["name"]: runner.get_tensor(one["index"]) for one in outputs}
    quantised = any(one["dtype"] in (np.int8, np.uint8) for one in runner.get_tensor_details())
    return asked, answered, {one["name"]: one["quantization"] for one in (*inputs, *outputs)} if quantised else {}


def _plain_kernels(tf: Any) -> Any:
    return tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def _in_order(
    path: str, asked: dict[str, Any], answered: dict[str, Any], steps: dict[str, Any]
) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """What is asked by names of the graph's inputs, answers in the order of its outputs, and steps of their bytes.

    Bytes become the numbers that they stand for where the graph takes or gives floats; empty where names differ.
    """
    import onnx

    graph = onnx.load(path).graph

    def fitted(values: Any, own: dict[str, Any]) -> list[tuple[str, Any, list[float]]]:
        names = [value.name for value in values]
        if len(names) != len(own) or (len(names) > 1 and set(names) != set(own)):
            return []
        found = []
        for value in values:
            name = value.name if value.name in own else next(iter(own))
            scale, zero = steps.get(name, (0.0, 0))
            if not scale or own[name].dtype.kind not in "iu":
                found.append((value.name, own[name], [0.0, 0]))
            elif value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
                found.append((value.name, ((own[name].astype("float32") - zero) * scale).astype("float32"), [0.0, 0]))
            else:
                found.append((value.name, own[name], [float(scale), int(zero)]))
        return found

    inputs, outputs = fitted(graph.input, asked), fitted(graph.output, answered)
    if not inputs or not outputs:
        return {}, [], []
    return {name: values for name, values, _ in inputs}, [one[1] for one in outputs], [one[2] for one in outputs]


if __name__ == "__main__":
    main()
