"""Torch modules as ONNX graphs, by torch's own exporter, without its notes on the screen. Torch in functions."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sartor.errors import Unsupported

if TYPE_CHECKING:
    import torch

OPSET = 20  # the first with Gelu as one operator; read by onnxruntime >= 1.17 and openvino >= 2024


def torch_to_onnx(
    module: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    name: str,
    *,
    opset: int = OPSET,
    input_names: Sequence[str] | None = None,
    dynamic_shapes: Any = None,
) -> Any:
    """A ModelProto with one output, ``output``, and its weights inside.

    Args:
        module: in evaluation mode.
        inputs: examples, which fix all sides but those of ``dynamic_shapes``.
        name: of what is exported, for messages.
        opset: at least 18.
        input_names: as torch has them where not given.
        dynamic_shapes: as ``torch.export`` takes them.

    Raises:
        Unsupported: ``EXPORT_FAILED``: torch cannot express it.
    """
    return _exported(
        module,
        name,
        args=tuple(inputs),
        opset_version=opset,
        input_names=input_names,
        output_names=["output"],
        dynamic_shapes=dynamic_shapes,
    )


def program_to_onnx(program: torch.export.ExportedProgram, name: str) -> Any:
    """A ModelProto of an exported program, its weights inside; sides that are open stay open.

    Raises:
        Unsupported: ``EXPORT_FAILED``: an operator has no ONNX form; the sentence names it and its node.
    """
    return _exported(program, name, opset_version=OPSET)


def _exported(model: Any, name: str, **options: Any) -> Any:
    import torch

    _read_operators_once()
    with quiet():
        try:
            program = torch.onnx.export(model, dynamo=True, external_data=False, verbose=False, **options)
        except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, NotImplementedError) as error:
            raise Unsupported("EXPORT_FAILED", f"torch cannot express {name} as ONNX: {_reason(error)}") from error
    if program is None:
        raise Unsupported("EXPORT_FAILED", f"torch gave no ONNX program for {name}")
    return program.model_proto


def _reason(error: BaseException) -> str:
    """The operator without ONNX form and its node, where that is the cause; else what torch says."""
    text, cause = str(error), error.__cause__
    while cause is not None:
        text, cause = f"{text} {cause}", cause.__cause__
    found = re.search(r"translating node %(\w+).*?target=([\w.]+)", text, re.DOTALL)
    if found:
        return f"node {found[1]!r} ({found[2].removeprefix('torch.ops.')}) has no ONNX form"
    return " ".join(str(error).split())[:300]


def _read_operators_once() -> None:
    """Keep torch's list of ONNX operators, which it would parse anew for each export (0.6 s of 1.5 s, torch 2.13).

    The list is the same every time. It is not public: where torch keeps it elsewhere, exports are only slower.
    """
    try:
        functions: Any = import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
        read = functions.get_torchlib_ops
    except (ImportError, AttributeError):
        return
    if not hasattr(read, "cache_info"):
        functions.get_torchlib_ops = cache(read)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's notes about packages it does not need here off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
