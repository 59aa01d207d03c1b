"""What a model file holds, for runtimes that have to say what they truly ran."""

from __future__ import annotations

from pathlib import Path


def effective_w8(path: Path, ran: str) -> str:
    """``w8`` where a file that ran in fp32 keeps weights as bytes that are only cast, else what ran.

    Bytes behind DequantizeLinear are those of products of bytes (``int8-static``), and no such weights.
    """
    import onnx

    if ran != "fp32":
        return ran
    graph = onnx.load(path).graph
    small = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    takers = {node.op_type for node in graph.node if node.input and node.input[0] in small}
    return "w8" if takers & {"Cast", "Gather", "GatherND"} else ran
