"""Families of networks over sounds, texts, rows and items: each draws one at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.drawings._drawing import Drawing, Value
from sartor.drawings._pictures import pick

if TYPE_CHECKING:
    import numpy as np


def keywords(chance: np.random.Generator) -> Any:
    """Depthwise separable convolutions over a spectrogram. Source: Zhang et al. 2017, arXiv:1711.07128."""
    draw = Drawing(chance, (1, pick(chance, 49, 64, 98), pick(chance, 10, 40, 64)))
    width = pick(chance, 16, 32, 64, 96, 172)
    x = draw.block(draw.input, width, (10, 4) if draw.input.shape[2] == 10 else 5, stride=2)
    for _ in range(pick(chance, 2, 4, 5)):
        x = draw.block(draw.block(x, width, 3, groups=width), width, 1)
    return draw.model(draw.dense(draw.mean_pool(x), 12))


def waves(chance: np.random.Generator) -> Any:
    """Dilated convolutions over a signal, residual. Source: Bai et al. 2018, arXiv:1803.01271."""
    draw = Drawing(chance, (pick(chance, 1, 8, 40), pick(chance, 64, 128, 256, 512)))
    width, x = pick(chance, 16, 32, 64, 96), draw.input
    x = draw.block(x, width, pick(chance, 3, 5, 9), stride=pick(chance, 1, 2))
    for number in range(pick(chance, 2, 3, 4)):
        y = draw.batch_norm(draw.conv(draw.block(x, width, 3, dilation=1 << number), width, 3, dilation=1 << number))
        x = draw.act(draw.add(x, y), "Relu")
    return draw.model(draw.dense(draw.mean_pool(x), pick(chance, 5, 35)))


def mlp(chance: np.random.Generator) -> Any:
    """Dense layers over a row."""
    draw = Drawing(chance, (pick(chance, 8, 30, 57, 128, 400, 784),))
    x, act = draw.input, pick(chance, "Relu", "Relu", "Gelu", "Silu", "Tanh")
    for _ in range(pick(chance, 1, 2, 3, 4, 6)):
        x = draw.dense(x, pick(chance, 32, 64, 128, 256, 512, 1024, 2048), act)
    return draw.model(draw.dense(x, pick(chance, 1, 2, 10, 100)))


def lstm(chance: np.random.Generator) -> Any:
    """Long short-term memory over signals or words."""
    return _recurrent(chance, "LSTM")


def gru(chance: np.random.Generator) -> Any:
    """Gated recurrent units over signals or words."""
    return _recurrent(chance, "GRU")


def _recurrent(chance: np.random.Generator, kind: str) -> Any:
    words, length = bool(chance.integers(2)), pick(chance, 8, 16, 32, 64, 128)
    both = bool(chance.integers(2))
    if words:
        draw = Drawing(chance, (length,), integers=True)
        x = draw.embed(draw.input, pick(chance, 2000, 10000), pick(chance, 32, 64, 128))
    else:
        draw = Drawing(chance, (length, pick(chance, 4, 16, 40, 80)))
        x = draw.input
    hidden = pick(chance, 16, 32, 64, 96, 128, 192, 256)
    for _ in range(pick(chance, 1, 1, 2)):
        x = draw.recurrence(x, kind, hidden, both_ways=both)
    top = draw.last(x) if chance.integers(2) else draw.mean_over(x, 0)
    return draw.model(draw.dense(top, pick(chance, 2, 10)))


def vit(chance: np.random.Generator) -> Any:
    """Transformer over patches of a picture. Source: Dosovitskiy et al. 2021, arXiv:2010.11929."""
    side, patch = pick(chance, (32, 4), (32, 8), (64, 8), (96, 8), (96, 16), (128, 16))
    draw = Drawing(chance, (3, side, side))
    width = pick(chance, 48, 64, 96, 128, 192)
    x = draw.conv(draw.input, width, patch, stride=patch, bias=True)
    x = draw.transpose(draw.reshape(x, (width, x.shape[1] * x.shape[2])), 1, 0)
    x = _transformer(draw, chance, draw.shifted(x), pick(chance, 1, 2, 3, 4), first=True)
    return draw.model(draw.dense(draw.mean_over(draw.layer_norm(x), 0), pick(chance, 10, 100)))


def bert(chance: np.random.Generator) -> Any:
    """Transformer over words, normalised after each sum. Source: Devlin et al. 2019, arXiv:1810.04805."""
    draw = Drawing(chance, (pick(chance, 16, 32, 64, 128),), integers=True)
    x = draw.embed(draw.input, pick(chance, 4000, 12000), pick(chance, 64, 128, 192, 256))
    x = _transformer(draw, chance, draw.layer_norm(draw.shifted(x)), pick(chance, 1, 2, 3, 4), first=False)
    return draw.model(draw.dense(draw.dense(draw.mean_over(x, 0), x.shape[1], "Tanh"), 2))


def _transformer(draw: Drawing, chance: np.random.Generator, x: Value, layers: int, *, first: bool) -> Value:
    width, heads, wider = x.shape[1], pick(chance, 2, 4), pick(chance, 2, 4)
    act = pick(chance, "Gelu", "Gelu", "Relu")
    for _ in range(layers):
        if first:
            x = draw.add(x, draw.attention(draw.layer_norm(x), heads))
            x = draw.add(x, draw.dense(draw.dense(draw.layer_norm(x), wider * width, act), width))
        else:
            x = draw.layer_norm(draw.add(x, draw.attention(x, heads)))
            x = draw.layer_norm(draw.add(x, draw.dense(draw.dense(x, wider * width, act), width)))
    return x


def mixer(chance: np.random.Generator) -> Any:
    """Dense layers over patches and channels in turn. Source: Tolstikhin et al. 2021, arXiv:2105.01601."""
    side, patch = pick(chance, (32, 4), (64, 8), (96, 8), (96, 16))
    draw = Drawing(chance, (3, side, side))
    width = pick(chance, 32, 64, 128, 192)
    x = draw.conv(draw.input, width, patch, stride=patch, bias=True)
    places = x.shape[1] * x.shape[2]
    x = draw.transpose(draw.reshape(x, (width, places)), 1, 0)
    for _ in range(pick(chance, 1, 2, 4)):
        turned = draw.transpose(draw.layer_norm(x), 1, 0)
        turned = draw.dense(draw.dense(turned, 2 * places, "Gelu"), places)
        x = draw.add(x, draw.transpose(turned, 1, 0))
        x = draw.add(x, draw.dense(draw.dense(draw.layer_norm(x), 4 * width, "Gelu"), width))
    return draw.model(draw.dense(draw.mean_over(x, 0), 10))


def text_cnn(chance: np.random.Generator) -> Any:
    """Convolutions of several widths over words. Source: Kim 2014, arXiv:1408.5882."""
    draw = Drawing(chance, (pick(chance, 32, 64, 128, 256),), integers=True)
    x = draw.embed(draw.input, pick(chance, 2000, 10000), pick(chance, 32, 64, 128))
    x, width = draw.transpose(x, 1, 0), pick(chance, 32, 64, 128)
    parts = []
    for kernel in (3, 4, 5)[: pick(chance, 1, 3)]:
        found = draw.act(draw.conv(x, width, kernel, bias=True), "Relu")
        best = draw.node("GlobalMaxPool", [found], (width, 1))
        parts.append(draw.node("Flatten", [best], (width,), axis=1))
    return draw.model(draw.dense(draw.concat(parts) if len(parts) > 1 else parts[0], 4))


def items(chance: np.random.Generator) -> Any:
    """A history of items against all items: the sum of its rows, dense layers, a product with the table."""
    draw = Drawing(chance, (pick(chance, 10, 20, 50, 100),), integers=True)
    count, width = pick(chance, 1000, 4000, 16000), pick(chance, 16, 32, 64, 128)
    x = draw.mean_over(draw.embed(draw.input, count, width), 0)
    for _ in range(pick(chance, 0, 1, 2)):
        x = draw.dense(x, width, "Relu")
    return draw.model(draw.dense(x, count))


def trees(chance: np.random.Generator) -> Any:
    """An ensemble of full binary trees over a row. Source: Friedman 2001, doi:10.1214/aos/1013203451."""
    draw = Drawing(chance, (columns := pick(chance, 8, 30, 57),))
    depth, count = pick(chance, 3, 4, 5, 6, 8), pick(chance, 20, 50, 100, 200, 500)
    inner = (1 << depth) - 1
    nodes = (1 << (depth + 1)) - 1
    numbers = list(range(nodes)) * count
    tree = [number for number in range(count) for _ in range(nodes)]
    leaf = [number >= inner for number in numbers]
    values = chance.standard_normal(len(numbers)).astype("float32")
    settings = {
        "nodes_treeids": tree,
        "nodes_nodeids": numbers,
        "nodes_featureids": [int(one) for one in chance.integers(0, columns, len(numbers))],
        "nodes_values": [float(value) for value in values],
        "nodes_modes": ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf],
        "nodes_truenodeids": [0 if is_leaf else 2 * number + 1 for number, is_leaf in zip(numbers, leaf, strict=True)],
        "nodes_falsenodeids": [0 if is_leaf else 2 * number + 2 for number, is_leaf in zip(numbers, leaf, strict=True)],
        "target_treeids": [one for one, is_leaf in zip(tree, leaf, strict=True) if is_leaf],
        "target_nodeids": [one for one, is_leaf in zip(numbers, leaf, strict=True) if is_leaf],
        "target_ids": [0] * ((inner + 1) * count),
        "target_weights": [float(value) for value, is_leaf in zip(values, leaf, strict=True) if is_leaf],
        "n_targets": 1,
    }
    return draw.model(draw.node("TreeEnsembleRegressor", [draw.input], (1,), domain="ai.onnx.ml", **settings))
