"""Graphs from elsewhere as parts of ours: what goes in and out of one, running it, joining it to what is around it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import Refused, Unsupported
from sartor.storage import file_sha256

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_OPSET = 9
TAKEN, GIVEN = "taken", "given_{}"  # names between a graph from elsewhere and what stands around it
_OWN = "own/"  # before all of its own names


@dataclass(frozen=True)
class Entry:
    """Where pictures go in.

    Args:
        name: of the input.
        size: (height, width) in pixels; None where any will do.
        channels_last: (n, H, W, 3) instead of (n, 3, H, W).
        single: takes one picture at a time.
        whole: takes uint8, not floats.
        channels: 3, or 1 for grey.
    """

    name: str
    size: tuple[int, int] | None
    channels_last: bool
    single: bool
    whole: bool
    channels: int = 3


@dataclass(frozen=True)
class Exit:
    """An output: its sides, batch first, 0 where they are open; whether it holds floats."""

    name: str
    sides: tuple[int, ...]
    floats: bool


# ------------------------------------------------------------------------------------------------------- reading


def require_file(family: str, place: Path) -> None:
    """Raise ``Unsupported`` where a family that takes ONNX files is given something else."""
    if place.suffix != ".onnx" or place.is_dir():
        raise Unsupported("OTHER_CHECKPOINT", f"{family} runs a file .onnx; {place} is none")


def options_of(path: Path) -> dict[str, Any]:
    """What names a file in a network's options: where it lies, and its digest."""
    return {"file": str(path.resolve()), "sha256": file_sha256(path)}


def read_content(path: Path) -> bytes:
    """The bytes of a file; raise ``Refused`` where there are none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); give an ONNX file") from None


def unchanged_content(options: Mapping[str, Any]) -> bytes:
    """The bytes of the file that :func:`options_of` named.

    Raises:
        Refused: the file has changed since the run began.
    """
    path = Path(options["file"])
    content = read_content(path)
    if file_sha256(path) != options["sha256"]:
        raise Refused(f"{path} has changed since the run began; start a new run")
    return content


def read_graph(content: bytes, name: str) -> ModelProto:
    """The model of a file; raise ``Refused`` where it is none or keeps its weights elsewhere."""
    import onnx

    try:
        model: ModelProto = onnx.load_model_from_string(content)
    except Exception:  # protobuf's own errors differ by its version and back end
        raise Refused(f"{name} is not an ONNX model, or it is damaged") from None
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise Refused(f"{name} keeps its weights in another file; save it with save_as_external_data=False")
    return model


def opset_of(model: ModelProto) -> int:
    """Version of the standard operators."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def entry_of(model: ModelProto, name: str) -> Entry:
    """Where pictures go in.

    Raises:
        Refused: it does not take one batch of pictures of three channels or of one, or is of an old opset.
    """
    import onnx

    opset = opset_of(model)
    if opset < LEAST_OPSET:
        raise Refused(f"{name} is written in opset {opset}; from {LEAST_OPSET} on it can be joined, export it anew")
    inputs = _inputs(model)
    shape = _sides(inputs[0]) if len(inputs) == 1 else []
    kind = inputs[0].type.tensor_type.elem_type if inputs else 0
    known = kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8)
    channels = 3 if len(shape) == 4 and 3 in (shape[1], shape[3]) else 1
    if len(shape) != 4 or not known or channels not in (shape[1], shape[3]):
        found = ", ".join(f"{value.name} {_sides(value)}" for value in inputs) or "nothing"
        raise Refused(
            f"{name} takes {found}; it must take one batch of pictures, float or uint8, (n, 3, H, W) or (n, H, W, 3), "
            "or with one channel for grey"
        )
    if shape[0] > 1:
        raise Refused(f"{name} takes {shape[0]} pictures at a time; export it with an open batch or a batch of 1")
    last = shape[1] != channels
    sides = (shape[1], shape[2]) if last else (shape[2], shape[3])
    whole = kind == onnx.TensorProto.UINT8
    size = (sides[0], sides[1]) if min(sides) > 0 else None
    return Entry(inputs[0].name, size, last, shape[0] == 1, whole, channels)


