"""A graph from elsewhere that is asked about pictures: how it wants its pixels, and one file with what follows it.

Which range of pixels and which order of colours a network takes, no file says: fitting tries the usual ones on pictures
of train and keeps what answers best. Needs torch; import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sartor.catalog.models.parts import graph_health, onnx_graphs
from sartor.catalog.models.parts.onnx_graphs import Entry, Exit
from sartor.errors import Unsupported
from sartor.torch_onnx import OPSET, torch_to_onnx
from sartor.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto

    from sartor.catalog.contracts import Array

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, 0..1
_BLUE_FIRST = (2, 1, 0)

RANGES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": (tuple(1 / (255 * std) for std in _STD), tuple(-m / s for m, s in zip(_MEAN, _STD, strict=True))),
    "0..1": ((1 / 255,) * 3, (0.0,) * 3),
    "-1..1": ((1 / 127.5,) * 3, (-1.0,) * 3),
    "0..255": ((1.0,) * 3, (0.0,) * 3),
    "0..255, centred": ((1.0,) * 3, tuple(-255 * mean for mean in _MEAN)),
}
"""Scale and shift per channel from 0..255 to what networks are trained with."""

Judge = Callable[[tuple[Tensor, ...], Tensor], float]


class _StandIn:
    """What the given graph is taken to answer while what follows it is tried or written down."""

    found: tuple[Tensor, ...] | None = None


class GivenGraph(nn.Module):
    """Pictures as a task normalises them, (n, 3, H, W), to a given graph's outputs, float32 with the batch first.

    Args:
        network: its options name the file (``onnx_graphs.options_of``).
        outputs: those that are asked for.
        unbatched: those without an axis for the batch.
    """

    graph: Tensor  # bytes of the file's graph, as far as the outputs need it
    mean: Tensor  # (3,), by which the task normalises …
    std: Tensor  # … undone, as the graph has its own way
    scale: Tensor  # (3,), from 0..255 to what it takes
    shift: Tensor  # (3,)
    order: Tensor  # (3,), of colours

    def __init__(self, network: Network, outputs: Sequence[str], unbatched: Sequence[str] = ()) -> None:
        super().__init__()
        content = onnx_graphs.unchanged_content(network.options)
        self.model_name = network.variant
        model = onnx_graphs.read_graph(content, network.variant)
        self.entry: Entry = onnx_graphs.entry_of(model, network.variant)
        content = onnx_graphs.cut(model, self.entry, outputs).SerializeToString(deterministic=True)
        self.outputs, self.unbatched = tuple(outputs), tuple(unbatched)
        self.running = onnx_graphs.Running(self.entry, outputs, unbatched)
        self.stand_in = _StandIn()
        self.register_buffer("graph", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("shift", torch.zeros(3))
        self.register_buffer("order", torch.arange(3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        if self.stand_in.found is not None:
            return self.stand_in.found
        found = self.running(self.graph, self._pixels(x))
        return tuple(one.to(x.device) for one in found)

    def _pixels(self, x: Tensor) -> Tensor:
        """(n, 3, H, W), or (n, 1, H, W) of grey, in the range and order of colours that the graph takes."""
        pixels = x * self.std[:, None, None] + self.mean[:, None, None]
        asked = (pixels * self.scale[:, None, None] + self.shift[:, None, None])[:, self.order]
        asked = asked.mean(1, keepdim=True) if self.entry.channels == 1 else asked
        return asked.round().clamp(0, 255) if self.entry.whole else asked

    def asked(self, x: Tensor) -> Array:
        """Samples as the graph's input takes them."""
        asked: Array = self.running.array(self._pixels(x))
        return asked

    @contextmanager
    def answering(self, outputs: tuple[Tensor, ...]) -> Iterator[None]:
        """Give these answers, whatever is asked."""
        self.stand_in.found = outputs
        try:
            yield
        finally:
            self.stand_in.found = None

    def denormalise(self, statistics: Mapping[str, Sequence[float]]) -> None:
        """Undo what the task does to pixels."""
        self.mean.copy_(torch.tensor(tuple(statistics["mean"])))
        self.std.copy_(torch.tensor(tuple(statistics["std"])))


