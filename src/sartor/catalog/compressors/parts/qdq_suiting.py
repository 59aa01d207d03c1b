"""What of QuantizeLinear and DequantizeLinear pairs has to suit ONNX Runtime's kernels; no answer changes by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})
LARGEST = (1 << 31) - 1
MOVING = frozenset({"Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})  # bytes as they are


def store_activations(model: Any, wanted: Literal["uint8", "int8"]) -> None:
    """Store activations with or without a sign, as the device's products want them; their values stay the same.

    A byte with a sign is one without, less 128, and so is its zero point.
    """
    import numpy as np
    from onnx import numpy_helper

    graph, kind = model.graph, np.dtype(wanted)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    stored: dict[str, str] = {}  # zero point -> the same one in the type wanted
    quantised = {node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" and not (node.op_type == "DequantizeLinear" and node.input[0] in quantised):
            continue
        name = node.input[2]
        if name not in stored:
            zero = numpy_helper.to_array(constants[name])
            stored[name] = name
            if zero.dtype != kind:
                moved = zero.astype(np.int16) + (128 if wanted == "uint8" else -128)
                stored[name] = f"{name}_{wanted}"
                graph.initializer.append(numpy_helper.from_array(moved.astype(kind), stored[name]))
        node.input[2] = stored[name]
    del graph.value_info[:]  # it tells the types that were
    taken = {name for node in graph.node for name in node.input}
    for name in stored:
        if name not in taken:
            graph.initializer.remove(constants[name])


def drop_clipping(model: Any) -> None:
    """Drop ReLU where all that takes its result quantises it with zero as the least number, which clips alike.

    Between a product and its quantisation it keeps ONNX Runtime from running the former on bytes.
    """
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def clips(taker: Any) -> bool:
        if taker.op_type != "QuantizeLinear" or taker.input[2] not in constants:
            return False
        zero = numpy_helper.to_array(constants[taker.input[2]])
        return bool((zero == np.iinfo(zero.dtype).min).all())

    given = {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "Relu" and node.output[0] not in given]:
        takers = [taker for taker in graph.node if node.output[0] in taker.input]
        if all(clips(taker) for taker in takers):
            for taker in takers:
                taker.input[0] = node.input[0]
            graph.node.remove(node)


def store_biases(model: Any) -> None:
    """Store biases of quantised products in 32 bits, by the product of both scales: as their sums are.

    ONNX Runtime runs such a product in float where its bias is a float. A bias too large for its scale stays one.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    made = []
    for place, node in enumerate(graph.node):
        if node.op_type not in BIASED or len(node.input) < 3 or node.input[2] not in constants:
            continue
        sides = [_dequantised(name, makers) for name in node.input[:2]]
        scales = [numpy_helper.to_array(constants[side.input[1]]) for side in sides if side is not None]
        if len(scales) < len(sides):
            continue
        stored = _stored(numpy_helper.to_array(constants[node.input[2]]), *scales)
        if stored is None:
            continue
        name = f"bias-{place}"
        parts = [f"{name}-{part}" for part in ("stored", "scale", "zero")]
        graph.initializer.extend(numpy_helper.from_array(*pair) for pair in zip(stored, parts, strict=True))
        made.append(helper.make_node("DequantizeLinear", parts, [name], name=name, axis=0))
        node.input[2] = name
    nodes = [type(node).FromString(node.SerializeToString()) for node in (*made, *graph.node)]  # protobuf copies then
    del graph.node[:]
    graph.node.extend(nodes)
    taken = {name for node in graph.node for name in node.input}
    for name, tensor in constants.items():
        if name not in taken:
            graph.initializer.remove(tensor)


def _dequantised(name: str, makers: Mapping[str, Any]) -> Any:
    """The DequantizeLinear that a value comes from, moved or not; None where it comes from elsewhere."""
    maker = makers.get(name)
    while maker is not None and maker.op_type in MOVING:
        maker = makers.get(maker.input[0])
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _stored(bias: Array, *scales: Array) -> tuple[Array, Array, Array] | None:
    """A bias (n,) as int32, its scale and its zero point, each (n,); None where it does not fit."""
    import numpy as np

    scale = np.prod([each.astype(np.float64) for each in np.broadcast_arrays(*scales)], axis=0)
    if bias.ndim != 1 or scale.size not in (1, bias.size):
        return None
    whole = np.rint(bias.astype(np.float64) / scale)
    if np.abs(whole).max(initial=0) > LARGEST:
        return None
    of_each = np.broadcast_to(scale, bias.shape).astype(np.float32)
    return whole.astype(np.int32), of_each, np.zeros(bias.shape, np.int32)