def exits_of(model: ModelProto, entry: Entry, size: Sequence[int]) -> list[Exit]:
    """What comes out for one picture of a size."""
    import onnx

    inferred = with_size(model, entry, 1, size)
    declared = {value.name: value for value in model.graph.output}
    for value in inferred.graph.output:
        value.type.tensor_type.ClearField("shape")  # a name for an open side would stand in the way
    try:
        inferred = onnx.shape_inference.infer_shapes(inferred, data_prop=True)
    except Exception:  # an inconsistent graph: the runtime says so in its own words
        inferred = model
    exits = []
    for value in inferred.graph.output:
        told = value if value.type.tensor_type.HasField("shape") else declared[value.name]
        kind = value.type.tensor_type.elem_type
        floats = kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
        exits.append(Exit(value.name, tuple(_sides(told)), floats))
    return exits


def inner_exit(model: ModelProto, entry: Entry, size: Sequence[int], name: str) -> Exit | None:
    """A tensor inside a graph as if it were an output; None where its sizes cannot be told."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    try:
        (found,) = exits_of(copy, entry, size)
    except KeyError:
        return None
    return found


def shown(exits: Sequence[Exit]) -> str:
    """Outputs as a message tells them."""
    return ", ".join(f"{one.name} {[side or '?' for side in one.sides]}" for one in exits) or "nothing"


def with_size(model: ModelProto, entry: Entry, batch: int, size: Sequence[int]) -> ModelProto:
    """A copy that takes exactly so many pictures of exactly this size."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    sides = (batch, *size, entry.channels) if entry.channels_last else (batch, entry.channels, *size)
    given = next(value for value in copy.graph.input if value.name == entry.name)
    for side, wanted in zip(given.type.tensor_type.shape.dim, sides, strict=True):
        side.dim_value = wanted
    return copy


def cut(model: ModelProto, entry: Entry, outputs: Sequence[str]) -> ModelProto:
    """The part of a graph that some of its tensors need, with these as its outputs."""
    import onnx
    from onnx.utils import Extractor

    needed: ModelProto = Extractor(onnx.shape_inference.infer_shapes(model)).extract_model([entry.name], list(outputs))
    return needed


def _inputs(model: ModelProto) -> list[Any]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _sides(value: Any) -> list[int]:
    """Sizes of a graph's input or output, 0 where they are open."""
    return [side.dim_value if side.HasField("dim_value") else 0 for side in value.type.tensor_type.shape.dim]


# ------------------------------------------------------------------------------------------------------- running


class Running:
    """A graph in ONNX Runtime, asked with torch tensors; opened at the first question, once its weights are loaded.

    Args:
        entry: where pictures go in.
        outputs: names of what is asked for.
        unbatched: those of them that have no axis for the batch, of a graph that takes one picture at a time.
    """

    def __init__(self, entry: Entry, outputs: Sequence[str], unbatched: Sequence[str] = ()) -> None:
        self._entry, self._outputs, self._unbatched = entry, list(outputs), frozenset(unbatched)
        self._session: Any = None

    def __call__(self, graph: Any, pixels: Any) -> tuple[Any, ...]:
        """Pixels (n, channels, H, W) to float32 outputs (n, …); ``graph`` is a tensor of the file's bytes.

        Where pictures have different numbers of rows, the shorter ones are filled with zeros.
        """
        import numpy as np
        import torch

        if self._session is None:
            self._session = _opened(graph.numpy().tobytes())
        array = self.array(pixels)
        apart = self._entry.single or bool(self._unbatched)
        parts = [array[place : place + 1] for place in range(len(array))] if apart else [array]
        rows = [self._session.run(self._outputs, {self._entry.name: part}) for part in parts]
        found = []
        for place, name in enumerate(self._outputs):
            pieces = [np.asarray(row[place], np.float32) for row in rows]
            pieces = [piece[None] for piece in pieces] if name in self._unbatched else pieces
            found.append(torch.from_numpy(_stacked(pieces)))
        return tuple(found)

    def array(self, pixels: Any) -> Any:
        """Pixels (n, channels, H, W) as the graph's input takes them."""
        import numpy as np

        given = pixels.permute(0, 2, 3, 1) if self._entry.channels_last else pixels
        return np.ascontiguousarray(given.detach().cpu().numpy(), np.uint8 if self._entry.whole else np.float32)


def _stacked(pieces: Sequence[Any]) -> Any:
    import numpy as np

    longest = max((piece.shape[1] for piece in pieces if piece.ndim > 1), default=0)
    if all(piece.ndim == 1 or piece.shape[1] == longest for piece in pieces):
        return np.concatenate(pieces)
    filled = [
        np.pad(piece, [(0, 0), (0, longest - piece.shape[1]), *([(0, 0)] * (piece.ndim - 2))]) for piece in pieces
    ]
    return np.concatenate(filled)


