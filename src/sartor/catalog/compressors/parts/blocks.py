"""Matrices of products in 4 bits, with a scale for each block of inputs of an output."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.graphs import attribute, names_within
from sartor.errors import Unsupported

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

BLOCK = 32  # inputs that share a scale
OPSET = 21  # of the first DequantizeLinear that takes 4 bits and blocks
SMALLEST = 256  # weights of a matrix; below that nodes and scales cost what bits save
STEPS = (7.0, 7.5, 8.0, 8.5, 9.5, 11.0)  # of which the largest weight of a block is tried to be, for the least error


@dataclass(frozen=True)
class Matrix:
    """A matrix that a product multiplies by.

    Args:
        node: name of the product's first output.
        weight: name of the matrix.
        turned: whether it lies as (outputs, inputs) in the file.
    """

    node: str
    weight: str
    turned: bool


def matrices_of(graph: Any) -> list[Matrix]:
    """The matrices of a graph that can be stored in blocks, in its order: large, and taken by one product alone."""
    from onnx import TensorProto

    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    uses = Counter(name for node in graph.node for name in node.input)
    held = {value.name for value in graph.output} | names_within(graph)
    found = []
    for node in graph.node:
        name = node.input[1] if node.op_type in ("MatMul", "Gemm") else ""
        if name not in constants or uses[name] > 1 or name in held or node.input[0] in constants:
            continue
        plain = (attribute(node, "transA", 0), attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)) == (0, 1, 1)
        dims = constants[name].dims
        if plain and len(dims) == 2 and dims[0] * dims[1] >= SMALLEST and min(dims) > 1:
            found.append(Matrix(node.output[0], name, bool(attribute(node, "transB", 0))))
    return found


def in_blocks(values: Array) -> tuple[Array, Array]:
    """A matrix (inputs, outputs) as whole numbers -8 … 7 and scales (blocks, outputs), float32.

    Inputs are filled up with zeros to whole blocks. Of a few scales each block takes that of the least squared error.

    Raises:
        Unsupported: ``NOT_FINITE``.
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise Unsupported("NOT_FINITE", "a weight is infinite or not a number, so it has no scale in 4 bits")
    inputs, outputs = values.shape
    blocks = -(-inputs // BLOCK)
    filled = np.zeros((blocks * BLOCK, outputs), np.float32)
    filled[:inputs] = values
    grouped = filled.reshape(blocks, BLOCK, outputs)
    largest = np.abs(grouped).max(axis=1)
    least = np.full(largest.shape, np.inf, np.float32)
    scales = np.ones(largest.shape, np.float32)
    for steps in STEPS:
        tried = np.where(largest > 0, largest / steps, 1).astype(np.float32)
        error = ((_rounded(grouped, tried) * tried[:, None] - grouped) ** 2).sum(axis=1)
        scales = np.where(error < least, tried, scales)
        least = np.minimum(error, least)
    return _rounded(grouped, scales).astype(np.int8).reshape(blocks * BLOCK, outputs), scales


def _rounded(grouped: Array, scales: Array) -> Array:
    import numpy as np

    found: Array = np.clip(np.rint(grouped / scales[:, None]), -8, 7)
    return found


def store_in_blocks(model: Any, matrices: list[Matrix]) -> None:
    """Store matrices of a model (a ``ModelProto`` of opset 21, changed) in 4 bits.

    Raises:
        Unsupported: ``NOT_FINITE``.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph, wanted = model.graph, {matrix.node: matrix for matrix in matrices}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made: list[Any] = []
    nodes: list[Any] = []
    for node in graph.node:
        matrix = wanted.get(node.output[0])
        if matrix is None:
            nodes.append(node)
            continue
        result, given, name = node.output[0], node.input[0], matrix.weight
        stored = numpy_helper.to_array(constants[name])
        values = stored.T if matrix.turned else stored
        small, scales = in_blocks(values)
        packed = (small.reshape(-1, 2) & 15).astype(np.uint8)  # the first of two in the lower half of a byte
        made.append(
            helper.make_tensor(
                f"{name}_w4", TensorProto.INT4, small.shape, (packed[:, 0] | packed[:, 1] << 4).tobytes(), raw=True
            )
        )
        made.append(numpy_helper.from_array(scales, f"{name}_scale"))
        graph.initializer.remove(constants[name])
        lacking = len(small) - len(values)
        if lacking:
            sizes = {f"{result}_lacking": np.array([0, lacking]), f"{result}_axis": np.array([-1])}
            made += [numpy_helper.from_array(value, called) for called, value in sizes.items()]
            filled = f"{result}_filled"
            lacks, axis = sizes
            nodes.append(helper.make_node("Pad", [given, lacks, "", axis], [filled], name=filled))
            given = filled
        whole, product = f"{name}_whole", result
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}_w4", f"{name}_scale"], [whole], name=whole, axis=0, block_size=BLOCK
            )
        )
        if len(node.input) > 2 and node.input[2]:
            product = f"{result}_product"
            nodes.append(helper.make_node("MatMul", [given, whole], [product], name=product))
            nodes.append(helper.make_node("Add", [product, node.input[2]], [result], name=node.name or result))
        else:
            nodes.append(helper.make_node("MatMul", [given, whole], [result], name=node.name or result))
    copied = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copied)
    graph.initializer.extend(made)
