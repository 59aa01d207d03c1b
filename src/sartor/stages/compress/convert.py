"""A network with its weights to the file that ships: uint8 in, probabilities out, everything between inside.

The graph comes from torch's own exporter (``dynamo=True``): it folds batch normalisation into convolutions and keeps
activations whole, where the older TorchScript exporter is faster (0.1 s against 0.5 to 2 s) but is deprecated and
unfolds GELU and layer normalisation into many nodes that each runtime must find again.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.codec import canonical_json, digest, to_plain
from sartor.errors import MissingExtra, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ArtifactResult, ExportJob
from sartor.prepared import open_data
from sartor.progress import Tell, silent
from sartor.stages.compress.onnx_file import write_onnx

if TYPE_CHECKING:
    import numpy as np
    import torch

    Array = np.ndarray[Any, np.dtype[Any]]

OPSET = 20  # the first with Gelu as one operator; read by onnxruntime >= 1.17 and openvino >= 2024
COMPARED_SAMPLES = 8
TOLERANCE = 1e-4  # of a probability; exporters agree to about 1e-6, a wrong graph is off by far more


def export(job: ExportJob, workspace: Workspace, tell: Tell = silent) -> ArtifactResult:
    """Make the file of a network: trained weights where the job names some, random ones where it does not.

    Example:
        >>> result = export(ExportJob(task, network, card.fingerprint, weights, 1, 0), workspace)  # doctest: +SKIP

    Raises:
        Unsupported: ``EXPORT_FAILED``, ``EXPORT_DIFFERS`` (the file answers otherwise than torch), ``INVALID_GRAPH``,
            ``TOO_LARGE``, ``WEIGHTS_MISMATCH``, ``UNKNOWN_FORMAT``.
        MissingExtra: torch is not installed.
    """
    began = time.monotonic()
    if job.format not in ("onnx", "torch"):
        raise Unsupported("UNKNOWN_FORMAT", f"cannot export to {job.format!r}; the formats are onnx and torch")
    tell(f"exporting {job.network.id} to {job.format}")
    data = open_data(job.data, workspace)
    statistics = data.statistics(job.network.input_size)
    module = build_network(job, workspace)
    target = workspace.scratch(digest(job)) / "model"
    if job.format == "torch":
        _write_safetensors(module, job, statistics, target)
    else:
        samples = data.calibration(job.network.input_size, max(job.batch, COMPARED_SAMPLES), job.seed)
        shipped = registry.get("tasks", job.task).wrap(module, statistics).eval()
        batches = in_batches(samples, job.batch)
        _write_onnx(shipped, batches[0], job.network.id, target)
        _compare(shipped, target, batches, job.network.id)
    artifact = workspace.objects.take(target, format=job.format, parent=job.weights, made_by="export")
    workspace.clear_scratch(digest(job))
    return ArtifactResult(artifact, time.monotonic() - began)


def build_network(job: ExportJob, workspace: Workspace) -> torch.nn.Module:
    """The network in evaluation mode, with the job's weights or random ones from its seed."""
    try:
        import torch
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingExtra("export", "train", str(error.name)) from error

    torch.manual_seed(job.seed)
    module: torch.nn.Module = registry.get("models", job.network.model).build(job.network)
    if job.weights:
        try:
            module.load_state_dict(load_file(workspace.objects.path(job.weights)))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise Unsupported("WEIGHTS_MISMATCH", f"the weights are not those of {job.network.id}: {reason}") from error
    return module.eval().requires_grad_(False)


def in_batches(samples: Array, batch: int) -> list[Array]:
    """Cut samples (n, …) into batches of exactly ``batch``; the last is filled up from the start."""
    import numpy as np

    count = -(-len(samples) // batch)
    filled = np.take(samples, np.arange(count * batch) % len(samples), axis=0)
    return list(filled.reshape(count, batch, *samples.shape[1:]))


def _write_onnx(shipped: torch.nn.Module, example: Array, name: str, target: Path) -> None:
    import torch

    _read_operators_once()
    with _quiet():
        try:
            program = torch.onnx.export(
                shipped,
                (torch.from_numpy(example),),
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:300]
            raise Unsupported("EXPORT_FAILED", f"torch cannot express {name} as ONNX: {reason}") from error
    if program is None:
        raise Unsupported("EXPORT_FAILED", f"torch gave no ONNX program for {name}")
    write_onnx(program.model_proto, target)


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


def _compare(shipped: torch.nn.Module, path: Path, batches: Sequence[Array], name: str) -> None:
    """Refuse a file that does not answer as torch does."""
    import numpy as np
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in batches:
        (found,) = session.run(["output"], {"input": batch})
        with torch.no_grad():
            wanted = shipped(torch.from_numpy(batch)).numpy()
        if found.shape != wanted.shape or found.dtype != np.float32:
            given = f"{found.dtype} {found.shape}, torch {wanted.dtype} {wanted.shape}"
            raise Unsupported("EXPORT_DIFFERS", f"the ONNX file of {name} gives {given}")
        # NaN on either side must count as a difference, so compare with "not <=" below
        worst = max(worst, float(np.abs(found - wanted).max())) if not np.isnan(found - wanted).any() else np.nan
        if not worst <= TOLERANCE:
            raise Unsupported(
                "EXPORT_DIFFERS",
                f"the ONNX file of {name} differs from torch by {worst:.2g} on real samples; {TOLERANCE:g} is allowed",
            )


def _write_safetensors(
    module: torch.nn.Module, job: ExportJob, statistics: Mapping[str, Sequence[float]], target: Path
) -> None:
    """The plain module's state, and what is needed to rebuild and wrap it, for the reference runtime."""
    from safetensors.torch import save_file

    # own, contiguous memory: safetensors refuses tensors that share storage or are laid out channels-last
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    meaning = {"task": job.task, "network": to_plain(job.network), "statistics": to_plain(statistics)}
    save_file(state, target, metadata={"sartor": canonical_json(json.loads(canonical_json(meaning)))})


@contextmanager
def _quiet() -> Iterator[None]:
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
