"""Products with weights as two thinner ones: which can be, what their outputs lie in, and the graph that has them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.graphs import attribute
from sartor.catalog.compressors.parts.noise import asking
from sartor.catalog.compressors.parts.qdq import Reader

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

WIDEST = 4096  # outputs of a product: the matrix of their moments is square


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product with constant weights.

    Args:
        output: name of what it gives, which names it.
        weight, bias: names of its constants; ``bias`` is empty where it has none.
        kind: its operator.
        matrix: its weights as (outputs, rest) float64, rest being inputs × kernel.
        turned: whether the weights lie as (rest, outputs) in the file.
    """

    output: str
    weight: str
    bias: str
    kind: str
    matrix: Array
    turned: bool

    def numbers(self, rank: int | None = None) -> int:
        """Weights that it has, as it is or as two products through so many channels."""
        outputs, rest = self.matrix.shape
        return int(outputs * rest if rank is None else rank * (outputs + rest))


@dataclass(frozen=True)
class Space:
    """Where the outputs of a product lie on samples.

    Args:
        basis: orthonormal directions (outputs, outputs), the one with most variance first.
        variance: along each of them, (outputs,).
        mean: (outputs,); zeros of a product that has no bias which could hold it.
        positions: places at which one call computes all its outputs.
    """

    basis: Array
    variance: Array
    mean: Array
    positions: int

    def lost(self, rank: int) -> float:
        """Share of the variance beyond so many directions."""
        return float(self.variance[rank:].sum() / max(float(self.variance.sum()), 1e-30))


def products_of(model: Any) -> list[Product]:
    """The products of a graph that can be made of two, in its order: dense, with weights that nothing else uses."""
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    uses = Counter(name for node in graph.node for name in node.input)
    found = []
    for node in graph.node:
        if len(node.input) < 2 or node.input[1] not in constants or uses[node.input[1]] > 1 or not _is_plain(node):
            continue
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and (bias not in constants or len(constants[bias].dims) != 1):
            continue
        weights = numpy_helper.to_array(constants[node.input[1]]).astype("float64")
        turned = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))
        if node.op_type != "Conv" and weights.ndim != 2:
            continue
        matrix = weights.T if turned else weights.reshape(len(weights), -1)
        if min(matrix.shape) > 1 and len(matrix) <= WIDEST:
            found.append(Product(node.output[0], node.input[1], bias, node.op_type, matrix, turned))
    return found


def _is_plain(node: Any) -> bool:
    """Whether a node multiplies all its inputs by its weights, and does nothing else."""
    if node.op_type == "Conv":
        return bool(attribute(node, "group", 1) == 1)
    if node.op_type == "Gemm":
        factors = (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0))
        return not attribute(node, "transA", 0) and factors == (1.0, 1.0)
    return bool(node.op_type == "MatMul")


def spaces_of(model: Any, products: Sequence[Product], samples: Array) -> list[Space]:
    """Where the outputs of products lie, from samples (n, …) of the graph's input.

    The best ``rank`` directions for outputs are their first principal ones, whatever the inputs are: the same as a
    truncated SVD of the weights whitened by the moments of the inputs, without inverting those.
    """
    import numpy as np

    session = asking(model, [product.output for product in products])
    sums: list[Any] = [0.0] * len(products)
    squares: list[Any] = [0.0] * len(products)
    counts, positions = [0] * len(products), [0] * len(products)
    reader = Reader(model.graph.input[0], samples)
    for batch in reader:
        answers = session.run([product.output for product in products], batch)
        for place, (product, answer) in enumerate(zip(products, answers, strict=True)):
            outputs = len(product.matrix)
            whole = np.moveaxis(answer, 1, -1) if product.kind == "Conv" else answer
            rows = np.ascontiguousarray(whole.reshape(-1, outputs))  # (positions, outputs)
            positions[place] = len(rows)
            counts[place] += len(rows)
            sums[place] = sums[place] + rows.sum(0, dtype=np.float64)
            squares[place] = squares[place] + (rows.T @ rows).astype(np.float64)
    found = []
    for product, total, square, count, each in zip(products, sums, squares, counts, positions, strict=True):
        mean = total / count if product.kind != "MatMul" else np.zeros_like(total)
        variance, basis = np.linalg.eigh(square / count - np.outer(mean, mean))
        found.append(Space(basis[:, ::-1], np.maximum(variance[::-1], 0), mean, each))
    return found


def factored(model: Any, chosen: Mapping[str, tuple[Product, Space, int]]) -> Any:
    """A copy of a graph with products, by the name of their output, made of two through so many channels.

    The channels between are turned so that each carries about as much as any other: in 8 bits they share one scale.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    made = type(model)()
    made.CopyFrom(model)
    graph, constants = made.graph, {tensor.name: tensor for tensor in made.graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        if node.output[0] not in chosen:
            nodes.append(node)
            continue
        product, space, rank = chosen[node.output[0]]
        back = space.basis[:, :rank] @ _turn(rank)  # (outputs, rank)
        thin = back.T @ product.matrix  # (rank, rest)
        bias = numpy_helper.to_array(constants[product.bias]).astype(np.float64) if product.bias else 0.0
        offset = space.mean - back @ (back.T @ (space.mean - bias))
        dims = list(constants[product.weight].dims)
        shapes = [rank, *dims[1:]], [len(back), rank, *[1] * (len(dims) - 2)]
        between, names = f"{product.output}_thin", [f"{product.weight}_in", f"{product.weight}_out"]
        for matrix, shape, name in zip((thin, back), shapes, names, strict=True):
            values = matrix.T if product.turned else matrix.reshape(shape)
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        last = [between, names[1]]
        if product.kind != "MatMul":
            last.append(f"{product.output}_offset")
            graph.initializer.append(numpy_helper.from_array(offset.astype(np.float32), last[2]))
        first = helper.make_node(product.kind, [node.input[0], names[0]], [between], name=between)
        first.attribute.extend(node.attribute)
        second = helper.make_node(product.kind, last, [product.output], name=node.name)
        if product.kind == "Gemm":
            second.attribute.extend(node.attribute)
        nodes += [first, second]
    copied = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copied)
    gone = {product.weight for product, _, _ in chosen.values()}
    kept = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for name in gone | {product.bias for product, _, _ in chosen.values() if product.bias}:
        if name not in kept:
            graph.initializer.remove(constants[name])
    return made


def _turn(size: int) -> Array:
    """An orthogonal matrix whose entries are about alike: the discrete Hartley transform."""
    import numpy as np

    angles = 2 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
    turn: Array = (np.cos(angles) + np.sin(angles)) / np.sqrt(size)
    return turn


def ranks(product: Product, most: float) -> list[int]:
    """Ranks worth trying, largest first, at which it has at most a share of its weights: multiples of 8, or of 4."""
    outputs, rest = product.matrix.shape
    step = 8 if min(outputs, rest) >= 32 else 4
    highest = math.floor(most * outputs * rest / (outputs + rest))
    return list(range(highest - highest % step, 0, -step))
