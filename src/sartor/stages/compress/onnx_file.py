"""An ONNX graph as one self-contained file: equal graphs give equal bytes, and nothing of the machine is in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sartor import __version__
from sartor.errors import Unsupported
from sartor.storage import telling_disk_errors

LARGEST_BYTES = (1 << 31) - 1  # protobuf cannot hold more in one message


def write_onnx(model: Any, target: Path) -> None:
    """Strip a ModelProto of what does not compute, check it, and write it with its weights inside.

    Exporters leave stack traces (paths of the machine) and graph signatures in ``metadata_props``, and shapes of
    every intermediate in ``value_info``: both would make the file larger and different from machine to machine.

    Raises:
        Unsupported: ``TOO_LARGE`` over 2 GiB; ``EXTERNAL_DATA`` where weights lie in another file;
            ``INVALID_GRAPH`` where onnx's own checker objects.
    """
    import onnx

    strip(model)
    if any(tensor.external_data for tensor in _tensors(model.graph)):
        raise Unsupported("EXTERNAL_DATA", "the graph keeps weights in a second file; Sartor ships one file")
    if model.ByteSize() > LARGEST_BYTES:
        raise Unsupported("TOO_LARGE", f"the graph needs {model.ByteSize() / 1e9:.1f} GB; one ONNX file holds 2.1 GB")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Unsupported("INVALID_GRAPH", f"the exported graph is not valid ONNX: {reason}") from error
    with telling_disk_errors(target):
        target.write_bytes(model.SerializeToString(deterministic=True))


def strip(model: Any) -> None:
    """Remove descriptions, traces and inferred shapes in place; name the producer."""
    model.producer_name, model.producer_version = "sartor", __version__
    model.doc_string = model.domain = ""
    model.graph.name = "sartor"
    del model.metadata_props[:]
    for graph in _graphs(model.graph):
        graph.doc_string = ""
        del graph.metadata_props[:]
        del graph.value_info[:]
        for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
            part.doc_string = ""
            del part.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        del function.value_info[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _graphs(graph: Any) -> Iterable[Any]:
    """A graph and those inside its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterable[Any]:
    for part in _graphs(graph):
        yield from part.initializer
        for node in part.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
