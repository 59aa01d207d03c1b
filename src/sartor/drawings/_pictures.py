"""Families of networks over pictures: each draws one at random, from a generator of random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.drawings._drawing import Drawing, Value

if TYPE_CHECKING:
    import numpy as np


def pick(chance: np.random.Generator, *options: Any) -> Any:
    """One of several, each as likely."""
    return options[int(chance.integers(len(options)))]


def resnet(chance: np.random.Generator) -> Any:
    """Residual network of plain or bottleneck blocks. Source: He et al. 2016, arXiv:1512.03385."""
    draw = Drawing(chance, (3, side := pick(chance, 32, 48, 64, 96, 128, 160), side))
    width, bottleneck = pick(chance, 8, 16, 24, 32, 48, 64), bool(chance.integers(2))
    x = draw.block(draw.input, width, pick(chance, 3, 7), stride=1 if side < 64 else 2)
    if side > 64:
        x = draw.max_pool(x, 3)
    for stage in range(pick(chance, 3, 4)):
        for number in range(pick(chance, 1, 2, 2, 3)):
            stride = 2 if stage and not number else 1
            x = _residual(draw, x, width << stage, stride, groups=1, bottleneck=bottleneck)
    return draw.model(draw.dense(draw.mean_pool(x), pick(chance, 2, 10, 100, 1000)))


def resnext(chance: np.random.Generator) -> Any:
    """The same with grouped convolutions. Source: Xie et al. 2017, arXiv:1611.05431."""
    draw = Drawing(chance, (3, side := pick(chance, 32, 64, 96, 128), side))
    width, groups = pick(chance, 16, 32, 64), pick(chance, 4, 8, 16)
    x = draw.block(draw.input, width, 3, stride=1 if side < 64 else 2)
    for stage in range(pick(chance, 2, 3)):
        for number in range(pick(chance, 1, 2, 3)):
            stride = 2 if stage and not number else 1
            x = _residual(draw, x, width << stage, stride, groups=groups, bottleneck=True)
    return draw.model(draw.dense(draw.mean_pool(x), 10))


def _residual(draw: Drawing, x: Value, width: int, stride: int, *, groups: int, bottleneck: bool) -> Value:
    out = 2 * width if bottleneck else width
    if bottleneck:
        y = draw.block(draw.block(x, width, 1), width, 3, stride=stride, groups=groups)
        y = draw.batch_norm(draw.conv(y, out, 1))
    else:
        y = draw.batch_norm(draw.conv(draw.block(x, width, 3, stride=stride), out, 3))
    if x.shape != y.shape:
        x = draw.batch_norm(draw.conv(x, out, 1, stride=stride))
    return draw.act(draw.add(y, x), "Relu")


def plain(chance: np.random.Generator) -> Any:
    """Convolutions and poolings in a row, a dense head. Source: Simonyan and Zisserman 2015, arXiv:1409.1556."""
    draw = Drawing(chance, (pick(chance, 1, 3), side := pick(chance, 16, 28, 32, 64, 96), side))
    width, act = pick(chance, 8, 16, 20, 32, 48, 64), pick(chance, "Relu", "Relu", "Gelu", "LeakyRelu")
    x = draw.input
    for stage in range(pick(chance, 2, 3, 3)):
        for _ in range(pick(chance, 1, 2, 3)):
            x = draw.block(x, min(width << stage, 256), pick(chance, 3, 3, 5), act)
        x = draw.max_pool(x)
    flat = draw.mean_pool(x) if x.size > 4096 else draw.node("Flatten", [x], (x.size,), axis=1)
    return draw.model(draw.dense(draw.dense(flat, pick(chance, 32, 128, 256), "Relu"), 10))


def mobile(chance: np.random.Generator) -> Any:
    """Inverted residuals. Source: Sandler et al. 2018, arXiv:1801.04381."""
    return _inverted(chance, pick(chance, "Relu6", "Relu", "HardSwish"), excite=False)


def efficient(chance: np.random.Generator) -> Any:
    """Inverted residuals with squeeze and excitation. Source: Tan and Le 2019, arXiv:1905.11946."""
    return _inverted(chance, pick(chance, "Silu", "HardSwish"), excite=True)


def _inverted(chance: np.random.Generator, act: str, *, excite: bool) -> Any:
    draw = Drawing(chance, (3, side := pick(chance, 32, 64, 96, 128, 160, 224), side))
    width, expand = pick(chance, 8, 12, 16, 24), pick(chance, 2, 3, 4, 6)
    x = draw.block(draw.input, width, 3, act, stride=1 if side < 64 else 2)
    for stage in range(pick(chance, 3, 4, 5)):
        out = int(width * (1, 1.5, 2.5, 4, 6)[stage]) // 4 * 4
        for number in range(pick(chance, 1, 2, 3)):
            stride = 2 if stage and not number and x.shape[1] > 4 else 1
            y = draw.block(x, expand * x.shape[0], 1, act)
            y = draw.block(y, y.shape[0], pick(chance, 3, 3, 5), act, stride=stride, groups=y.shape[0])
            if excite:
                y = draw.squeeze_excite(y, max(4, x.shape[0] // 4))
            y = draw.batch_norm(draw.conv(y, out, 1))
            x = draw.add(x, y) if x.shape == y.shape else y
    x = draw.block(x, 4 * x.shape[0], 1, act)
    return draw.model(draw.dense(draw.mean_pool(x), pick(chance, 2, 10, 1000)))


def convnext(chance: np.random.Generator) -> Any:
    """Wide depthwise filters and small dense networks. Source: Liu et al. 2022, arXiv:2201.03545."""
    draw = Drawing(chance, (3, side := pick(chance, 32, 64, 96), side))
    width, patch = pick(chance, 16, 24, 32, 48, 64), 2 if side < 64 else 4
    x = draw.conv(draw.input, width, patch, stride=patch, bias=True)
    for stage in range(pick(chance, 1, 2, 3)):
        if stage:
            x = draw.conv(x, 2 * x.shape[0], 2, stride=2, bias=True)
        for _ in range(pick(chance, 1, 2, 3)):
            y = draw.conv(x, x.shape[0], 7, groups=x.shape[0], bias=True)
            y = draw.layer_norm(draw.transpose(y, 1, 2, 0))
            y = draw.dense(draw.dense(y, 4 * x.shape[0], "Gelu"), x.shape[0])
            x = draw.add(x, draw.transpose(y, 2, 0, 1))
    return draw.model(draw.dense(draw.mean_pool(x), 10))


def densenet(chance: np.random.Generator) -> Any:
    """Layers that see all before them. Source: Huang et al. 2017, arXiv:1608.06993."""
    draw = Drawing(chance, (3, side := pick(chance, 32, 48, 64), side))
    growth, x = pick(chance, 8, 12, 16, 24), draw.block(draw.input, 16, 3, stride=1 if side < 48 else 2)
    for stage in range(pick(chance, 2, 3)):
        if stage:
            x = draw.max_pool(draw.block(x, x.shape[0] // 2, 1))
        for _ in range(pick(chance, 3, 4, 6)):
            y = draw.act(draw.batch_norm(x), "Relu")
            x = draw.concat([x, draw.conv(draw.block(y, 4 * growth, 1), growth, 3)])
    return draw.model(draw.dense(draw.mean_pool(x), 10))


def unet(chance: np.random.Generator) -> Any:
    """Down and up again with bridges: a class per pixel. Source: Ronneberger et al. 2015, arXiv:1505.04597."""
    draw = Drawing(chance, (3, side := pick(chance, 32, 64, 96, 128), side))
    width, repeated = pick(chance, 8, 12, 16, 24), bool(chance.integers(2))
    x, bridges = draw.input, []
    depth = pick(chance, 2, 3)
    for stage in range(depth):
        x = draw.block(draw.block(x, width << stage, 3), width << stage, 3)
        bridges.append(x)
        x = draw.max_pool(x)
    x = draw.block(x, width << depth, 3)
    for bridge in reversed(bridges):
        x = draw.block(draw.upsample(x), bridge.shape[0], 1) if repeated else draw.up_conv(x, bridge.shape[0])
        x = draw.block(draw.concat([x, bridge]), bridge.shape[0], 3)
    return draw.model(draw.conv(x, pick(chance, 2, 12), 1, bias=True))


def detector(chance: np.random.Generator) -> Any:
    """A backbone, a pyramid, and boxes and classes at every place. Source: Lin et al. 2017, arXiv:1708.02002."""
    draw = Drawing(chance, (3, side := pick(chance, 96, 128, 160, 224), side))
    width, light = pick(chance, 8, 16, 24, 32), bool(chance.integers(2))
    x, levels = draw.block(draw.input, width, 3, stride=2), []
    for stage in range(4):
        if light:
            x = draw.block(x, x.shape[0], 3, stride=2, groups=x.shape[0])
            x = draw.block(x, width << stage, 1)
        else:
            x = _residual(draw, x, width << stage, 2, groups=1, bottleneck=False)
        levels.append(x)
    neck, classes = pick(chance, 16, 32, 64), pick(chance, 1, 4, 20)
    above, found = None, []
    for level in reversed(levels[1:]):
        lateral = draw.conv(level, neck, 1, bias=True)
        if above is not None:
            lateral = draw.add(lateral, draw.upsample(above) if 2 * above.shape[1] == lateral.shape[1] else lateral)
        above = lateral
        head = draw.block(draw.block(lateral, neck, 3), neck, 3)
        marks = draw.conv(head, classes + 4, 3, bias=True)
        places = draw.transpose(draw.reshape(marks, (classes + 4, marks.shape[1] * marks.shape[2])), 1, 0)
        found.append(places)
    return draw.model(draw.act(draw.concat(found), "Sigmoid"))
