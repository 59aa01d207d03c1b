"""Whether a graph from elsewhere is sound, and made for what it is asked: its weights, and what its layers give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.models.parts.onnx_graphs import Entry
from sartor.errors import Refused

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto

    Array = np.ndarray[Any, np.dtype[Any]]

_MULTIPLYING_NAMES = (
    "Conv ConvTranspose Gemm MatMul BatchNormalization InstanceNormalization LayerNormalization GroupNormalization "
    "PRelu LSTM GRU RNN"
)
_MULTIPLYING = frozenset(_MULTIPLYING_NAMES.split())
"""Operators whose weights must be finite; elsewhere an infinity may be meant: a mask, a bound."""

_FAR = 1.0  # deviations by which the middle channel's mean is off: half the values lie outside what was trained on
_SPREAD_OUT = 6.0  # times as large or small a variance
_MOST_LAYERS = 3  # of which values are kept: those next to the pixels, where the data itself shows


def check_weights(model: ModelProto, name: str) -> None:
    """Refuse a graph with weights that are no numbers.

    Raises:
        Refused: NaN anywhere, or an infinity in what is multiplied; names the initializer.
    """
    import numpy as np
    from onnx import numpy_helper

    multiplied = {source for node in model.graph.node if node.op_type in _MULTIPLYING for source in node.input}
    tensors = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors += [(node.output[0], one.t) for one in node.attribute if one.name == "value"]
    for label, tensor in tensors:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind != "f":
            continue
        broken = np.isnan(values)
        if label in multiplied:
            broken |= np.isinf(values)
        count = int(broken.sum())
        if count:
            raise Refused(
                f"{name}: initializer {label!r} holds {count:,} values of {values.size:,} that are NaN or infinite; "
                "its training diverged, or the file is damaged"
            )


def first_broken(content: bytes, entry: Entry, sample: Array) -> str:
    """The first node that makes NaN or +infinity of finite values, as a message names it; empty without.

    Args:
        content: of a graph.
        entry: where samples go in.
        sample: (…) without a batch, else as the graph takes it.
    """
    import numpy as np

    model = _loaded(content)
    made = [(node, [one for one in node.output if one]) for node in model.graph.node]
    asked = _inner(model, entry, [sample], [name for _, names in made for name in names])
    for node, names in made if asked else ():
        for name in names:
            found = asked[0][name]
            if found.dtype.kind == "f" and not np.all(found < np.inf):  # false for NaN too
                what = "NaN" if np.isnan(found).any() else "infinity"
                return f"node {node.name or name!r} ({node.op_type}) gives {what}"
    return ""


def distance_from_training(content: bytes, entry: Entry, samples: Array) -> str:
    """A sentence where the first batch normalisations see other values than they were trained on; empty else.

    A normalisation keeps the mean and variance that each channel had on what the network was trained on. On pictures of
    the same kind, and in the same range, the middle channel's mean lies within a fraction of its deviation.

    Args:
        content: of a graph.
        entry: where samples go in.
        samples: (n, …) as the graph takes them.
    """
    import numpy as np
    from onnx import numpy_helper

    model = _loaded(content)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = [
        node
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and len(node.input) == 5 and {*node.input[3:5]} <= weights.keys()
    ][:_MOST_LAYERS]
    seen = _inner(model, entry, samples, [node.input[0] for node in layers]) if layers else []
    worst, sentence = 0.0, ""
    for node in layers if seen else ():
        values = np.concatenate([one[node.input[0]] for one in seen]).astype(np.float64)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        mean, variance = (numpy_helper.to_array(weights[name]).astype(np.float64) for name in node.input[3:5])
        deviation = np.sqrt(variance + 1e-5)
        off = float(np.median(np.abs(values.mean(axes) - mean) / deviation))
        spread = float(np.exp(np.median(np.abs(np.log((values.var(axes) + 1e-5) / (variance + 1e-5))))))
        if max(off / _FAR, spread / _SPREAD_OUT) > max(1.0, worst):
            worst = max(off / _FAR, spread / _SPREAD_OUT)
            sentence = (
                f"layer {node.name or node.output[0]!r} sees other values than it was trained on: half its channels "
                f"lie {off:.1f} deviations or more off, or vary {spread:.1f} times as much or as little; the pictures "
                "are of another kind, or were normalised otherwise"
            )
    return sentence


def _loaded(content: bytes) -> ModelProto:
    import onnx

    model: ModelProto = onnx.load_model_from_string(content)
    return model


def _inner(model: ModelProto, entry: Entry, samples: Iterable[Array], names: Sequence[str]) -> list[dict[str, Array]]:
    """Values inside a graph for each sample, one at a time; empty where a runtime does not give them."""
    import onnx
    import onnxruntime

    names = list(dict.fromkeys(names))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # nodes stay what they are
    try:
        session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
        asked = [session.run(names, {entry.name: sample[None]}) for sample in samples]
    except Exception:  # the runtime's own errors have no common class; there is only less to say then
        return []
    return [dict(zip(names, found, strict=True)) for found in asked]
