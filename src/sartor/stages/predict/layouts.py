"""Where OpenVINO turns pictures into blocks of channels and back: its convolutions want them so, little else does.

Source: the blocked layouts of oneDNN, https://uxlfoundation.github.io/oneDNN/dev_guide_understanding_memory_formats.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sartor.stages.predict.operations import Operation

BLOCK = 8  # channels that a vector of AVX2 holds
PADDED = 4  # channels short of a block that are still filled up to one

ALONE = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "Resize", "Identity"}
    | {"Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Gelu", "HardSwish", "Erf", "Exp", "Sqrt", "Elu"}
    | {"Mish", "Softplus", "Neg", "Abs", "PRelu", "Dropout"}
)
"""Operations of one picture that keep its layout."""
TOGETHER = frozenset({"Add", "Mul", "Sub", "Div", "Max", "Min", "Concat"})
"""Those of several that are computed in blocks where one of them lies so."""


def reorders(operations: Sequence[Operation]) -> list[int]:
    """Numbers of each tensor that is turned from one layout to the other, in the order of the operations."""
    blocked: dict[str, bool] = {}
    turned: set[str] = set()
    sizes: dict[str, int] = {}
    found: list[int] = []
    for operation in operations:
        for name, shape in zip(operation.inputs, operation.given, strict=True):
            if name not in sizes and shape is not None:
                sizes[name], blocked[name] = math.prod(shape), False
        computed = [name for name, fixed in zip(operation.inputs, operation.fixed, strict=True) if name and not fixed]
        made, size = _in_blocks(operation, [blocked.get(name, False) for name in computed]), math.prod(operation.made)
        for name in _wanted(operation, computed, made):
            whole = operation.kind not in TOGETHER or not made or sizes.get(name) == size
            if whole and name not in turned and blocked.get(name, made) != made:
                turned.add(name)
                found.append(sizes[name])
        for name in operation.outputs:
            blocked[name], sizes[name] = made, size
    return found


def _in_blocks(operation: Operation, given: Sequence[bool]) -> bool:
    """Whether what it makes lies in blocks; ``given``: whether what it reads does."""
    if operation.kind == "Conv":
        filters, groups = operation.given[1] or (1, 1), int(operation.settings.get("group", 1))
        outer, inner = filters[0], filters[1]
        if groups == 1:
            return inner < BLOCK or inner % PADDED == 0
        if inner == 1 and outer == groups:
            return outer % PADDED == 0
        return inner % BLOCK == 0 and (outer // groups) % BLOCK == 0
    return (operation.kind in ALONE and bool(given) and given[0]) or (operation.kind in TOGETHER and any(given))


def _wanted(operation: Operation, computed: Sequence[str], made: bool) -> Sequence[str]:
    """Inputs that have to lie as its output does."""
    if operation.kind != "Conv":
        return computed
    filters = operation.given[1] or (1, 1)
    narrow = made and filters[1] < BLOCK and int(operation.settings.get("group", 1)) == 1  # reads pictures as they are
    return [] if narrow else computed[:1]
