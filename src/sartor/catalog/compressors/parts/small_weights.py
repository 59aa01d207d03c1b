"""Weights of an ONNX file as bytes and scales, made floats again where they are taken."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.graphs import attribute, names_within
from sartor.errors import Unsupported

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

PRODUCTS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}
"""Operators whose second input is made 32-bit again when the file is loaded, with the axis of its channels."""

SMALLEST = 256  # values of a tensor; below that nodes and scales cost what bits save
NARROW = 8  # rows of fewer values share scales by column: a scale per row would be as large as what it saves
HALF_ERROR = 1e-3  # relative, that a scale may lose in 16 bits


@dataclass(frozen=True)
class Use:
    """Where a weight goes: the nodes that take rows of it, and those that take it whole."""

    look_ups: tuple[Any, ...]
    products: tuple[Any, ...]


def store_in_bytes(model: Any) -> None:
    """Store the large weights of a model (a ``ModelProto``, changed) in 8 bits, with scales.

    Raises:
        Unsupported: ``NOT_FINITE`` where weights are not.
    """
    rewritten = Rewriting(model.graph)
    for name, use in uses_of(model).items():
        rewritten.store(name, use)
    rewritten.finish()


def uses_of(model: Any) -> dict[str, Use]:
    """The weights worth storing in 8 bits, by name: large tables and matrices that go nowhere else."""
    from onnx import TensorProto

    graph, single = model.graph, _single_numbers(model)
    takers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
    for node in graph.node:
        for place, name in enumerate(node.input):
            takers[name].append((node, place))
    held = {value.name for value in graph.output} | names_within(graph)
    found = {}
    for tensor in graph.initializer:
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16) or tensor.name in held:
            continue
        if len(tensor.dims) < 2 or math.prod(tensor.dims) < SMALLEST:
            continue
        use = _use(tensor, takers, single)
        if use is not None:
            found[tensor.name] = use
    return found


def _use(tensor: Any, takers: Mapping[str, Sequence[tuple[Any, int]]], single: Container[str]) -> Use | None:
    """What takes a weight; None where something does that this way of storing does not know."""
    look_ups, products = [], []
    for node, place in takers[tensor.name]:
        if place == 0 and _looks_up(node, single):
            look_ups.append(node)
        elif (node.op_type in (*PRODUCTS, "Gemm") and place == 1) or _turned(node, takers):
            products.append(node)
        else:
            return None
    return Use(tuple(look_ups), tuple(products)) if look_ups or products else None


def _looks_up(node: Any, single: Container[str]) -> bool:
    """Whether a node takes whole rows along the first axis."""
    if node.op_type == "Gather":
        return bool(attribute(node, "axis", 0) == 0)
    return node.op_type == "GatherND" and attribute(node, "batch_dims", 0) == 0 and node.input[1] in single


def _single_numbers(model: Any) -> frozenset[str]:
    """Indices of GatherND that are one number each, so that rows are taken by them and not their parts."""
    import onnx

    wanted = {node.input[1] for node in model.graph.node if node.op_type == "GatherND"}
    if not wanted:
        return frozenset()
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.input)}
    return frozenset(name for name in wanted if shapes.get(name) and shapes[name][-1].dim_value == 1)


def _turned(node: Any, takers: Mapping[str, Sequence[tuple[Any, int]]]) -> bool:
    """Whether a node turns a matrix for products alone."""
    after = takers[node.output[0]] if node.op_type == "Transpose" else ()
    return bool(after) and all(taker.op_type in ("MatMul", "Gemm") and place == 1 for taker, place in after)


def _axis(values: Array, use: Use) -> int:
    """The axis along which each slice has a scale of its own."""
    if use.look_ups:
        return 0 if values[0].size >= NARROW else values.ndim - 1
    node = use.products[0]
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    if node.op_type == "Transpose":  # the last axis of what comes out of it
        return int(attribute(node, "perm", tuple(reversed(range(values.ndim))))[-1])
    return PRODUCTS[node.op_type] % values.ndim


def quantised(values: Array, axis: int) -> tuple[Array, Array]:
    """Values (…) as int8 and scales, float16 where that is exact enough, of shape 1 but along ``axis``.

    Raises:
        Unsupported: ``NOT_FINITE``.
    """
    import numpy as np

    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise Unsupported("NOT_FINITE", "a weight is infinite or not a number, so it has no scale in 8 bits")
    others = tuple(place for place in range(values.ndim) if place != axis)
    scales = np.abs(values).max(axis=others, keepdims=True) / 127
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    if (np.abs(half.astype(np.float32) - scales) <= HALF_ERROR * scales).all():
        scales = half
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.clip(np.rint(values / divisors), -127, 127).astype(np.int8), scales


class Rewriting:
    """Weights of one graph replaced by bytes and scales; nodes are put in at the end, as protobuf copies them then."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self._first: list[Any] = []
        self._behind: dict[str, list[Any]] = {}  # by what the node before them gives

    def store(self, name: str, use: Use) -> None:
        """Store a weight in 8 bits, and make floats of it where it is taken."""
        from onnx import numpy_helper

        tensor = next(each for each in self.graph.initializer if each.name == name)
        values = numpy_helper.to_array(tensor)
        axis = _axis(values, use)
        small, scales = quantised(values, axis)
        bytes_of, scales_of = f"{name}_w8", f"{name}_scale"
        half = values.dtype.itemsize < 4
        self.graph.initializer.remove(tensor)
        self.graph.initializer.extend(
            [numpy_helper.from_array(small, bytes_of), numpy_helper.from_array(scales, scales_of)]
        )
        for node in use.look_ups:
            result, rows = node.output[0], f"{node.output[0]}_w8"
            by, made = scales_of, []
            if axis == 0:
                by = f"{result}_scale"
                made.append(_copy(node, [scales_of, node.input[1]], by))
            made += _restored(rows, by, self._widened(result) if half else result)
            node.input[0], node.output[0] = bytes_of, rows
            self._behind[rows] = [*made, *(_narrowed(result) if half else ())]
        if use.products:
            whole = f"{name}_whole"
            self._first += _restored(bytes_of, scales_of, f"{whole}_32" if half else whole)
            self._first += _narrowed(whole) if half else ()
            for node in use.products:
                node.input[list(node.input).index(name)] = whole

    def _widened(self, result: str) -> str:
        """The name of a 16-bit value before it is cut to 16 bits; who made 32 of it takes it as it was."""
        from onnx import TensorProto

        for node in self.graph.node:
            if node.op_type == "Cast" and node.input[0] == result and attribute(node, "to", 0) == TensorProto.FLOAT:
                node.input[0] = f"{result}_32"
        return f"{result}_32"

    def finish(self) -> None:
        """Put the new nodes where they belong."""
        nodes = [*self._first]
        for node in self.graph.node:
            nodes += [node, *self._behind.get(node.output[0], ())]
        taken = {name for node in nodes for name in node.input} | {value.name for value in self.graph.output}
        kept = [node for node in nodes if not node.name.endswith(CUT) or node.output[0] in taken]
        copied = [type(node).FromString(node.SerializeToString()) for node in kept]
        del self.graph.node[:]
        self.graph.node.extend(copied)


CUT = "_cut_to_16"


def _copy(node: Any, inputs: Sequence[str], output: str) -> Any:
    """A node that does the same with something else."""
    from onnx import helper

    made = helper.make_node(node.op_type, inputs, [output], name=output)
    made.attribute.extend(node.attribute)
    return made


def _restored(small: str, scales: str, result: str) -> list[Any]:
    """Nodes from bytes and scales to 32-bit floats."""
    from onnx import TensorProto, helper

    names = (f"{result}_bytes", f"{result}_by")
    casts = [
        helper.make_node("Cast", [given], [name], name=name, to=TensorProto.FLOAT)
        for given, name in zip((small, scales), names, strict=True)
    ]
    return [*casts, helper.make_node("Mul", list(names), [result], name=f"{result}_restored")]


def _narrowed(result: str) -> list[Any]:
    """A node from 32-bit floats to the 16 bits that a weight had."""
    from onnx import TensorProto, helper

    return [helper.make_node("Cast", [f"{result}_32"], [result], name=f"{result}{CUT}", to=TensorProto.FLOAT16)]
