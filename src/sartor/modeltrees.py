"""Looks at the trees of ai.onnx.ml operators before a runtime walks them.

ONNX Runtime follows children by recursion when it loads a file, so a chain of nodes ends the process (measured: 20,000
deep, version 1.32). Here every tree is walked level by level: each node has one parent, and depth is bounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sartor.errors import Refused

MAX_TREE_DEPTH = 1000
TREES = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})
_MOST_IDS = 1 << 31  # of trees and of nodes in a tree

Array = np.ndarray[Any, np.dtype[Any]]


def check_trees(where: str, node: Any) -> None:
    """Refuse a tree operator whose nodes do not make trees of sensible depth.

    Args:
        where: the node in words, for the message.
        node: a NodeProto of one of :data:`TREES`.

    Raises:
        Refused: lists of different lengths, children that are not there, cycles, shared nodes, too deep.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}

    def numbers(name: str) -> Array:
        return np.array(attributes[name].ints if name in attributes else (), np.int64)

    children = _Children(where)
    if node.op_type == "TreeEnsemble":
        for side in ("true", "false"):
            children.add(numbers(f"nodes_{side}nodeids"), numbers(f"nodes_{side}leafs") != 0)
        roots = numbers("tree_roots")
    else:
        modes = attributes["nodes_modes"].strings if "nodes_modes" in attributes else ()
        leaf = np.array([mode == b"LEAF" for mode in modes], bool)
        trees, ids = numbers("nodes_treeids"), numbers("nodes_nodeids")
        for side in ("true", "false"):
            children.add(_places(where, trees, ids, numbers(f"nodes_{side}nodeids"), leaf), leaf)
        roots = children.without_parent()
    children.check(roots)


def _places(where: str, trees: Array, ids: Array, wanted: Array, leaf: Array) -> Array:
    """Positions of children, which are named by their tree and their number in it."""
    if not len(trees) == len(ids) == len(wanted) == len(leaf):
        raise Refused(f"{where} describes its nodes by lists of different lengths")
    inner = np.where(leaf, 0, wanted)
    if any(len(part) and (part.min() < 0 or part.max() >= _MOST_IDS) for part in (trees, ids, inner)):
        raise Refused(f"{where} numbers its nodes beyond 0..{_MOST_IDS - 1:,}")
    keys = trees * _MOST_IDS + ids
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise Refused(f"{where} has two nodes of one number in a tree")
    child = trees * _MOST_IDS + inner
    found = np.minimum(np.searchsorted(ordered, child), max(len(keys) - 1, 0))
    if len(keys) and (ordered[found] != child)[~leaf].any():
        raise Refused(f"{where} has a node whose child is not there")
    return order[found] if len(keys) else found


class _Children:
    """Per node its two children, or nothing where a leaf hangs there."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.sides: list[tuple[Array, Array]] = []

    def add(self, child: Array, leaf: Array) -> None:
        """One side: positions of children (n,), and where there are none."""
        if len(child) != len(leaf) or (self.sides and len(child) != len(self.sides[0][0])):
            raise Refused(f"{self.where} describes its nodes by lists of different lengths")
        inner = child[~leaf]
        if len(inner) and (inner.min() < 0 or inner.max() >= len(child)):
            raise Refused(f"{self.where} has a node whose child is not there")
        self.sides.append((child, leaf))

    def _below(self, nodes: Array) -> Array:
        return np.concatenate([child[nodes][~leaf[nodes]] for child, leaf in self.sides])

    def without_parent(self) -> Array:
        """Positions of the roots."""
        everyone = np.arange(len(self.sides[0][0]))
        return np.setdiff1d(everyone, self._below(everyone))

    def check(self, roots: Array) -> None:
        """Every node hangs in one place below a root, not too deep."""
        count = len(self.sides[0][0])
        if len(roots) and (roots.min() < 0 or roots.max() >= count):
            raise Refused(f"{self.where} has a root that is not there")
        parents = np.bincount(np.concatenate([roots, self._below(np.arange(count))]), minlength=count)
        if (parents != 1).any():
            raise Refused(f"{self.where} has nodes that do not make trees: each must hang in exactly one place")
        level, seen = roots, 0
        for _ in range(MAX_TREE_DEPTH):
            if not len(level):
                break
            seen += len(level)
            level = self._below(level)
        if len(level):
            raise Refused(f"{self.where} has a tree deeper than {MAX_TREE_DEPTH:,} nodes")
        if seen != count:
            raise Refused(f"{self.where} has nodes in a circle")
