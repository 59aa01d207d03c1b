"""Channels of activations made alike before 8 bits hold them: a loud channel's size goes into the weights behind it.

A tensor has one scale in 8 bits, weights have one per output channel. So where one channel of a tensor is a hundred
times as loud as the others, dividing each by a number of its own, and multiplying the weights that take it, changes no
answer and costs the quiet ones less. The division goes into what makes the tensor: the scale and bias of a
normalisation, the weights and bias of a product, or a multiplication of its own where there is none of these.

Source: Xiao et al. 2022, arXiv:2211.10438, equation 4; through ReLU: Nagel et al. 2019, arXiv:1906.04721.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.graphs import attribute, names_within
from sartor.catalog.compressors.parts.noise import asking
from sartor.catalog.compressors.parts.qdq import CARRIED, WEIGHTED, Reader

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

QUIETEST = 1e-5  # of the loudest channel's size: what counts of one that is silent on the samples
# What gives as many times as much for a channel that is some times as large, and keeps channels where they are.
PASSING = frozenset({"Dropout", "Identity", "LeakyRelu", "Relu"})
POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})


@dataclass(frozen=True)
class Place:
    """A tensor whose channels may be scaled.

    Args:
        tensor: its name.
        takers: names of the nodes that take it: products, or reshapes of rows before products.
        products: names of the nodes that multiply it by constant weights.
        axis: of its channels, from the end.
        makers: names of the nodes that can be made to give it scaled, each with the places of the inputs that are
            divided; empty where only a multiplication of its own can scale it.
    """

    tensor: str
    takers: tuple[str, ...]
    products: tuple[str, ...]
    axis: int
    makers: tuple[tuple[str, tuple[int, ...]], ...]


def places_of(model: Any) -> list[Place]:
    """The tensors of a graph that may be scaled, in its order; every node has a name of its own."""
    graph = _Graph(model)
    ways: dict[str, list[list[Any]]] = defaultdict(list)
    for node in model.graph.node:
        if graph.is_product(node):
            tensor, way = graph.source(node)
            ways[tensor].append(way)
    found = []
    for tensor, taken in ways.items():
        products = {way[-1].name: way[-1] for way in taken}
        axes = {graph.channel_axis(node) for node in products.values()}
        channels = {len(largest_weights(node, graph.values(node.input[1]))) for node in products.values()}
        if len(axes) > 1 or len(channels) > 1 or tensor in graph.constants:
            continue
        within = {node.name for way in taken for node in way}
        if any(graph.goes_elsewhere(node.output[0], within) for way in taken for node in way[:-1]):
            continue  # rows that something else takes too
        axis = axes.pop()
        makers: tuple[tuple[str, tuple[int, ...]], ...] | None = None
        if not graph.goes_elsewhere(tensor, within):
            makers = graph.makers(tensor, axis, channels.pop())
        if makers is None and graph.is_carried(tensor):
            continue  # in 8 bits from its maker on: a multiplication would have it made float in between
        takers = tuple(dict.fromkeys(way[0].name for way in taken))
        found.append(Place(tensor, takers, tuple(products), axis, makers or ()))
    return found


def largest_activations(model: Any, places: Sequence[Place], samples: Array) -> list[Array]:
    """The size of each channel of the tensors at places, (channels,) each, over samples (n, …) of the input."""
    import numpy as np

    names = [place.tensor for place in places]
    given = {name for node in model.graph.node for name in node.output}
    asked = [name for name in names if name in given]
    session = asking(model, asked)
    found: dict[str, Array] = {}
    for batch in Reader(model.graph.input[0], samples):
        answers = dict(zip(asked, session.run(asked, batch), strict=True)) if asked else {}
        for place in places:
            values = np.abs(np.asarray(answers.get(place.tensor, batch.get(place.tensor)), np.float32))
            axis = place.axis + values.ndim
            largest = values.max(axis=tuple(each for each in range(values.ndim) if each != axis))
            found[place.tensor] = np.maximum(found.get(place.tensor, largest), largest)
    return [found[name] for name in names]


def smoothed(model: Any, places: Sequence[Place], largest: Sequence[Array], share: float, *, multiply: bool) -> Any:
    """A copy of a graph (``ModelProto``) that gives the same answers with channels made alike.

    Args:
        model: every node has a name of its own.
        places: of :func:`places_of`.
        largest: the size of their channels.
        share: which part of the loudness goes into weights, 0..1 (the paper's α).
        multiply: put in multiplications at the places without a maker too; else those stay as they are.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    made = type(model)()
    made.CopyFrom(model)
    graph = _Graph(made)
    nodes = {node.name: node for node in made.graph.node}
    for place, loud in zip(places, largest, strict=True):
        if not place.makers and not multiply:
            continue
        products = [nodes[name] for name in place.products]
        heavy = np.max([largest_weights(node, graph.values(node.input[1])) for node in products], axis=0)
        scales = _scales(loud, heavy, share)
        for node in products:
            weights = graph.values(node.input[1])
            graph.put(node, 1, weights * _along_inputs(node, weights, scales))
        for name, inputs in place.makers:
            for number in inputs:
                graph.divide(nodes[name], number, scales, place.axis)
        if not place.makers:
            result, factors = f"{place.tensor}_alike", f"{place.tensor}_by"
            shape = (-1, *(1,) * (-place.axis - 1))
            made.graph.initializer.append(
                numpy_helper.from_array((1 / scales).astype(np.float32).reshape(shape), factors)
            )
            scaling = helper.make_node("Mul", [place.tensor, factors], [result], name=result)
            first = min(number for number, node in enumerate(made.graph.node) if node.name in place.takers)
            made.graph.node.insert(first, scaling)
            nodes = {node.name: node for node in made.graph.node}
            for name in place.takers:
                nodes[name].input[0] = result
    graph.drop_unused()
    return made


def _scales(loud: Array, heavy: Array, share: float) -> Array:
    """By what each channel is divided, (channels,) float64; their logarithms add up to 0."""
    import numpy as np

    sizes = [np.maximum(each, QUIETEST * max(float(each.max()), 1e-30)).astype(np.float64) for each in (loud, heavy)]
    logarithms = share * np.log(sizes[0]) - (1 - share) * np.log(sizes[1])
    scales: Array = np.exp(logarithms - logarithms.mean())
    return scales


def largest_weights(node: Any, weights: Array) -> Array:
    """The size of the weights that each input channel of a product meets, (channels,)."""
    import numpy as np

    sizes: Array = np.abs(weights)
    found: Array
    if node.op_type == "Conv":  # (outputs, inputs / groups, …)
        groups = int(attribute(node, "group", 1))
        sizes = sizes.reshape(groups, len(weights) // groups, weights.shape[1], -1)
        found = sizes.max(axis=(1, 3)).ravel()
        return found
    axis = _input_axis(node)
    found = sizes.max(axis=tuple(each for each in range(weights.ndim) if each != axis))
    return found


def _along_inputs(node: Any, weights: Array, scales: Array) -> Array:
    """Scales of input channels in a shape that multiplies weights."""
    import numpy as np

    ones = (1,) * (weights.ndim - 2)
    if node.op_type == "Conv":
        groups = int(attribute(node, "group", 1))
        rows = np.repeat(scales.reshape(groups, -1), len(weights) // groups, axis=0)
        return rows.reshape(*rows.shape, *ones)
    return scales.reshape(-1, 1, *ones) if _input_axis(node) == 0 else scales.reshape(1, -1, *ones)


def _input_axis(node: Any) -> int:
    return 1 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 0


class _Graph:
    """A graph's nodes and constants by name; writes constants anew where something else takes them too."""

    def __init__(self, model: Any) -> None:
        self._graph = model.graph
        self.constants = {tensor.name: tensor for tensor in self._graph.initializer}
        self._given = {value.name for value in self._graph.output} | names_within(self._graph)
        self.maker = {name: node for node in self._graph.node for name in node.output}
        told = (*self._graph.value_info, *self._graph.input, *self._graph.output)
        self._shapes: dict[str, list[int]] = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in told
        }
        self.takers: dict[str, list[Any]] = defaultdict(list)
        for node in self._graph.node:
            for name in node.input:
                self.takers[name].append(node)

    def values(self, name: str) -> Array:
        from onnx import numpy_helper

        found: Array = numpy_helper.to_array(self.constants[name])
        return found

    def is_product(self, node: Any) -> bool:
        """Whether a node multiplies its first input by constant weights that only it has."""
        if node.op_type not in WEIGHTED or not self._is_float(node.input[1]) or len(self.takers[node.input[1]]) > 1:
            return False
        if node.op_type == "ConvTranspose" and attribute(node, "group", 1) != 1:
            return False
        return len(self.constants[node.input[1]].dims) > 1 and not (
            (node.op_type == "Gemm" and attribute(node, "transA", 0))
            or (node.op_type == "MatMul" and len(self.constants[node.input[1]].dims) != 2)
        )

    def channel_axis(self, node: Any) -> int:
        """Of what a product takes and gives, from the end."""
        return 1 - len(self.constants[node.input[1]].dims) if "Conv" in node.op_type else -1

    def source(self, product: Any) -> tuple[str, list[Any]]:
        """What a product takes, before reshapes that leave each row whole, and the nodes from there to the product."""
        way = [product]
        while self.channel_axis(product) == -1 and self._keeps_rows(self.maker.get(way[0].input[0])):
            way.insert(0, self.maker[way[0].input[0]])
        return way[0].input[0], way

    def _keeps_rows(self, node: Any) -> bool:
        """Whether a node gives the rows along the last axis in another arrangement."""
        if node is None or node.op_type != "Reshape":
            return False
        before, after = self._shapes.get(node.input[0], []), self._shapes.get(node.output[0], [])
        return bool(before and after) and before[-1] == after[-1] > 0

    def goes_elsewhere(self, tensor: str, within: Container[str]) -> bool:
        """Whether more than some nodes take a tensor."""
        return tensor in self._given or any(node.name not in within for node in self.takers[tensor])

    def is_carried(self, tensor: str) -> bool:
        maker = self.maker.get(tensor)
        return maker is not None and maker.op_type in WEIGHTED | CARRIED

    def makers(self, tensor: str, axis: int, channels: int) -> tuple[tuple[str, tuple[int, ...]], ...] | None:
        """The nodes whose constants, divided by channel, give a tensor divided; None where there are none."""
        found: list[tuple[str, tuple[int, ...]]] = []
        while tensor in self.maker and tensor not in self._given:
            node = self.maker[tensor]
            passes = node.op_type in PASSING or (node.op_type in POOLS and axis < -1)
            passes = passes or (axis == -1 and self._keeps_rows(node))
            if passes and len(node.output) == 1:
                tensor = node.input[0]
            elif (side := self._vector(node, axis, channels)) is not None:
                found.append((node.name, (side,)))
                if node.op_type == "Mul":
                    return tuple(found)
                tensor = node.input[1 - side]
            else:
                own = self._own(node, axis, channels)
                return (*found, (node.name, own)) if own else None
            if len(self.takers[tensor]) != 1:
                return None
        return None

    def _vector(self, node: Any, axis: int, channels: int) -> int | None:
        """Which input of an addition or multiplication holds a number per channel.

        One number for all is left: it may be a part of what a runtime knows as one operator (a GELU's half).
        """
        if node.op_type not in ("Add", "Mul"):
            return None
        for side, name in enumerate(node.input):
            dims: Sequence[int] = self.constants[name].dims if self._is_float(name) else ()
            if len(dims) >= -axis and dims[axis] == channels and node.input[1 - side] not in self.constants:
                return side
        return None

    def _own(self, node: Any, axis: int, channels: int) -> tuple[int, ...]:
        """Inputs of a node to divide, so that it gives its channels divided; none where it cannot be made to."""
        rank = self._rank(node.output[0])
        if node.op_type == "LayerNormalization":
            fits = axis == -1 and attribute(node, "axis", -1) in (-1, rank - 1)
        elif node.op_type == "BatchNormalization":
            fits = axis + rank == 1 and len(node.output) == 1
        else:
            fits = self.is_product(node) and self.channel_axis(node) == axis
        inputs = tuple(number for number in (1, 2) if number < len(node.input) and node.input[number])
        known = fits and all(self._is_float(node.input[number]) for number in inputs)
        return inputs if known and self._outputs(node) == channels else ()

    def _rank(self, name: str) -> int:
        """How many axes a tensor has; 0 where it is not told."""
        return len(self._shapes.get(name, []))

    def _outputs(self, node: Any) -> int:
        dims = self.constants[node.input[1]].dims
        return int(dims[_output_axis(node)] if len(dims) > 1 else dims[0])

    def _is_float(self, name: str) -> bool:
        from onnx import TensorProto

        return bool(name in self.constants and self.constants[name].data_type == TensorProto.FLOAT)

    def put(self, node: Any, number: int, values: Array) -> None:
        """Give an input of a node other values (…), and nothing else that takes the same constant."""
        import numpy as np
        from onnx import numpy_helper

        name = node.input[number]
        made = numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        if sum(list(taker.input).count(name) for taker in self._graph.node) == 1 and name not in self._given:
            self.constants[name].CopyFrom(made)
            return
        made.name = f"{name}_of_{node.name}"
        node.input[number] = made.name
        self._graph.initializer.append(made)
        self.constants[made.name] = self._graph.initializer[-1]

    def divide(self, node: Any, number: int, scales: Array, axis: int) -> None:
        """Divide an input of a node by scales (channels,) of what it gives, whose channels lie along an axis."""
        values = self.values(node.input[number])
        if node.op_type in WEIGHTED and number == 1:
            turned = _output_axis(node)
            shape: tuple[int, ...] = tuple(-1 if place == turned else 1 for place in range(values.ndim))
        elif node.op_type in ("Add", "Mul"):
            shape = (-1, *(1,) * (-axis - 1))
        else:
            shape = (-1,)
        self.put(node, number, values / scales.reshape(shape))

    def drop_unused(self) -> None:
        """Remove constants that nothing takes any more."""
        kept = {name for node in self._graph.node for name in node.input} | self._given
        unused = [tensor for tensor in self._graph.initializer if tensor.name not in kept]
        for tensor in unused:
            self._graph.initializer.remove(tensor)


def _output_axis(node: Any) -> int:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return 0
    return 1
