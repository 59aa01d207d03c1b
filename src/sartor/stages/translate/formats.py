"""Which model files there are, which of them have to be translated, and why others are not opened."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from sartor.errors import Refused, SartorError
from sartor.jobs import TranslateJob
from sartor.modelfile import MAX_BYTES, read_regular
from sartor.reading.hub import HUB
from sartor.storage import file_sha256

PROGRAM, KERAS, SAVED_MODEL, TFLITE, SCATTERED = "exported program", "keras", "saved model", "tflite", "onnx"
INTERPRETER = "SARTOR_TENSORFLOW"
"""Environment variable with the Python of an environment that has TensorFlow and tf2onnx."""
TRUST = "SARTOR_TRUSTED_MODEL"
"""Environment variable with the digest of the one model whose own code may be run while it is converted."""

_SUFFIXES = {".pt2": PROGRAM, ".keras": KERAS, ".tflite": TFLITE}
_OTHERS = {
    **dict.fromkeys(
        (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib"),
        "{name} is or may be a pickle, which can run anything and is never opened; where it was trained, save the "
        "network by torch.export.save(torch.export.export(network.eval(), (example,)), 'model.pt2') or "
        "torch.onnx.export, or a checkpoint's weights as safetensors",
    ),
    **dict.fromkeys(
        (".h5", ".hdf5"),
        "{name} is Keras's old format, which may hold code; load it where it was made and save it as .keras",
    ),
    ".pb": "{name} is a graph alone; give the folder of the SavedModel that it belongs to",
    ".safetensors": "{name} holds weights without their network; give the folder of the checkpoint, with its "
    "config.json",
}
_LEAST_DIGITS = 12  # of a digest that says which file is trusted


def job_of(address: str) -> TranslateJob | None:
    """How the model that a requirement names is brought into ONNX; None where it is run or read as it is.

    Args:
        address: a path or a hub id, as ``model`` in a requirement.

    Raises:
        Refused: it is of a kind that is not opened.
        SartorError: TensorFlow would be needed, and no environment with it is named.
    """
    path = Path(address)
    if address.startswith(HUB) or not path.exists():
        return None
    kind = _kind(path)
    if not kind:
        return None
    stamp = _stamp(path)
    interpreter = _interpreter(path) if kind in (KERAS, SAVED_MODEL, TFLITE) else ""
    trusted = os.environ.get(TRUST, "").strip().lower()
    return TranslateJob(
        str(path.absolute()), kind, stamp, interpreter, len(trusted) >= _LEAST_DIGITS and stamp.startswith(trusted)
    )


def _kind(path: Path) -> str:
    """The format of what has to be translated; empty for what is not."""
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").exists() else ""
    if path.suffix == ".onnx":
        return SCATTERED if _is_scattered(path) else ""
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    if path.suffix.lower() in _OTHERS:
        raise Refused(_OTHERS[path.suffix.lower()].format(name=path.name))
    raise Refused(
        f"{path.name} is no model file that is known here; give an .onnx, .pt2, .keras or .tflite file, the folder of "
        "a SavedModel, or a checkpoint folder"
    )


def _is_scattered(path: Path) -> bool:
    """Whether an ONNX file keeps weights in other files; False where it cannot be told, whose check says more."""
    import onnx

    try:
        graph = onnx.load_model_from_string(read_regular(path)).graph
    except Exception:  # a link, damaged …: the check of the file says so
        return False
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors_of(graph))


def tensors_of(graph: Any) -> list[Any]:
    """Every tensor of an ONNX graph that may lie in another file."""
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t] if attribute.HasField("t") else []
            found += attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                found += tensors_of(inner)
    return found


def names_beside(path: Path) -> Path:
    """The file with the names of classes that may lie beside a model."""
    return path.with_suffix(".names")


def _stamp(path: Path) -> str:
    """A digest of everything the translation depends on: bytes, files of a folder, names beside it."""
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file() or one.is_symlink())
        link = next((one for one in files if one.is_symlink()), None)
        if link is not None:
            raise Refused(f"{link} is a symbolic link; give the files of the SavedModel themselves")
    else:
        files = [path]
        if path.suffix == ".onnx":
            files += [path.parent / name for name in _elsewhere(path) if (path.parent / name).is_file()]
    if sum(one.stat().st_size for one in files) > MAX_BYTES:
        raise Refused(f"{path.name} has more than {MAX_BYTES:,} bytes; that is not loaded")
    total = hashlib.sha256()
    for one in (*files, *([names_beside(path)] if names_beside(path).is_file() else ())):
        place = one.relative_to(path.parent) if one.is_relative_to(path.parent) else one
        total.update(json.dumps([str(place), file_sha256(one)]).encode())
    return total.hexdigest()


def _elsewhere(path: Path) -> list[str]:
    """Names of the files in which a graph keeps weights, as it gives them."""
    import onnx

    graph = onnx.load_model_from_string(path.read_bytes()).graph
    places = {entry.value for tensor in tensors_of(graph) for entry in tensor.external_data if entry.key == "location"}
    return sorted(place for place in places if is_plain(place))


def is_plain(place: str) -> bool:
    """Whether a name leads to a file in or below the same folder, whatever the machine."""
    parts = place.replace("\\", "/").split("/")
    return bool(place) and "\0" not in place and ":" not in place and not {"", ".."} & set(parts)


def _interpreter(path: Path) -> str:
    """The Python that converts TensorFlow's formats, absolute."""
    named = os.environ.get(INTERPRETER, "").strip()
    if not named:
        raise SartorError(
            f"{path.name} is converted by TensorFlow in an environment of its own; make one: python -m venv tf && "
            f"tf/bin/pip install tensorflow-cpu tf2onnx, then set {INTERPRETER}=tf/bin/python"
        )
    place = Path(named).expanduser().absolute()  # a link of a virtual environment stays one, or it is left
    if not (place.is_file() and os.access(place, os.X_OK)):
        raise SartorError(f"{INTERPRETER} is {named}, which is no Python that can be run; name one, as tf/bin/python")
    return str(place)
