"""What a model file holds, for runtimes that have to say what they truly ran."""

from __future__ import annotations

from pathlib import Path

STORED = frozenset({"w8", "w4"})
"""Precisions of files whose weights alone are stored in fewer bits."""


def effective_storage(path: Path, ran: str) -> str:
    """``w4`` or ``w8`` where a file that ran in fp32 keeps weights in so few bits, else what ran.

    ``w4`` where any stand in 4 bits behind DequantizeLinear, ``w8`` where they are bytes that are only cast: bytes
    behind DequantizeLinear are those of products of bytes (``int8-static``), and no such weights.
    """
    import onnx

    if ran != "fp32":
        return ran
    graph = onnx.load(path).graph
    halves = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT4}
    if any(node.op_type == "DequantizeLinear" and node.input[0] in halves for node in graph.node):
        return "w4"
    small = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    takers = {node.op_type for node in graph.node if node.input and node.input[0] in small}
    return "w8" if takers & {"Cast", "Gather", "GatherND"} else ran
