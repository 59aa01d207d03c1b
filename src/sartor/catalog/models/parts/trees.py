"""Ensembles of decision trees as tensors of fixed shape: from LightGBM, through torch, to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray[Any, np.dtype[Any]]

SUM, NO_TRANSFORM, BRANCH_LEQ = 1, 0, 0  # numbers of ai.onnx.ml's TreeEnsemble


class Trees(nn.Module):
    """Sums of leaves, (n, columns, …, value last) to (n, outputs); every tree adds to one sum, its target.

    A tree has ``leaves - 1`` splits, numbered from 0, then its leaves; a leaf leads to itself, so that after ``depth``
    steps every row is at one. Trees that were not grown stand at their first leaf, which holds 0. For two classes
    there is one sum, the log odds of the second. For a number there may be two: then the answer is the first
    + ``factor`` · exp(the second) + ``constant``.

    Args:
        inputs: columns of a row.
        outputs: classes; 1 for a number.
        trees, leaves, depth: of the largest ensemble it can hold.
        logs: whether a number has a second sum.
    """

    feature: Tensor  # (trees, 2 leaves - 1): which column a split asks
    threshold: Tensor  # goes left where the value is at most this
    missing_left: Tensor  # goes left where there is no value
    left: Tensor
    right: Tensor
    leaf: Tensor  # what a leaf adds
    root: Tensor  # (trees,)
    target: Tensor  # (trees,) which sum a tree adds to
    factor: Tensor  # (1,) of the exponential of the second sum of a number; 0 where there is none
    constant: Tensor  # (1,)

    def __init__(self, inputs: int, outputs: int, trees: int, leaves: int, depth: int, *, logs: bool = False) -> None:
        super().__init__()
        self.inputs, self.answers, self.depth = inputs, answers_of(outputs) + logs, depth
        self.learning_rate, self.boosters = 0.1, 1  # of growing; what builds the module sets them
        self.outputs = outputs
        splits, nodes = leaves - 1, 2 * leaves - 1
        place = torch.arange(nodes)
        inner = place < splits
        self.register_buffer("feature", torch.randint(0, inputs, (trees, nodes), dtype=torch.int32))
        self.register_buffer("threshold", torch.randn(trees, nodes))
        self.register_buffer("missing_left", torch.rand(trees, nodes) < 0.5)
        for name, child in (("left", 2 * place + 1), ("right", 2 * place + 2)):  # a complete tree, as in a heap
            child = torch.where(inner, child, place).to(torch.int32)
            self.register_buffer(name, child.expand(trees, nodes).clone())
        self.register_buffer("leaf", torch.where(inner, 0.0, torch.randn(trees, nodes) / trees))
        self.register_buffer("root", torch.zeros(trees, dtype=torch.int32))
        self.register_buffer("target", (torch.arange(trees) % self.answers).to(torch.int32))
        self.register_buffer("factor", torch.full((1,), float(logs)))
        self.register_buffer("constant", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        rows = x[..., -1]  # (n, inputs)
        node = self.root.long()[:, None].expand(-1, len(rows))  # (trees, n)
        for _ in range(self.depth):
            asked = torch.gather(self.feature, 1, node).long()
            values = torch.gather(rows.T, 0, asked)
            goes_left = torch.where(
                torch.isnan(values),
                torch.gather(self.missing_left, 1, node),
                values <= torch.gather(self.threshold, 1, node),
            )
            node = torch.where(goes_left, torch.gather(self.left, 1, node), torch.gather(self.right, 1, node)).long()
        leaves = torch.gather(self.leaf, 1, node)  # (trees, n)
        sums = torch.zeros(self.answers, len(rows)).index_add(0, self.target.long(), leaves).T  # (n, answers)
        if self.outputs == 2:
            return torch.cat([torch.zeros_like(sums), sums], 1)
        if self.outputs == 1 and self.answers == 2:
            return sums[:, :1] + self.factor * torch.exp(sums[:, 1:]) + self.constant
        return sums


def answers_of(outputs: int) -> int:
    """Trees per round: one per class, but for two classes one in all."""
    return 1 if outputs == 2 else outputs


@dataclass(frozen=True)
class Share:
    """What a booster adds: ``Booster.dump_model()``, the factor of its leaves, and the sum it adds to.

    Its columns are numbers, not LightGBM's own categories. With several classes it adds to the sum of each.
    """

    model: Mapping[str, Any]
    weight: float = 1.0
    target: int = 0


def take_lightgbm(trees: Trees, shares: Sequence[Share], middle: Array) -> None:
    """Set the buffers of the trees, one booster's behind another's.

    Args:
        trees: with room for the ensemble.
        shares: the boosters.
        middle: (inputs,) median of every column. A column that was never missing in training has learnt no way for
            missing values, which go the way of its median.
    """
    for name in ("leaf", "missing_left", "feature", "threshold", "root", "target"):
        trees.get_buffer(name).zero_()
    arrays = {name: trees.get_buffer(name).numpy() for name in ("leaf", "missing_left", "feature", "threshold")}
    arrays |= {name: trees.get_buffer(name).numpy() for name in ("left", "right")}
    root, target = trees.root.numpy(), trees.target.numpy()
    nodes = arrays["left"].shape[1]
    splits = (nodes - 1) // 2
    arrays["left"][:] = arrays["right"][:] = np.arange(nodes)
    root[:] = splits  # the first leaf
    grown = 0
    for share in shares:
        classes = answers_of(trees.outputs)
        for number, info in enumerate(share.model["tree_info"]):
            tree = {name: array[grown] for name, array in arrays.items()}
            root[grown] = _take(tree, info["tree_structure"], splits, middle)
            tree["leaf"] *= np.float32(share.weight)
            target[grown] = share.target + number % classes
            grown += 1


def _take(tree: Mapping[str, Array], node: Mapping[str, Any], splits: int, middle: Array) -> int:
    """Enter a node and all below it; its number."""
    if "split_index" not in node:
        place = splits + int(node.get("leaf_index", 0))
        tree["leaf"][place] = node["leaf_value"]
        return place
    place, column, threshold = int(node["split_index"]), int(node["split_feature"]), float(node["threshold"])
    tree["feature"][place] = column
    tree["threshold"][place] = _float_below(threshold)
    learnt_missing = node["missing_type"] == "NaN"
    tree["missing_left"][place] = node["default_left"] if learnt_missing else middle[column] <= threshold
    tree["left"][place] = _take(tree, node["left_child"], splits, middle)
    tree["right"][place] = _take(tree, node["right_child"], splits, middle)
    return place


def _float_below(threshold: float) -> np.float32:
    """The largest float32 that is at most a threshold: it parts float32 values just as the double does."""
    largest = float(np.finfo(np.float32).max)
    if threshold < -largest:
        return np.float32(-np.inf)
    found = np.float32(min(threshold, largest))
    return np.nextafter(found, np.float32(-np.inf)) if float(found) > threshold else found


@dataclass
class _Nodes:
    """A TreeEnsemble's splits and leaves, tree after tree."""

    columns: dict[str, list[int]]
    splits: list[float]
    weights: list[float]
    targets: list[int]
    roots: list[int]


