"""An ONNX graph as operations with shapes: quantisation pairs taken out, constants known, nothing computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sartor.errors import Unsupported

Shape = tuple[int, ...]
QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
DYNAMIC = 1  # stands for a dimension that a graph leaves open


@dataclass(frozen=True)
class Operation:
    """One node.

    Args:
        kind: the operator's name in ONNX.
        inputs, outputs: names of its tensors; empty where left out.
        given: shapes of the inputs, None where left out.
        made: shape of its first output.
        fixed: which inputs hold constants.
        settings: attributes.
        int8: its products run on bytes.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    given: tuple[Shape | None, ...]
    made: Shape
    fixed: tuple[bool, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    int8: bool = False


def read_operations(model: Any, batch: int | None = None) -> list[Operation]:
    """The operations of a ModelProto in its order, with the shapes that onnx infers.

    A quantise-dequantise pair stands for the float tensor it rounds: operations on both of whose sides there is one
    are marked ``int8``.

    Args:
        model: is not changed.
        batch: in the place of the input's first dimension; as the graph says where None.

    Raises:
        Unsupported: ``NO_SHAPES``: onnx cannot tell the shapes.
    """
    import onnx

    light, sizes = _without_weights(model)
    if batch is not None and light.graph.input[0].type.tensor_type.shape.dim:
        light.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch  # the first is the model's own
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise Unsupported(
            "NO_SHAPES", f"onnx cannot infer the graph's shapes: {' '.join(str(error).split())[:200]}"
        ) from error
    graph = inferred.graph
    shapes: dict[str, Shape] = dict(sizes)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            shapes[value.name] = tuple(side.dim_value or DYNAMIC for side in value.type.tensor_type.shape.dim)
    return _linked(graph, shapes, set(sizes))


def _without_weights(model: Any) -> tuple[Any, dict[str, Shape]]:
    """A copy whose large constants have become inputs, which is quick to infer; and the shapes of all constants."""
    import onnx

    light = onnx.ModelProto()
    light.ir_version = model.ir_version
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph = light.graph
    graph.name = "light"
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    sizes: dict[str, Shape] = {}
    for tensor in model.graph.initializer:
        sizes[tensor.name] = tuple(tensor.dims)
        if math.prod(tensor.dims) <= 64:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            sizes[node.output[0]] = tuple(node.attribute[0].t.dims)
        graph.node.append(node)
    return light, sizes


def _linked(graph: Any, shapes: Mapping[str, Shape], constants: set[str]) -> list[Operation]:
    from onnx import helper

    rounded, fixed = _rounded(graph, constants)
    operations = []
    for node in graph.node:
        if node.op_type in (QUANTISE, DEQUANTISE, "Constant"):
            continue
        inputs = tuple(rounded.get(name, name) for name in node.input)
        outputs = tuple(node.output)
        both = any(name in rounded for name in node.input) and node.op_type in PRODUCTS
        settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        operations.append(
            Operation(
                node.op_type,
                inputs,
                outputs,
                tuple(shapes.get(name) if name else None for name in inputs),
                shapes.get(outputs[0], ()),
                tuple(name in fixed for name in inputs),
                {name: value for name, value in settings.items() if isinstance(value, (int, float, str, bytes, list))},
                both and sum(name in rounded for name in node.input[:2]) == 2,
            )
        )
    return operations


PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def _rounded(graph: Any, constants: set[str]) -> tuple[dict[str, str], set[str]]:
    """Dequantised tensor to the float tensor (or the constant) that it rounds; and all constants' names."""
    quantised: dict[str, str] = {}
    rounded: dict[str, str] = {}
    fixed = set(constants) | {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if node.op_type == QUANTISE:
            quantised[node.output[0]] = rounded.get(source, source)
        elif node.op_type == DEQUANTISE:
            rounded[node.output[0]] = quantised.get(source, source)
    return rounded, fixed
