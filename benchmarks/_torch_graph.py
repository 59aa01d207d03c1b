"""An ONNX graph in PyTorch eager: its operators called one after the other, as a module's ``forward`` would.

Run as ``python -m _torch_graph FOLDER`` it is the process that times them, like
``sartor.stages.measure.graph_child`` for the runtimes of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from sartor.errors import Unsupported
from sartor.stages.measure.child import Say, answer
from sartor.stages.measure.graph_child import time_each

Step = tuple[Callable[..., Any], tuple[str, ...], str]


class Graph(torch.nn.Module):
    """The operators of an ONNX model in order; weights are in memory as torch wants them.

    Raises:
        Unsupported: ``NO_OPERATOR``: there is one that is not known here.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        from onnx import numpy_helper

        graph = model.graph
        arrays = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
        self.fixed = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.given, self.wanted = graph.input[0].name, graph.output[0].name
        self.steps: list[Step] = []
        for node in graph.node:
            maker = OPERATORS.get(node.op_type)
            if maker is None:
                raise Unsupported("NO_OPERATOR", f"{node.op_type} has no eager form here")
            settings = _attributes(node)
            call, used = maker(settings, [self.fixed.get(name) for name in node.input], list(node.input))
            self.steps.append((call, tuple(used), node.output[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One batch."""
        values = dict(self.fixed)
        values[self.given] = x
        for call, used, name in self.steps:
            values[name] = call(*[values[one] for one in used])
        return values[self.wanted]


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


Made = tuple[Callable[..., Any], list[str]]


def _plain(call: Callable[..., Any]) -> Callable[..., Made]:
    return lambda settings, fixed, names: (call, names)


def _conv(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    axes = fixed[1].dim() - 2
    pads = list(settings.get("pads", [0] * 2 * axes))
    begins, ends = pads[:axes], pads[axes:]
    call = (F.conv1d, F.conv2d)[axes - 1]
    rest = {
        "stride": tuple(settings.get("strides", [1] * axes)),
        "dilation": tuple(settings.get("dilations", [1] * axes)),
        "groups": settings.get("group", 1),
    }
    if begins == ends:
        return (lambda *given: call(*given, padding=tuple(begins), **rest)), names
    uneven = [side for begin, end in zip(reversed(begins), reversed(ends), strict=True) for side in (begin, end)]
    return (lambda x, *given: call(F.pad(x, uneven), *given, **rest)), names


def _up(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    steps = tuple(settings["strides"])
    return (lambda *given: F.conv_transpose2d(*given, stride=steps)), names


def _pool(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    kernel = tuple(settings["kernel_shape"])
    call = (F.max_pool1d, F.max_pool2d)[len(kernel) - 1]
    pads, steps = tuple(settings.get("pads", (0, 0)))[: len(kernel)], tuple(settings["strides"])
    return (lambda x: call(x, kernel, steps, pads)), names


def _resize(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    factors = [float(one) for one in fixed[2][2:]]
    return (lambda x: F.interpolate(x, scale_factor=factors, mode="nearest")), names[:1]


def _gemm(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    if settings.get("transB", 0):
        return (lambda x, weight, bias=None: F.linear(x, weight, bias)), names
    return (lambda x, weight, bias: torch.addmm(bias, x, weight)), names


def _reshape(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    shape = [int(side) for side in fixed[1]]
    return (lambda x: x.reshape([x.shape[place] if side == 0 else side for place, side in enumerate(shape)])), names[:1]


def _gather(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    axis = settings.get("axis", 0)
    if fixed[1] is not None:
        place = int(fixed[1])
        return (lambda x: x.select(axis, place)), names[:1]
    return (lambda table, rows: F.embedding(rows, table)), names


def _mean(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    axes, kept = [int(one) for one in fixed[1]], bool(settings.get("keepdims", 1))
    return (lambda x: x.mean(axes, keepdim=kept)), names[:1]


def _recurrence(kind: str) -> Callable[..., Made]:
    def make(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
        hidden, ways = settings["hidden_size"], fixed[1].shape[0]
        layer = (torch.nn.LSTM if kind == "LSTM" else torch.nn.GRU)(fixed[1].shape[2], hidden, bidirectional=ways == 2)
        layer.eval().requires_grad_(False)

        def call(x: torch.Tensor) -> torch.Tensor:
            out = layer(x)[0]  # (length, batch, ways × hidden)
            return out.view(out.shape[0], out.shape[1], ways, hidden).transpose(1, 2)

        return call, names[:1]

    return make


def _clip(settings: Mapping[str, Any], fixed: list[Any], names: list[str]) -> Made:
    low, high = float(fixed[1]), float(fixed[2])
    return (F.relu6 if (low, high) == (0.0, 6.0) else lambda x: torch.clamp(x, low, high)), names[:1]


OPERATORS: Mapping[str, Callable[..., Made]] = {
    "Conv": _conv,
    "ConvTranspose": _up,
    "MaxPool": _pool,
    "Resize": _resize,
    "Gemm": _gemm,
    "Reshape": _reshape,
    "Gather": _gather,
    "ReduceMean": _mean,
    "LSTM": _recurrence("LSTM"),
    "GRU": _recurrence("GRU"),
    "Clip": _clip,
    "MatMul": _plain(torch.matmul),
    "Add": _plain(torch.add),
    "Mul": _plain(torch.mul),
    "Relu": _plain(F.relu),
    "Gelu": _plain(F.gelu),
    "Sigmoid": _plain(torch.sigmoid),
    "Tanh": _plain(torch.tanh),
    "HardSwish": _plain(F.hardswish),
    "LeakyRelu": _plain(F.leaky_relu),
    "BatchNormalization": _plain(
        lambda x, scale, shift, mean, variance: F.batch_norm(x, mean, variance, scale, shift, False)
    ),
    "LayerNormalization": _plain(lambda x, scale, shift: F.layer_norm(x, scale.shape, scale, shift)),
    "GlobalAveragePool": _plain(lambda x: F.adaptive_avg_pool2d(x, 1) if x.dim() == 4 else F.adaptive_avg_pool1d(x, 1)),
    "GlobalMaxPool": _plain(lambda x: x.amax(dim=-1, keepdim=True)),
    "Flatten": _plain(lambda x: torch.flatten(x, 1)),
    "Softmax": lambda settings, fixed, names: (lambda x: torch.softmax(x, settings.get("axis", -1)), names),
    "Transpose": lambda settings, fixed, names: (lambda x: x.permute(settings["perm"]), names),
    "Concat": lambda settings, fixed, names: (lambda *parts: torch.cat(parts, settings["axis"]), names),
}
"""ONNX operator to what makes its eager form from its attributes and fixed inputs, and the inputs that form takes."""


def work(folder: Path, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Time every graph of the request in fp32."""
    import onnx

    torch.set_num_threads(request["threads"])
    torch.set_num_interop_threads(1)

    def load(path: Path, precision: str) -> Callable[[Any], object]:
        module = Graph(onnx.load(path)).eval()

        def run(batch: Any) -> object:
            with torch.inference_mode():
                return module(torch.from_numpy(batch)).numpy()

        return run

    return {"timed": time_each(request, load, say)}


if __name__ == "__main__":
    answer(work)