def tree_ensemble(trees: Trees) -> Any:
    """An ONNX node from ``input`` (n, inputs) to ``sums`` (n, answers); for two classes (n, 2), the first one 0.

    Of a number it gives one sum where none of its trees adds to a second.

    ai.onnx.ml 5 holds splits and leaves apart, in about 26 bytes a leaf; the older operators need three times that.
    """
    from onnx import helper, numpy_helper

    found = _collect(trees)
    modes = np.full(len(found.splits), BRANCH_LEQ, np.uint8)
    return helper.make_node(
        "TreeEnsemble",
        ["input"],
        ["sums"],
        domain="ai.onnx.ml",
        aggregate_function=SUM,
        post_transform=NO_TRANSFORM,
        n_targets=sums_of(trees),
        tree_roots=found.roots,
        nodes_splits=numpy_helper.from_array(np.array(found.splits, np.float32), "splits"),
        nodes_modes=numpy_helper.from_array(modes, "modes"),
        leaf_weights=numpy_helper.from_array(np.array(found.weights, np.float32), "weights"),
        leaf_targetids=found.targets,
        **{f"nodes_{name}": values for name, values in found.columns.items()},
    )


_COLUMNS = ("featureids", "missing_value_tracks_true", "truenodeids", "trueleafs", "falsenodeids", "falseleafs")


def sums_of(trees: Trees) -> int:
    """Sums that the node of an ensemble gives."""
    return max(trees.answers if trees.factor.any() else answers_of(trees.outputs), trees.outputs)


def _collect(trees: Trees) -> _Nodes:
    """All trees that do something. A tree of one leaf becomes a split with that leaf on both sides."""
    arrays = {name: buffer.numpy() for name, buffer in trees.named_buffers() if buffer.ndim == 2}
    splits = (arrays["left"].shape[1] - 1) // 2
    found = _Nodes({name: [] for name in _COLUMNS}, [], [], [], [])
    for number, (root, target) in enumerate(zip(trees.root.tolist(), trees.target.tolist(), strict=True)):
        tree = {name: array[number].tolist() for name, array in arrays.items()}
        target = 1 if trees.outputs == 2 else target
        if root >= splits and not tree["leaf"][root]:
            continue
        found.roots.append(len(found.splits))
        _enter(found, tree, root, splits, target)
    if not found.roots:  # nothing was grown, and an ensemble of nothing is no valid node
        found.roots.append(0)
        _enter(found, {"leaf": [0.0] * (2 * splits + 1)}, splits, splits, 0)
    return found


def _enter(found: _Nodes, tree: Mapping[str, Sequence[Any]], root: int, splits: int, target: int) -> None:
    """One tree's nodes, each parent before its children."""

    def new_split(node: int) -> int:
        alone = node >= splits
        values = (0, 0) if alone else (tree["feature"][node], int(tree["missing_left"][node]))
        for name, value in zip(_COLUMNS, (*values, 0, 0, 0, 0), strict=True):
            found.columns[name].append(value)
        found.splits.append(0.0 if alone else tree["threshold"][node])
        return len(found.splits) - 1

    waiting = [(root, new_split(root))]
    while waiting:
        node, place = waiting.pop()
        for side, child in zip(("true", "false"), _children(tree, node, splits), strict=True):
            is_leaf = child >= splits
            if is_leaf:
                found.weights.append(tree["leaf"][child])
                found.targets.append(target)
                entered = len(found.weights) - 1
            else:
                entered = new_split(child)
                waiting.append((child, entered))
            found.columns[f"{side}nodeids"][place] = entered
            found.columns[f"{side}leafs"][place] = int(is_leaf)


def _children(tree: Mapping[str, Sequence[Any]], node: int, splits: int) -> tuple[int, int]:
    return (node, node) if node >= splits else (tree["left"][node], tree["right"][node])
