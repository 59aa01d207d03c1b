"""Static quantisation into pairs of QuantizeLinear and DequantizeLinear: which operators, from which samples."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import Unsupported
from sartor.types import Device, Options

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# What lies between weighted operators and may stay in 8 bits. Softmax, normalisations, GELU and products of two
# activations are left out on purpose: in 8 bits they lose accuracy and gain nothing on the CPUs measured.
CARRIED = frozenset(
    {
        *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu"),
        *("Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
DOT_PRODUCT_SETS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def suiting(device: Device) -> Options:
    """Options of a quantisation that suit a device: what is fast and exact on its instruction sets."""
    sets = frozenset(device.instruction_sets)
    if sets & {"neon", "sve", "dotprod", "i8mm"}:
        return {"activation": "int8"}
    if "avx2" in sets and not sets & DOT_PRODUCT_SETS:
        return {"reduce_range": True}
    return {}


def prepare(source: Path, target: Path) -> Any:
    """Write a graph as quantisation wants it: shapes inferred, constants folded, every node with a name of its own.

    Nodes are chosen by name, and exporters that are not torch's leave names empty: one chosen was all chosen then, the
    decoding of a detector's boxes among them (a CenterNet found nothing any more).

    Returns:
        The ``ModelProto`` written.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shape inference fails on some exported graphs, and static shapes do not need it. It takes a path: a graph
    # in memory comes back with its weights cut out (onnxruntime 1.32).
    quant_pre_process(str(source), target, skip_symbolic_shape=True)
    model = onnx.load(target)
    taken: set[str] = set()
    for place, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}-{place}"
        taken.add(node.name)
    _rename_shapes(model.graph)
    onnx.save(model, target)
    return model


def _rename_shapes(graph: Any) -> None:
    """Give the shapes that ONNX Runtime put into a graph names that it does not make.

    It makes the same names again where it fuses more products of a graph that it had fused some of, and then cannot
    load it ("Attempt to replace the existing tensor", 1.32): a BERT with a multiplication before its attention.
    """
    made = {tensor.name: f"prepared_{tensor.name}" for tensor in graph.initializer if tensor.name.startswith("gemm_")}
    for tensor in graph.initializer:
        tensor.name = made.get(tensor.name, tensor.name)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = made.get(name, name)


def weighted_places(graph: Any) -> list[int]:
    """Places of a graph's weighted nodes, in topological order."""
    return [place for place, node in enumerate(graph.node) if node.op_type in WEIGHTED]


def between(graph: Any, weighted: Sequence[int]) -> list[str]:
    """Names of the nodes to quantise: the weighted ones given, and what carries values from one of them to another.

    Sums that no weighted one takes as they are stay float: behind a mask of -10,000 one scale leaves nothing of an
    attention's logits, and the sums beside a transformer's layers, which norms take, grow from layer to layer.

    Raises:
        Unsupported: ``NOTHING_TO_QUANTISE`` where none is given.
    """
    nodes = list(graph.node)
    if not weighted:
        raise Unsupported("NOTHING_TO_QUANTISE", "the graph has no convolution or matrix product that may be 8-bit")
    places = range(len(nodes))
    after = reached(nodes, places, weighted, forward=True)
    before = reached(nodes, reversed(places), weighted, forward=False)
    taken = reached(nodes, reversed(places), weighted, forward=False, through=CARRIED)
    carried = {place for place in after & before if nodes[place].op_type in CARRIED}
    carried -= {place for place in carried - taken if nodes[place].op_type == "Add"}
    return [nodes[place].name for place in sorted(carried | set(weighted))]


def reached(
    nodes: Sequence[Any],
    order: Iterable[int],
    start: Sequence[int],
    *,
    forward: bool,
    through: Container[str] | None = None,
) -> set[int]:
    """Places of nodes that come after (or before) one of ``start``; a graph's nodes are in topological order.

    ``through``: only past nodes of these operators, where told.
    """
    reached: set[int] = set()
    live: set[str] = set()
    for place in order:
        taken, given = nodes[place].input, nodes[place].output
        if not forward:
            taken, given = given, taken
        touched = any(name in live for name in taken)
        if touched:
            reached.add(place)
        passed = touched and (through is None or nodes[place].op_type in through)
        if passed or place in start:
            live.update(name for name in given if name)
    return reached


class Reader:
    """Hands calibration samples to ONNX Runtime, one batch of the graph's own size at a time."""

    def __init__(self, graph_input: Any, samples: Array) -> None:
        self.name = graph_input.name
        self.batch = max(1, int(graph_input.type.tensor_type.shape.dim[0].dim_value))
        self.samples = samples
        self.batches = -(-len(samples) // self.batch)
        # rounds of at most 16 batches: a percentile keeps every activation of a round in memory
        self.stride = max(size for size in range(1, 17) if self.batches % size == 0)
        self.set_range(0, self.batches)

    def __len__(self) -> int:
        return self.batches

    def set_range(self, start_index: int, end_index: int) -> None:
        """Restrict the next round to some batches, so that only their activations are held in memory."""
        self._rest: Iterator[Mapping[str, Array]] = self._batches(start_index, end_index)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._rest, None)

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> Mapping[str, Array]:
        found = self.get_next()
        if found is None:
            raise StopIteration
        return found

    def _batches(self, first: int, last: int) -> Iterator[Mapping[str, Array]]:
        import numpy as np

        for index in range(first, last):
            # the last batch is filled up from the start, which changes no extreme
            places = np.arange(index * self.batch, (index + 1) * self.batch) % len(self.samples)
            yield {self.name: np.ascontiguousarray(self.samples[places])}
