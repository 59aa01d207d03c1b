"""What a graph from elsewhere costs, from the sizes that shape inference finds: nothing is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sartor.catalog.models.parts import onnx_graphs
from sartor.jobs import NetworkCost
from sartor.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto

_FP32_BYTES = 4
_VIEWS = frozenset({"Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Cast"})


def cost(network: Network) -> NetworkCost:
    """Cost at batch 1 of the graph that a network's options name (``onnx_graphs.options_of``).

    Operations are counted where sizes are known: convolutions, their transposes, and matrix products.
    """
    import onnx

    model = onnx_graphs.read_graph(onnx_graphs.unchanged_content(network.options), network.variant)
    entry = onnx_graphs.entry_of(model, network.variant)
    sized = onnx_graphs.with_size(model, entry, 1, network.input_size)
    try:
        sized = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except Exception:  # an inconsistent graph: its export says so
        sized = model
    return _counted(network.id, sized)


def _counted(name: str, model: ModelProto) -> NetworkCost:
    graph = model.graph
    sides = {value.name: _sides(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            weights[node.output[0]] = next((list(one.t.dims) for one in node.attribute if one.name == "value"), [1])
    operations = layers = written = 0
    for node in graph.node:
        made = [math.prod(sides[one]) for one in node.output if sides.get(one)]
        if node.op_type not in _VIEWS:
            written += sum(made)
        depth = _depth(node, sides | weights)
        if depth:
            layers += 1
            operations += 2 * depth * (made[0] if made else 0)
    return NetworkCost(
        network=name,
        operations=operations,
        parameters=sum(math.prod(dims) for dims in weights.values()),
        activation_bytes=written * _FP32_BYTES,
        layers=layers,
    )


def _depth(node: Any, sides: Mapping[str, list[int]]) -> int:
    """Products summed up for one value that a node makes; 0 for what multiplies nothing."""
    second = sides.get(node.input[1], []) if len(node.input) > 1 else []
    if node.op_type == "Conv":
        return math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        # every value of the input meets every filter; counted per value made, strides share it out
        step = math.prod(next((one.ints for one in node.attribute if one.name == "strides"), [1]))
        return max(1, second[0] * math.prod(second[2:]) // step) if second else 0
    if node.op_type in ("MatMul", "Gemm"):
        first = sides.get(node.input[0], [])
        turned = any(one.name == "transA" and one.i for one in node.attribute)
        return (first[0] if turned else first[-1]) if first else (second[-2] if len(second) > 1 else 0)
    return 0


def _sides(value: Any) -> list[int]:
    """Sizes, 1 where they are open."""
    return [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
