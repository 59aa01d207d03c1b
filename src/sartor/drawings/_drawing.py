"""Draws ONNX graphs with random weights, layer by layer; the batch stands in the input's shape alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

OPSET, IR = 20, 10  # what this project exports
MOST_OPERATIONS = 1.2e9  # of a sample: larger graphs teach nothing new and take long
TOKENS = 64  # integer inputs are drawn below this: every table has as many rows


@dataclass(frozen=True)
class Value:
    """A tensor of the graph; ``shape`` is that of one sample."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        size = 1
        for side in self.shape:
            size *= side
        return size


class TooLarge(Exception):  # noqa: N818  a reason to draw another, not an error
    """A drawing needs more operations than a graph may."""


class Drawing:
    """A graph in the making.

    Args:
        chance: draws the weights.
        shape: of one sample of the input.
        integers: the input holds indices (int64), else numbers (fp32).
    """

    def __init__(self, chance: np.random.Generator, shape: Sequence[int], *, integers: bool = False) -> None:
        self._chance = chance
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._integers = integers
        self._operations = 0.0
        self.input = Value("input", tuple(shape))

    # ------------------------------------------------------------------------------------------ convolutions

    def conv(
        self,
        x: Value,
        channels: int,
        kernel: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> Value:
        """Convolution with ``same`` padding of (channels, length) or (channels, height, width)."""
        axes = len(x.shape) - 1
        kernels, strides = _each(kernel, axes), _each(stride, axes)
        pads = [dilation * (size - 1) // 2 for size in kernels]
        ends = [dilation * (size - 1) - pad for size, pad in zip(kernels, pads, strict=True)]
        sides = [-(-side // step) for side, step in zip(x.shape[1:], strides, strict=True)]
        filters = Value("", (channels, x.shape[0] // groups, *kernels))
        self._count(filters.size * Value("", tuple(sides)).size)
        weights = [self._weights(filters.shape), *([self._small((channels,))] if bias else [])]
        return self.node(
            "Conv", [x, *weights], (channels, *sides), kernel_shape=kernels, strides=strides, group=groups,
            dilations=[dilation] * axes, pads=[*pads, *ends],
        )  # fmt: skip

    def block(
        self, x: Value, channels: int, kernel: int | Sequence[int] = 3, act: str = "Relu", **settings: Any
    ) -> Value:
        """Convolution, batch normalisation, activation."""
        return self.act(self.batch_norm(self.conv(x, channels, kernel, **settings)), act)

    def up_conv(self, x: Value, channels: int) -> Value:
        """Transposed 2×2 convolution: twice the height and width."""
        weights = self._weights((x.shape[0], channels, 2, 2))
        shape = (channels, 2 * x.shape[1], 2 * x.shape[2])
        self._count(x.size * channels * 4)
        return self.node("ConvTranspose", [x, weights], shape, kernel_shape=[2, 2], strides=[2, 2])

    def batch_norm(self, x: Value) -> Value:
        """As trained: it folds into the convolution before it, where a runtime folds."""
        import numpy as np

        channels = x.shape[0]
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        given = [self.constant(part) for part in (ones, self._random((channels,), 0.1), zeros, ones)]
        return self.node("BatchNormalization", [x, *given], x.shape)

    def max_pool(self, x: Value, kernel: int = 2) -> Value:
        """Largest of each square (or stretch) of ``kernel``, at a stride of 2."""
        axes, pad = len(x.shape) - 1, (kernel - 1) // 2
        sides = [(side + 2 * pad - kernel) // 2 + 1 for side in x.shape[1:]]
        return self.node(
            "MaxPool", [x], (x.shape[0], *sides), kernel_shape=[kernel] * axes, strides=[2] * axes,
            pads=[pad] * 2 * axes,
        )  # fmt: skip

    def mean_pool(self, x: Value) -> Value:
        """Mean over height and width: (channels,)."""
        pooled = self.node("GlobalAveragePool", [x], (x.shape[0], *[1] * (len(x.shape) - 1)))
        return self.node("Flatten", [pooled], (x.shape[0],), axis=1)

    def upsample(self, x: Value) -> Value:
        """Twice the height and width, by repetition."""
        import numpy as np

        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        shape = (x.shape[0], 2 * x.shape[1], 2 * x.shape[2])
        return self.node(
            "Resize", [x, None, scales], shape, mode="nearest", coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )  # fmt: skip

    def squeeze_excite(self, x: Value, reduced: int) -> Value:
        """Channels weighed by a small network of their means."""
        means = self.node("GlobalAveragePool", [x], (x.shape[0], 1, 1))
        hidden = self.act(self.conv(means, reduced, 1, bias=True), "Relu")
        gates = self.act(self.conv(hidden, x.shape[0], 1, bias=True), "Sigmoid")
        return self.node("Mul", [x, gates], x.shape)

    # ------------------------------------------------------------------------------------------ matrix products

    def dense(self, x: Value, width: int, act: str = "") -> Value:
        """Product with a weight matrix over the last axis, bias, activation."""
        weights, bias = self._weights((x.shape[-1], width)), self._small((width,))
        shape = (*x.shape[:-1], width)
        self._count(x.size * width)
        if len(x.shape) == 1:
            product = self.node("Gemm", [x, weights, bias], shape)
        else:
            product = self.node("Add", [self.node("MatMul", [x, weights], shape), bias], shape)
        return self.act(product, act)

    def layer_norm(self, x: Value) -> Value:
        """Over the last axis."""
        import numpy as np

        scale, shift = self.constant(np.ones(x.shape[-1], np.float32)), self._small((x.shape[-1],))
        return self.node("LayerNormalization", [x, scale, shift], x.shape, axis=-1, epsilon=1e-5)

    def attention(self, x: Value, heads: int) -> Value:
        """Self-attention of a sequence (length, width)."""
        import numpy as np

        length, width = x.shape
        size = width // heads
        query, key, value = (self._heads(self.dense(x, width), heads) for _ in range(3))
        turned = self.node("Transpose", [key], (heads, size, length), perm=[0, 1, 3, 2])
        self._count(2 * x.size * length)
        scores = self.node("MatMul", [query, turned], (heads, length, length))
        scaled = self.node("Mul", [scores, self.constant(np.float32(size**-0.5))], scores.shape)
        shares = self.node("Softmax", [scaled], scores.shape, axis=-1)
        mixed = self.node("MatMul", [shares, value], (heads, length, size))
        back = self.node("Transpose", [mixed], (length, heads, size), perm=[0, 2, 1, 3])
        return self.dense(self.reshape(back, (length, width)), width)

    def _heads(self, x: Value, heads: int) -> Value:
        length, width = x.shape
        split = self.reshape(x, (length, heads, width // heads))
        return self.node("Transpose", [split], (heads, length, width // heads), perm=[0, 2, 1, 3])

    # ------------------------------------------------------------------------------------------ sequences, tables

    def recurrence(self, x: Value, kind: str, hidden: int, *, both_ways: bool = False) -> Value:
        """LSTM or GRU over a sequence (length, width): (length, directions × hidden)."""
        length, width = x.shape
        ways, gates = 2 if both_ways else 1, 4 if kind == "LSTM" else 3
        weights = [self._weights((ways, gates * hidden, width)), self._weights((ways, gates * hidden, hidden))]
        bias = self._small((ways, 2 * gates * hidden))
        self._count(length * ways * gates * hidden * (width + hidden))
        turned = self.node("Transpose", [x], (length, width), perm=[1, 0, 2])
        settings: dict[str, Any] = {"linear_before_reset": 1} if kind == "GRU" else {}
        direction = "bidirectional" if both_ways else "forward"
        out = self.node(
            kind, [turned, *weights, bias], (length, ways, hidden), hidden_size=hidden, direction=direction, **settings
        )  # (length, ways, batch, hidden)
        back = self.node("Transpose", [out], (length, ways, hidden), perm=[2, 0, 1, 3])
        return self.reshape(back, (length, ways * hidden))

    def embed(self, x: Value, rows: int, width: int) -> Value:
        """Rows of a table, one per index."""
        return self.node("Gather", [self._weights((max(rows, TOKENS), width)), x], (*x.shape, width), axis=0)

    def mean_over(self, x: Value, axis: int) -> Value:
        """Mean over an axis of a sample, which goes."""
        import numpy as np

        shape = tuple(side for place, side in enumerate(x.shape) if place != axis)
        return self.node("ReduceMean", [x, self.constant(np.array([axis + 1], np.int64))], shape, keepdims=0)

    def last(self, x: Value) -> Value:
        """The last row of a sequence."""
        import numpy as np

        return self.node("Gather", [x, self.constant(np.int64(x.shape[0] - 1))], x.shape[1:], axis=1)

    # ------------------------------------------------------------------------------------------ anything

    def act(self, x: Value, kind: str) -> Value:
        """An activation by the operator's name; ``Relu6`` and nothing are understood too."""
        import numpy as np

        if not kind:
            return x
        if kind == "Relu6":
            return self.node("Clip", [x, self.constant(np.float32(0)), self.constant(np.float32(6))], x.shape)
        if kind == "Silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x], x.shape)], x.shape)
        return self.node(kind, [x], x.shape)

    def add(self, x: Value, y: Value) -> Value:
        """Sum of two values."""
        return self.node("Add", [x, y], x.shape)

    def shifted(self, x: Value) -> Value:
        """Plus a constant of a sample's shape, as positions are added."""
        return self.add(x, self._small((1, *x.shape)))

    def concat(self, parts: Sequence[Value], axis: int = 0) -> Value:
        """Side by side along an axis of a sample."""
        first = parts[0].shape
        whole = sum(part.shape[axis] for part in parts)
        return self.node("Concat", list(parts), (*first[:axis], whole, *first[axis + 1 :]), axis=axis + 1)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """Another shape of a sample."""
        import numpy as np

        return self.node("Reshape", [x, self.constant(np.array([-1, *shape], np.int64))], tuple(shape))

    def transpose(self, x: Value, *order: int) -> Value:
        """Axes of a sample in another order."""
        perm = [0, *(place + 1 for place in order)]
        return self.node("Transpose", [x], tuple(x.shape[place] for place in order), perm=perm)

    def node(
        self, operator: str, inputs: Sequence[Value | None], shape: Sequence[int], *, domain: str = "", **settings: Any
    ) -> Value:
        """Any operator with one output."""
        from onnx import helper

        name = f"v{len(self._nodes)}"
        given = ["" if part is None else part.name for part in inputs]
        self._nodes.append(helper.make_node(operator, given, [name], name=f"n{name}", domain=domain, **settings))
        return Value(name, tuple(shape))

    def constant(self, value: Any) -> Value:
        """A tensor of fixed numbers."""
        import numpy as np
        from onnx import numpy_helper

        array = np.asarray(value)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return Value(name, array.shape)

    def _count(self, products: float) -> None:
        self._operations += 2 * products
        if self._operations > MOST_OPERATIONS:
            raise TooLarge

    def _random(self, shape: Sequence[int], scale: float) -> Array:
        import numpy as np

        return (self._chance.standard_normal(tuple(shape), dtype=np.float32) * scale).astype(np.float32)

    def _weights(self, shape: Sequence[int]) -> Value:
        fan_in = 1
        for side in shape[1:] if len(shape) > 2 else shape[:1]:
            fan_in *= side
        return self.constant(self._random(shape, (2.0 / fan_in) ** 0.5))

    def _small(self, shape: Sequence[int]) -> Value:
        return self.constant(self._random(shape, 0.05))

    def model(self, output: Value) -> Any:
        """The finished ModelProto, at batch 1."""
        from onnx import TensorProto, helper

        kind = TensorProto.INT64 if self._integers else TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "drawn",
            [helper.make_tensor_value_info("input", kind, [1, *self.input.shape])],
            [helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None] * (1 + len(output.shape)))],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR)


def _each(value: int | Sequence[int], axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else list(value)