# ------------------------------------------------------------------------------------------------------ fitting


def spread(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]], most: int) -> tuple[Tensor, Tensor]:
    """At most so many samples and their truths, evenly over all: samples may lie in the order of their classes."""
    kept: list[tuple[Tensor, Tensor]] = []
    place, step = 0, 1
    for inputs, truths in batches():
        for row in range(len(inputs)):
            if place % step == 0:
                kept.append((inputs[row].clone(), truths[row].clone()))
            place += 1
            if len(kept) == 2 * most:
                kept, step = kept[::2], 2 * step
    chosen = kept[:: -(-len(kept) // most)]
    return torch.stack([sample for sample, _ in chosen]), torch.stack([truth for _, truth in chosen])


def settle(given: GivenGraph, samples: Tensor, truths: Tensor, judge: Judge, few: int = 0) -> float:
    """Keep the range of pixels and the order of colours by which answers are best; returns how good they are.

    Args:
        given: set in place.
        samples: (n, 3, H, W), normalised.
        truths: (n, …).
        judge: outputs and truths to a number, higher is better.
        few: samples on which every range is tried, of which the better half is tried on all; 0 for all at once.

    Raises:
        Unsupported: ``NOT_FINITE``: it answers NaN or infinity; names the node.
    """

    def ask(name: str, order: Sequence[int]) -> None:
        scale, shift = RANGES[name]
        given.scale.copy_(torch.tensor(scale))
        given.shift.copy_(torch.tensor(shift))
        given.order.copy_(torch.tensor(order))

    def tried(name: str, order: Sequence[int], step: int = 1) -> float:
        ask(name, order)
        return judge(given(samples[::step]), truths[::step])

    straight, step = (0, 1, 2), -(-len(samples) // few) if few else 1
    values = {name: tried(name, straight, step) for name in (("0..255",) if given.entry.whole else tuple(RANGES))}
    if step > 1:
        better = sorted(values, key=values.__getitem__, reverse=True)[: -(-len(values) // 2)]
        values = {name: tried(name, straight) for name in better}
    best = max(values, key=values.__getitem__)  # the first of equals
    value = turned = tried(best, _BLUE_FIRST)
    if turned <= values[best]:
        ask(best, straight)
        value = values[best]
    _refuse_broken(given, samples)
    return value


def _refuse_broken(given: GivenGraph, samples: Tensor) -> None:
    """Raise ``Unsupported`` where the graph answers NaN or infinity to a sample, however it is asked best."""
    for place, sample in enumerate(samples):
        outputs = given(sample[None])
        if all(bool((one < torch.inf).all()) for one in outputs):  # false for NaN too; -inf is a logarithm of 0
            continue
        where = graph_health.first_broken(given.graph.numpy().tobytes(), given.entry, given.asked(sample[None])[0])
        raise Unsupported(
            "NOT_FINITE",
            f"{given.model_name} answers NaN or infinity to picture {place} of {len(samples)} of train"
            f"{': ' + where if where else ''}",
        )


# ---------------------------------------------------------------------------------------------------- exporting


def one_graph(shipped: nn.Module, example: Array, exits: Sequence[Exit]) -> ModelProto:
    """A wrapped module whose ``given`` is a :class:`GivenGraph`, as one graph.

    Pixels go into the given graph by one multiplication and one addition; what follows it is written by torch.

    Args:
        shipped: what the task's ``wrap`` gave; ``scale`` and ``shift`` are how it normalises.
        example: a prepared batch.
        exits: of the given graph's outputs that are asked for, to know which sides are open.
    """
    from onnx import TensorProto

    wrapped: Any = shipped
    given: GivenGraph = wrapped.module.given
    model = onnx_graphs.read_graph(given.graph.numpy().tobytes(), given.model_name)
    opset = max(OPSET, onnx_graphs.opset_of(model))  # a newer one is kept
    before, constants = _before(wrapped, given)
    after = _behind(shipped, given, example, exits, opset)
    inputs = [value.name for value in after.graph.input]
    renamed = {name: onnx_graphs.GIVEN.format(place) for place, name in enumerate(inputs)}
    (output,) = after.graph.output
    for node in after.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    read = {name for node in after.graph.node for name in node.input}
    weights = [tensor for tensor in after.graph.initializer if tensor.name in read]
    kind = output.type.tensor_type.elem_type or TensorProto.FLOAT
    sides = [side.dim_value for side in output.type.tensor_type.shape.dim]
    around = onnx_graphs.Around(before, list(after.graph.node), constants, weights, opset)
    return onnx_graphs.joined(model, given.entry, given.outputs, around, example.shape, (*sides, kind), given.unbatched)


def _before(wrapped: Any, given: GivenGraph) -> tuple[list[Any], dict[str, Array]]:
    """Nodes from prepared pictures, uint8 (n, H, W, 3), to what the given graph takes."""
    import numpy as np
    from onnx import TensorProto, helper

    per_channel = {name: getattr(wrapped, name).flatten().double() for name in ("scale", "shift")}
    std, mean = given.std.double(), given.mean.double()
    factor = per_channel["scale"] * std * given.scale
    offset = (per_channel["shift"] * std + mean) * given.scale + given.shift
    nodes: list[Any] = []
    constants: dict[str, Array] = {}

    def step(operator: str, *others: str, **attributes: Any) -> None:
        last = nodes[-1].output[0] if nodes else "input"
        nodes.append(helper.make_node(operator, [last, *others], [f"before_{len(nodes)}"], **attributes))

    grey = given.entry.channels == 1
    as_it_is = (
        given.entry.whole and not grey and bool((factor - 1).abs().max() < 1e-4) and bool(offset.abs().max() < 0.1)
    )
    if not as_it_is:
        constants["pixels/factor"], constants["pixels/offset"] = (
            one.numpy().astype(np.float32) for one in (factor, offset)
        )
        step("Cast", to=TensorProto.FLOAT)
        step("Mul", "pixels/factor")
        step("Add", "pixels/offset")
        if grey:
            constants["pixels/colours"] = np.array([3], np.int64)
            step("ReduceMean", "pixels/colours", keepdims=1)
        if given.entry.whole:
            constants["pixels/black"], constants["pixels/white"] = np.array(0, np.float32), np.array(255, np.float32)
            step("Round")
            step("Clip", "pixels/black", "pixels/white")
            step("Cast", to=TensorProto.UINT8)
    if given.order.tolist() != [0, 1, 2] and not grey:
        constants["pixels/order"] = given.order.numpy().copy()
        step("Gather", "pixels/order", axis=3)
    if not given.entry.channels_last:
        step("Transpose", perm=[0, 3, 1, 2])
    nodes.append(helper.make_node("Identity", [nodes[-1].output[0] if nodes else "input"], [onnx_graphs.TAKEN]))
    return nodes, constants


def _behind(shipped: nn.Module, given: GivenGraph, example: Array, exits: Sequence[Exit], opset: int) -> ModelProto:
    """What follows the given graph: the wrapped module, asked with the graph's answers in place of the graph."""
    blank = torch.from_numpy(example)
    answers: list[tuple[Tensor, ...]] = []
    watch = given.register_forward_hook(lambda module, inputs, outputs: answers.append(outputs))
    with torch.no_grad():
        shipped(blank)
    watch.remove()

    class Behind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shipped = shipped

        def forward(self, *found: Tensor) -> Tensor:
            given.stand_in.found = found
            result: Tensor = self.shipped(blank)
            return result

    open_sides = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, side in enumerate(one.sides) if not side and axis} or None
        for one in exits
    )
    try:
        model: ModelProto = torch_to_onnx(
            Behind().eval(), answers[0], f"what follows {given.model_name}", opset=opset,
            dynamic_shapes={"found": open_sides} if any(open_sides) else None,
        )  # fmt: skip
    finally:
        given.stand_in.found = None
    return model
