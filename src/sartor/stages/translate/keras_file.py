"""Looks at a ``.keras`` file before Keras does: layers of Keras alone, no code, no classes from elsewhere."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from sartor.errors import Refused
from sartor.modelfile import MAX_BYTES
from sartor.stages.translate.formats import TRUST

_MODULES = re.compile(
    r"keras(\.(layers|initializers|regularizers|constraints|activations|models|optimizers|optimizers\.schedules|losses|"
    r"metrics|dtype_policies))?|keras\.src\.models\.(functional|sequential)"
)
_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "function"})
_MEMBERS = frozenset({"config.json", "metadata.json", "model.weights.h5"})
_LARGEST_CONFIG = 1 << 26  # bytes


def check_keras(content: bytes, name: str, stamp: str) -> None:
    """Refuse a file that makes Keras run or import anything but its own layers.

    Args:
        content: of the file.
        name: of the file, for messages.
        stamp: the digest by which a user may trust it.

    Raises:
        Refused: it is damaged, holds code, or names classes that are not of Keras.
    """
    for part in _parts(_config(content, name)):
        kind, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
        trust = f"if you trust this file, set {TRUST}={stamp[:16]}"
        if kind in _CODE:
            label = (part.get("config") or {}).get("name") if isinstance(part.get("config"), dict) else None
            raise Refused(f"{name}: layer {label or part.get('name') or kind!r} is a {kind}, which is code; {trust}")
        own = module is None or (isinstance(module, str) and _MODULES.fullmatch(module))
        if str(kind).startswith("__") or (
            own and (registered in (None, kind) or module is not None and not registered)
        ):
            continue
        if own and isinstance(registered, str) and ">" not in registered:
            continue
        raise Refused(
            f"{name} uses {registered or kind!r} of {module or 'elsewhere'!r}, which is not of Keras; {trust}"
        )


def _config(content: bytes, name: str) -> dict[str, Any]:
    """What describes the layers, without how it was trained, which is not read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            other = next((one for one in entries if one not in _MEMBERS and not one.startswith("assets/")), None)
            if other is not None or any(".." in one for one in entries):
                raise Refused(f"{name} holds {other!r}, which Keras does not write into a model")
            if sum(entry.file_size for entry in entries.values()) > MAX_BYTES:
                raise Refused(f"{name} unpacks to more than {MAX_BYTES:,} bytes; that is not loaded")
            if "config.json" not in entries or entries["config.json"].file_size > _LARGEST_CONFIG:
                raise Refused(f"{name} holds no config.json; save the model with Keras 3: model.save('model.keras')")
            found = json.loads(archive.read("config.json"))
    except (
        zipfile.BadZipFile,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        RecursionError,
    ) as error:
        raise Refused(f"{name} is not a model of Keras 3, or it is cut off ({error})") from None
    if not isinstance(found, dict):
        raise Refused(f"{name}: config.json is no JSON object; the file is damaged")
    found.pop("compile_config", None)
    return found


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that names a class."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "class_name" in one:
                yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