def _opened(content: bytes) -> Any:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors have no common class
        raise Unsupported("CANNOT_RUN", f"ONNX Runtime does not open the given model: {_reason(str(error))}") from None


def _reason(words: str) -> str:
    """The operator that ONNX Runtime lacks and its node, where it says so; else its own words."""
    found = re.search(r"implementation for (\w+)\((\d+)\) node with name '([^']*)'", words)
    if found:
        return f"node {found[3]!r} ({found[1]} of opset {found[2]}) is not implemented for its types"
    return " ".join(words.split())[:200]


# ------------------------------------------------------------------------------------------------------- joining


@dataclass(frozen=True)
class Around:
    """What stands before and behind a given graph.

    Args:
        before: nodes from ``input`` to :data:`TAKEN`, what the given graph takes.
        after: nodes from :data:`GIVEN` 0, 1 …, what it gives, as floats with the batch first, to ``output``.
        constants: name -> array, for both.
        weights: tensors of further constants.
        opset: of the nodes; the given graph is converted to it. 0 for nodes that suit any.
    """

    before: Sequence[Any]
    after: Sequence[Any]
    constants: Mapping[str, Any]
    weights: Sequence[Any] = ()
    opset: int = 0


def joined(
    model: ModelProto,
    entry: Entry,
    outputs: Sequence[str],
    around: Around,
    batch: Sequence[int],
    result: Sequence[Any],
    unbatched: Sequence[str] = (),
) -> ModelProto:
    """One graph from ``input``, uint8, through a given graph to ``output``.

    Args:
        model: the given graph.
        entry: its input.
        outputs: names of those of its outputs that are read; others do not ship.
        around: what stands before and behind.
        batch: shape of a prepared batch.
        result: shape of the output, and after it the element type.
        unbatched: outputs without an axis for the batch.

    Raises:
        Unsupported: ``FIXED_BATCH``: the given graph takes one picture at a time, and the batch is larger;
            ``OTHER_OPSET``: it cannot be brought to the operators of ours.
    """
    from onnx import TensorProto, compose, helper, numpy_helper

    if (entry.single or unbatched) and batch[0] != 1:
        raise Unsupported("FIXED_BATCH", "the given model takes one picture at a time; set target.batch to 1")
    needed = cut(with_size(model, entry, batch[0], batch[1:3]), entry, outputs)
    if around.opset:
        needed = _converted(needed, around.opset)
    inner = compose.add_prefix(needed, _OWN)
    kinds = {value.name: value.type.tensor_type.elem_type for value in needed.graph.output}
    ends, constants = [], dict(around.constants)
    for place, name in enumerate(outputs):
        last = f"{_OWN}{name}"
        if name in unbatched:
            constants["first_axis"] = _first_axis()
            ends.append(helper.make_node("Unsqueeze", [last, "first_axis"], [f"{last}/batched"]))
            last = f"{last}/batched"
        operator = "Identity" if kinds[name] == TensorProto.FLOAT else "Cast"
        options = {} if operator == "Identity" else {"to": TensorProto.FLOAT}
        ends.append(helper.make_node(operator, [last], [GIVEN.format(place)], **options))
    *sides, kind = result
    graph = helper.make_graph(
        [*around.before, helper.make_node("Identity", [TAKEN], [f"{_OWN}{entry.name}"]), *inner.graph.node, *ends,
         *around.after],
        "joined",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, list(batch))],
        [helper.make_tensor_value_info("output", kind, sides)],
        [*inner.graph.initializer, *around.weights,
         *(numpy_helper.from_array(values, name) for name, values in constants.items())],
    )  # fmt: skip
    imports = list(needed.opset_import)
    return helper.make_model(
        graph, opset_imports=imports, ir_version=max(model.ir_version, helper.find_min_ir_version_for(imports, True))
    )


def _first_axis() -> Any:
    import numpy as np

    return np.array([0], np.int64)


def _converted(model: ModelProto, opset: int) -> ModelProto:
    """A model in the operators of an opset; its answers are compared with the file's own when it is exported."""
    from onnx import version_converter

    if opset_of(model) == opset:
        return model
    try:
        made: ModelProto = version_converter.convert_version(model, opset)
    except Exception as error:  # the converter raises whatever its parts in C++ do
        reason = " ".join(str(error).split())[:160]
        raise Unsupported(
            "OTHER_OPSET",
            f"the given model's opset {opset_of(model)} cannot be brought to {opset} ({reason}); export it anew",
        ) from None
    return made
