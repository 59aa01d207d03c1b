"""What is asked of the nodes of an ONNX graph in more than one place."""

from __future__ import annotations

from typing import Any


def attribute(node: Any, name: str, default: Any) -> Any:
    """An attribute of a node, or what holds where it has none."""
    from onnx import helper

    return next((helper.get_attribute_value(found) for found in node.attribute if found.name == name), default)


def names_within(graph: Any) -> set[str]:
    """What graphs within nodes (If, Loop) take from around them, among other names."""
    names: set[str] = set()
    for node in graph.node:
        for found in node.attribute:
            for inner in (*((found.g,) if found.HasField("g") else ()), *found.graphs):
                names |= {name for each in inner.node for name in each.input} | names_within(inner)
                names |= {value.name for value in inner.output}
    return names
