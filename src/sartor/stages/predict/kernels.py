"""Operations as the kernels that a runtime makes of them: what is fused is counted once, with its shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sartor.jobs import Kernel
from sartor.levels import on_bytes
from sartor.stages.predict.layouts import reorders
from sartor.stages.predict.operations import Operation, Shape, read_operations

FREE = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Shape", "ConstantOfShape"})
LIGHT = frozenset({"Add", "Sub", "Mul", "Relu", "Clip", "LeakyRelu", "Max", "Min", "Neg", "Abs", "Where", "PRelu"})
HEAVY = frozenset(
    {"Sigmoid", "Tanh", "Gelu", "Erf", "Exp", "HardSwish", "HardSigmoid"}
    | {"Div", "Sqrt", "Pow", "Elu", "Log", "Mish", "Softplus"}
)
ELEMENTWISE = LIGHT | HEAVY
MOVING = {
    "Transpose": "turn",
    "Concat": "join",
    "Slice": "move",
    "Split": "move",
    "Expand": "move",
    "Tile": "move",
    "Pad": "move",
    "Cast": "cast",
    "Resize": "resize",
    "Upsample": "resize",
    "DepthToSpace": "move",
    "SpaceToDepth": "move",
}
POOLING = {"MaxPool": "pool", "AveragePool": "pool", "GlobalAveragePool": "pool-whole", "GlobalMaxPool": "pool-whole"}
TABLES = frozenset({"Gather", "GatherElements", "GatherND"})
QUANTISED = frozenset({"conv", "conv-1x1", "conv-depthwise", "conv-grouped", "conv-transposed", "product"})
TREES = frozenset({"TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"})


@dataclass(frozen=True)
class Rules:
    """What a runtime fuses.

    Args:
        folds: batch normalisation into the convolution before it.
        conv: elementwise operations that join the convolution before them.
        product: those that join a matrix product; its bias always does.
        sums: the sum with another value joins a convolution or a product.
        chains: elementwise operations in a row become one kernel.
        blocks: convolutions run on blocks of channels, and tensors are turned into them and back.
        swish: ``x × sigmoid(x)`` becomes one kernel.
        norm: a sum joins the layer normalisation after it.
    """

    folds: bool = True
    conv: frozenset[str] = frozenset()
    product: frozenset[str] = frozenset()
    sums: bool = False
    chains: bool = False
    blocks: bool = False
    swish: bool = False
    norm: bool = False


_ORT_ACTS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"})
RULES: Mapping[str, Rules] = {
    "onnxruntime": Rules(
        conv=_ORT_ACTS, product=frozenset({"Relu", "LeakyRelu", "Sigmoid", "Tanh"}), sums=True, swish=True, norm=True
    ),
    "openvino": Rules(conv=ELEMENTWISE, product=ELEMENTWISE, sums=True, chains=True, blocks=True, swish=True),
    "torch": Rules(folds=False),
}
"""Runtime to what it fuses; a runtime that is not named fuses like ONNX Runtime."""


def fused(operations: Sequence[Operation], runtime: str) -> tuple[Kernel, ...]:
    """Kernels of one call, equal ones counted together, in the order of their first.

    Example:
        >>> [kernel.kind for kernel in fused(read_operations(draw("mlp", 0)), "openvino")][0]  # doctest: +SKIP
        'product'
    """
    rules = RULES.get(runtime, RULES["onnxruntime"])
    hosts = _hosts(operations, rules)
    made: dict[int, Kernel] = {}
    users = _users(operations)
    for place, operation in enumerate(operations):
        host = hosts.get(place)
        if host is not None and host in made:
            made[host] = _joined(made[host], operation, operations[host])
            continue
        made[place] = _kernel(operation, users)
    turns = [Kernel("reorder", read=size, written=size) for size in reorders(operations)] if rules.blocks else []
    counts: dict[Kernel, int] = {}
    for kernel in (*made.values(), *turns):
        counts[kernel] = counts.get(kernel, 0) + 1
    return tuple(replace(kernel, count=count) for kernel, count in counts.items())


def _users(operations: Sequence[Operation]) -> dict[str, int]:
    users: dict[str, int] = {}
    for operation in operations:
        for name in operation.inputs:
            users[name] = users.get(name, 0) + 1
    return users


def _hosts(operations: Sequence[Operation], rules: Rules) -> dict[int, int]:
    """Place of an operation that another takes in to the place of that other."""
    users, makers = _users(operations), {name: place for place, one in enumerate(operations) for name in one.outputs}
    hosts: dict[int, int] = {}

    def root(place: int) -> int:
        while place in hosts:
            place = hosts[place]
        return place

    for place, operation in enumerate(operations):
        if operation.kind not in ELEMENTWISE and operation.kind not in ("BatchNormalization", "LayerNormalization"):
            continue
        before = [
            makers[name]
            for name, fixed in zip(operation.inputs, operation.fixed, strict=True)
            if name in makers and not fixed
        ]
        if not before:
            continue
        if rules.swish and operation.kind == "Mul" and len(before) == 2 and _is_swish(operations, operation, before):
            gate = next(one for one in before if operations[one].kind in ("Sigmoid", "HardSigmoid"))
            hosts[place] = root(gate)
            continue
        # the latest maker whose value nobody else wants: the others are read as a second input
        for maker in sorted(before, reverse=True):
            if users.get(operations[maker].outputs[0], 0) > 1:
                continue
            target = root(maker)
            if _takes(operations, operations[target], operation, rules, len(before)):
                hosts[place] = target
                break
    return hosts


def _is_swish(operations: Sequence[Operation], product: Operation, before: Sequence[int]) -> bool:
    for gate, other in (before, before[::-1]):
        if (
            operations[gate].kind in ("Sigmoid", "HardSigmoid")
            and operations[other].outputs[0] in operations[gate].inputs
        ):
            return True
    return False


def _takes(operations: Sequence[Operation], host: Operation, guest: Operation, rules: Rules, computed: int) -> bool:
    """Whether a runtime computes ``guest`` in the kernel of ``host``; ``computed`` of its inputs are no constants."""
    is_sum = guest.kind == "Add" and computed == 2
    is_bias = guest.kind == "Add" and computed == 1
    if host.kind in ("Conv", "ConvTranspose"):
        if guest.kind == "BatchNormalization":
            return rules.folds
        return rules.sums if is_sum else guest.kind in rules.conv
    if host.kind in ("MatMul", "Gemm"):
        if is_bias:
            return rules.folds and host.fixed[1]
        return rules.chains if is_sum else guest.kind in rules.product
    if guest.kind == "LayerNormalization":
        return rules.norm and host.kind == "Add"
    if guest.kind == "BatchNormalization":
        return False
    return rules.chains and host.kind in ELEMENTWISE


def _joined(kernel: Kernel, guest: Operation, host: Operation) -> Kernel:
    """The kernel with what it computes besides."""
    if guest.kind == "BatchNormalization":
        return kernel
    if guest.kind == "LayerNormalization":  # the sum goes into it
        return replace(kernel, kind="norm", heavy=kernel.heavy + _size(guest.made))
    size = _size(guest.made)
    more_read = 0
    if guest.kind in ("Add", "Mul", "Sub", "Div") and sum(not fixed for fixed in guest.fixed) == 2:
        more_read = size
    if guest.kind in HEAVY:
        return replace(kernel, heavy=kernel.heavy + size, read=kernel.read + more_read)
    return replace(kernel, light=kernel.light + size, read=kernel.read + more_read)


def _kernel(operation: Operation, users: Mapping[str, int]) -> Kernel:
    kind = operation.kind
    read = sum(
        _size(shape)
        for shape, fixed in zip(operation.given, operation.fixed, strict=True)
        if shape is not None and not fixed
    )
    written, weights = (
        _size(operation.made),
        sum(_size(s) for s, f in zip(operation.given, operation.fixed, strict=True) if s is not None and f),
    )
    plain = Kernel("", read=read, written=written, weights=weights, int8=operation.int8)
    if kind in ("Conv", "ConvTranspose"):
        return _convolution(operation, plain)
    if kind in ("Gemm", "MatMul"):
        return _product(operation, plain)
    if kind in ("LSTM", "GRU", "RNN"):
        return _recurrence(operation, plain)
    if kind in TREES:
        return _trees(operation, plain)
    if kind in TABLES:
        return replace(plain, kind="look-up", read=written, weights=0, table=weights)
    if kind in FREE:
        return replace(plain, kind="free", read=0, written=0, weights=0)
    if kind in HEAVY:
        return replace(plain, kind="elementwise", heavy=written)
    if kind in LIGHT:
        return replace(plain, kind="elementwise", light=written)
    if kind in POOLING:
        area = math.prod(operation.settings.get("kernel_shape", [1]))
        return replace(plain, kind=POOLING[kind], light=written * area if kind in ("MaxPool", "AveragePool") else read)
    if kind in MOVING:
        return replace(plain, kind=MOVING[kind])
    if kind in ("LayerNormalization", "BatchNormalization", "InstanceNormalization", "GroupNormalization"):
        return replace(plain, kind="norm" if kind != "BatchNormalization" else "scale", light=written)
    if kind in ("Softmax", "LogSoftmax"):
        return replace(plain, kind="softmax", heavy=written, n=operation.made[-1] if operation.made else 1)
    if kind.startswith("Reduce") or kind in ("ArgMax", "ArgMin", "TopK", "CumSum"):
        return replace(plain, kind="reduce", light=read)
    return replace(plain, kind="other", light=written)


def _convolution(operation: Operation, plain: Kernel) -> Kernel:
    x, filters = operation.given[0] or (), operation.given[1] or ()
    groups = int(operation.settings.get("group", 1))
    area = math.prod(filters[2:])
    pixels = math.prod(operation.made[2:])
    batch = operation.made[0] if operation.made else 1
    if operation.kind == "ConvTranspose":
        kind, places, inner, outer = "conv-transposed", math.prod(x[2:]), filters[0] // groups, filters[1]
    else:
        inner, outer, places = filters[1], filters[0] // groups, pixels
        kind = "conv" if groups == 1 else "conv-depthwise" if inner == 1 else "conv-grouped"
        if kind == "conv" and area == 1:
            kind = "conv-1x1"
    products = float(batch) * places * groups * inner * outer * area
    steps = operation.settings.get("strides") or [1]
    return replace(
        plain,
        kind=kind,
        operations=2 * products,
        m=pixels,
        k=inner * area,
        n=outer,
        groups=groups,
        area=area,
        stride=int(steps[-1]),
        images=batch,
        axes=max(1, len(operation.made) - 2),
    )


def _product(operation: Operation, plain: Kernel) -> Kernel:
    left, right = operation.given[0] or (1,), operation.given[1] or (1,)
    turned = bool(operation.settings.get("transB", 0)) and operation.kind == "Gemm"
    k = left[-1] if left else 1
    n = (right[0] if turned else right[-1]) if len(right) > 1 else 1
    if operation.fixed[1] or len(right) <= 2:
        m, groups, kind = math.prod(left[:-1]), 1, "product"
    else:
        m, groups, kind = left[-2] if len(left) > 1 else 1, math.prod(operation.made[:-2]), "product-computed"
    return replace(plain, kind=kind, operations=2.0 * m * n * k * groups, m=m, k=k, n=n, groups=groups)


def _recurrence(operation: Operation, plain: Kernel) -> Kernel:
    length, batch, width = (operation.given[0] or (1, 1, 1))[-3:]
    ways, rows, hidden = operation.given[2] or (1, 1, 1)
    products = float(length) * batch * ways * rows * (width + hidden)
    heavy = length * batch * ways * rows
    kind = operation.kind.lower()
    return replace(
        plain, kind=kind, operations=2 * products, m=batch, k=hidden, n=rows, groups=ways, images=length, heavy=heavy
    )


def _trees(operation: Operation, plain: Kernel) -> Kernel:
    numbers = operation.settings.get("nodes_treeids") or [0]
    modes = operation.settings.get("nodes_modes") or []
    count = len(set(numbers))
    leaves = sum(mode in (b"LEAF", "LEAF") for mode in modes) or len(numbers) // 2
    depth = math.log2(max(leaves / max(count, 1), 2))
    rows = (operation.given[0] or (1,))[0]
    return replace(
        plain,
        kind="trees",
        light=round(rows * count * depth),
        m=rows,
        n=count,
        k=round(depth),
        table=20 * len(numbers) // 4,
    )


def _size(shape: Shape | None) -> int:
    return math.prod(shape) if shape is not None else 0


def total(kernels: Iterable[Kernel]) -> float:
    """Operations of one call."""
    return sum(kernel.operations * kernel.count for kernel in kernels)


def kernels_of(model: Any, runtime: str, batch: int | None = None) -> tuple[Kernel, ...]:
    """The kernels that a runtime makes of an ONNX ModelProto.

    Raises:
        Unsupported: ``NO_SHAPES``: onnx cannot tell the shapes.
    """
    return fused(read_operations(model, batch), runtime)


def as_run(kernels: Iterable[Kernel], precision: str) -> tuple[Kernel, ...]:
    """Kernels of a float graph as they run at a precision: in int8, products with weights are quantised."""
    if not on_bytes(precision):
        return tuple(kernels)
    return tuple(replace(one, int8=True) if one.kind in QUANTISED else one for one in kernels)


def in_batch(kernels: Iterable[Kernel], batch: int) -> tuple[Kernel, ...]:
    """Kernels of one sample as those of a batch: all but the weights are as many times more."""
    found = []
    for one in kernels:
        rows = "images" if one.kind.startswith("conv") else "groups" if one.kind == "product-computed" else "m"
        found.append(
            replace(
                one,
                operations=one.operations * batch,
                read=one.read * batch,
                written=one.written * batch,
                light=one.light * batch,
                heavy=one.heavy * batch,
                **{rows: getattr(one, rows) * batch},
            )
        )
    return tuple(found)
