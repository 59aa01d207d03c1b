"""ONNX models whose weights lie in files beside them, as exporters write by default: read into one, nothing outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sartor.errors import Refused
from sartor.modelfile import MAX_BYTES, read_regular
from sartor.stages.translate.formats import is_plain, tensors_of


def with_weights_inside(path: Path) -> Any:
    """The ModelProto of a file, its weights read from the files beside it.

    Raises:
        Refused: a file is missing, lies elsewhere, is a link, or ends before a tensor does.
    """
    import onnx

    model = onnx.load_model_from_string(read_regular(path))
    files: dict[str, bytes] = {}
    total = 0
    for tensor in tensors_of(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        content = _file(path, tensor.name, facts.get("location", ""), files)
        begin = _number(path, tensor.name, facts.get("offset", "0"))
        length = _number(path, tensor.name, facts.get("length", str(max(len(content) - begin, 0))))
        if begin + length > len(content):
            raise Refused(
                f"{path.name}: tensor {tensor.name!r} ends at byte {begin + length:,} of {facts['location']!r}, which "
                f"has {len(content):,}; the file is cut off"
            )
        total += length
        if total > MAX_BYTES:
            raise Refused(f"{path.name} has more than {MAX_BYTES:,} bytes of weights; that is not loaded")
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = content[begin : begin + length]
    return model


def _file(path: Path, tensor: str, location: str, files: dict[str, bytes]) -> bytes:
    if not is_plain(location):
        raise Refused(
            f"{path.name}: tensor {tensor!r} keeps its data in {location!r}, outside the model's folder; only files in "
            "the same folder are read"
        )
    if location not in files:
        place = path.parent / location
        inner = [one for one in place.parents if one != path.parent and one.is_relative_to(path.parent)]
        if any(one.is_symlink() for one in inner):
            raise Refused(f"{path.name}: tensor {tensor!r} keeps its data in {location!r}, behind a symbolic link")
        if not place.exists():
            raise Refused(
                f"{path.name}: tensor {tensor!r} keeps its data in {location!r}, which is missing; put it beside the "
                "model, or save it again with save_as_external_data=False"
            )
        files[location] = read_regular(place)
    return files[location]


def _number(path: Path, tensor: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise Refused(
            f"{path.name}: tensor {tensor!r} says that its data lies at {text[:40]!r}; that is no number of bytes"
        )
    return int(text)
