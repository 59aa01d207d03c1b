"""Graphs from elsewhere as parts of ours: what goes in and out of one, running it in torch, joining it to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.errors import Refused, Unsupported

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_OPSET = 9
TAKEN, GIVEN = "taken", "given"  # names between a graph from elsewhere and what stands around it
_OWN = "own/"  # before all of its own names
LEAST_NUMBERS = 16  # of an embedding; fewer are a guess at an age or a sex


@dataclass(frozen=True)
class Ports:
    """One picture in, one embedding out.

    Args:
        input, output: names in the graph.
        size: (height, width) in pixels; None where any will do.
        channels_last: (n, H, W, 3) instead of (n, 3, H, W).
        dimension: numbers of an embedding.
        single: takes one picture at a time.
    """

    input: str
    output: str
    size: tuple[int, int] | None
    channels_last: bool
    dimension: int
    single: bool


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


def ports_of(model: ModelProto, name: str) -> Ports:
    """Where pictures go in and embeddings come out.

    Raises:
        Refused: it does not take one picture of three channels as floats, or no output is an embedding.
    """
    import onnx

    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < LEAST_OPSET:
        raise Refused(f"{name} is written in opset {opset}; from {LEAST_OPSET} on it can be joined, export it anew")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    shape = _sides(inputs[0]) if len(inputs) == 1 else []
    floats = bool(inputs) and inputs[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    if len(shape) != 4 or not floats or 3 not in (shape[1], shape[3]):
        found = ", ".join(f"{value.name} {_sides(value)}" for value in inputs) or "nothing"
        raise Refused(f"{name} takes {found}; it must take one batch of pictures, float (n, 3, H, W) or (n, H, W, 3)")
    last = shape[1] != 3
    sides = (shape[1], shape[2]) if last else (shape[2], shape[3])
    outputs = [(value.name, _sides(value)) for value in onnx.shape_inference.infer_shapes(model).graph.output]
    rows = {output: sides[1] for output, sides in outputs if len(sides) == 2 and sides[1] >= LEAST_NUMBERS}
    if not rows:
        given = ", ".join(f"{output} {sides}" for output, sides in outputs)
        raise Refused(f"{name} gives {given}; an embedding is (n, d) with a fixed d of at least {LEAST_NUMBERS}")
    output = max(rows, key=lambda one: rows[one])
    size = (sides[0], sides[1]) if min(sides) > 0 else None
    return Ports(inputs[0].name, output, size, last, rows[output], shape[0] == 1)


def _sides(value: Any) -> list[int]:
    """Sizes of a graph's input or output, 0 where they are open."""
    return [side.dim_value if side.HasField("dim_value") else 0 for side in value.type.tensor_type.shape.dim]


class Running:
    """A graph in ONNX Runtime, asked with torch tensors; opened at the first question, once its weights are loaded."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._session: Any = None

    def __call__(self, graph: Any, pixels: Any) -> Any:
        """Pixels (n, 3, H, W) float32 to embeddings (n, d) float32; ``graph`` is a tensor of the file's bytes."""
        import numpy as np
        import torch

        if self._session is None:
            self._session = _opened(graph.numpy().tobytes())
        given = pixels.permute(0, 2, 3, 1) if self._ports.channels_last else pixels
        array = np.ascontiguousarray(given.detach().cpu().numpy(), np.float32)
        parts = [array[place : place + 1] for place in range(len(array))] if self._ports.single else [array]
        rows = [self._session.run([self._ports.output], {self._ports.input: part})[0] for part in parts]
        return torch.from_numpy(np.concatenate(rows)).to(pixels)


def _opened(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise Unsupported("CANNOT_RUN", f"ONNX Runtime does not open the given model: {reason}") from None


def joined(
    model: ModelProto,
    ports: Ports,
    before: Sequence[Any],
    after: Sequence[Any],
    constants: Mapping[str, Any],
    batch: Sequence[int],
) -> ModelProto:
    """A graph from ``input``, uint8, through ``before``, a given graph and ``after`` to ``output``.

    Args:
        model: the given graph.
        ports: its input and output.
        before: nodes from ``input`` to :data:`TAKEN`, what the given graph takes.
        after: nodes from :data:`GIVEN`, what it gives, to ``output``.
        constants: name -> array, for both.
        batch: shape of a prepared batch.

    Raises:
        Unsupported: ``FIXED_BATCH``: the given graph takes one picture at a time, and the batch is larger.
    """
    from onnx import TensorProto, compose, helper, numpy_helper
    from onnx.utils import Extractor

    if ports.single and batch[0] != 1:
        raise Unsupported("FIXED_BATCH", "the given model takes one picture at a time; set target.batch to 1")
    needed = Extractor(model).extract_model([ports.input], [ports.output])  # other outputs do not ship
    inner = compose.add_prefix(needed, _OWN)
    graph = helper.make_graph(
        [
            *before,
            helper.make_node("Identity", [TAKEN], [f"{_OWN}{ports.input}"]),
            *inner.graph.node,
            helper.make_node("Identity", [f"{_OWN}{ports.output}"], [GIVEN]),
            *after,
        ],
        "joined",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, list(batch))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch[0], ports.dimension])],
        [*inner.graph.initializer, *(numpy_helper.from_array(values, name) for name, values in constants.items())],
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
