"""Graphs of one kind of kernel each, a few in a row: what a calibration learns the kernels' own speeds from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.drawings._drawing import Drawing, Value
from sartor.drawings._pictures import pick

if TYPE_CHECKING:
    import numpy as np


def convolutions(chance: np.random.Generator) -> Any:
    """Dense, grouped, depthwise or 1×1 convolutions of one shape."""
    kind = pick(chance, "dense", "dense", "grouped", "depthwise", "depthwise", "pointwise", "pointwise")
    width, side = pick(chance, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256), pick(chance, 2, 4, 7, 8, 14, 16, 28, 32, 56)
    while width * width * side * side * (9 if kind == "dense" else 1) > 3e8 or width * side * side > 4e5:
        side //= 2
    draw = Drawing(chance, (width, side, side))
    x, kernel = draw.input, 1 if kind == "pointwise" else pick(chance, 3, 3, 5, 7)
    groups = {"grouped": max(2, width // 8), "depthwise": width}.get(kind, 1)
    act, stride = pick(chance, "", "Relu", "Relu", "HardSwish", "Gelu"), pick(chance, 1, 1, 1, 2)
    for number in range(pick(chance, 1, 2, 4)):
        x = draw.block(x, width, kernel, act, groups=groups, stride=stride if number == 0 else 1)
    return draw.model(draw.mean_pool(x))


def products(chance: np.random.Generator) -> Any:
    """Matrix products with weights, of one row or many."""
    rows = pick(chance, 0, 0, 1, 4, 16, 64, 196, 512)
    width = pick(chance, 32, 64, 128, 192, 256, 384, 512, 1024)
    draw = Drawing(chance, (rows, width) if rows else (width,))
    x, act = draw.input, pick(chance, "", "Relu", "Gelu", "Silu")
    for _ in range(pick(chance, 1, 2, 4)):
        x = draw.dense(x, pick(chance, width, width, 2 * width, width // 2), act)
    return draw.model(draw.mean_over(x, 0) if rows else x)


def elementwise(chance: np.random.Generator) -> Any:
    """Chains of what moves memory: sums, activations, normalisations, turns, shares."""
    length, width = pick(chance, 16, 64, 256, 1024), pick(chance, 16, 64, 128, 256, 512)
    draw = Drawing(chance, (length, width))
    x: Value = draw.input
    for _ in range(pick(chance, 2, 4, 8)):
        kind = pick(chance, "norm", "turn", "sum", "Softmax", "Gelu", "Sigmoid", "Tanh", "Relu", "Silu", "join")
        if kind == "norm":
            x = draw.layer_norm(x)
        elif kind == "turn":
            x = draw.transpose(x, 1, 0)
        elif kind == "sum":
            x = draw.add(draw.shifted(x), x)
        elif kind == "join":
            half = x.shape[0] // 2
            parts = [draw.act(x, "Relu"), draw.act(x, "Tanh")]
            x = draw.reshape(draw.concat(parts, 0), (2 * half, 2, x.shape[1]))
            x = draw.mean_over(x, 1)
        else:
            x = draw.act(x, kind)
    return draw.model(draw.mean_over(x, 0))


def maps(chance: np.random.Generator) -> Any:
    """What stands between convolutions: pooling, resizing, joining, sums, normalisations left over."""
    width, side = pick(chance, 8, 16, 32, 64, 128), pick(chance, 8, 16, 32, 64)
    draw = Drawing(chance, (width, side, side))
    x = draw.input
    for _ in range(pick(chance, 2, 3, 5)):
        kind = pick(chance, "pool", "resize", "join", "sum", "norm", "excite", "up")
        if kind == "pool" and x.shape[1] > 2:
            x = draw.max_pool(x, pick(chance, 2, 3))
        elif kind == "resize" and x.size < 3e5:
            x = draw.upsample(x)
        elif kind == "join" and x.size < 3e5:
            x = draw.concat([x, draw.act(x, "Relu")])
        elif kind == "sum":
            x = draw.add(draw.act(x, "Relu"), x)
        elif kind == "excite":
            x = draw.squeeze_excite(x, max(4, x.shape[0] // 4))
        elif kind == "up" and x.size * x.shape[0] < 3e6:
            x = draw.up_conv(x, max(8, x.shape[0] // 2))
        else:
            x = draw.act(draw.batch_norm(x), "Relu")
    return draw.model(draw.mean_pool(x))


def attentions(chance: np.random.Generator) -> Any:
    """Attention alone."""
    width = pick(chance, 32, 64, 128, 256)
    draw = Drawing(chance, (pick(chance, 16, 32, 64, 128, 196, 256), width))
    x = draw.input
    for _ in range(pick(chance, 1, 2)):
        x = draw.attention(x, pick(chance, 2, 4, 8))
    return draw.model(draw.mean_over(x, 0))


def recurrences(chance: np.random.Generator) -> Any:
    """One recurrence."""
    draw = Drawing(chance, (pick(chance, 4, 16, 48, 100), pick(chance, 8, 32, 96, 160)))
    hidden = pick(chance, 16, 24, 48, 80, 128, 224)
    x = draw.recurrence(draw.input, pick(chance, "LSTM", "GRU"), hidden, both_ways=bool(chance.integers(2)))
    return draw.model(draw.last(x))


def look_ups(chance: np.random.Generator) -> Any:
    """Rows of a table and their mean."""
    draw = Drawing(chance, (pick(chance, 8, 32, 128, 512),), integers=True)
    x = draw.embed(draw.input, pick(chance, 100, 4000, 20000), pick(chance, 16, 64, 256))
    return draw.model(draw.mean_over(x, 0))
