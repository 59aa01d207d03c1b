"""A network with its weights to the file that ships: prepared input in, what is judged out, everything between inside.

The graph comes from torch's own exporter (``dynamo=True``): it folds batch normalisation into convolutions and keeps
activations whole, where the older TorchScript exporter is faster (0.1 s against 0.5 to 2 s) but is deprecated and
unfolds GELU and layer normalisation into many nodes that each runtime must find again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.codec import canonical_json, digest, to_plain
from sartor.errors import MissingExtra, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ArtifactResult, ExportJob
from sartor.networks import build
from sartor.prepared import open_data
from sartor.progress import Tell, silent
from sartor.stages.compress.onnx_file import write_onnx
from sartor.storage import write_bytes
from sartor.torch_onnx import torch_to_onnx

if TYPE_CHECKING:
    import numpy as np
    import torch

    from sartor.catalog.contracts import Task

    Array = np.ndarray[Any, np.dtype[Any]]

COMPARED_SAMPLES = 8
TOLERANCE = 1e-4  # of a probability; exporters agree to about 1e-6, a wrong graph is off by far more
CHOICE_TOLERANCE = 1e-2  # where the task compares outputs that end in choices


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
    data, network = open_data(job.data, workspace), job.network
    statistics = data.statistics(network.input_size, network.encoding)
    module = build_network(job, workspace)
    scratch = workspace.scratch(digest(job))
    target = scratch / "model"
    if job.format == "torch":
        _write_safetensors(module, job, statistics, target)
    else:
        count = max(job.batch, COMPARED_SAMPLES)
        samples = data.calibration(network.input_size, count, job.seed, network.encoding)
        task: Task = registry.get("tasks", job.task)
        shipped = task.wrap(module, statistics).eval()
        batches = in_batches(samples, job.batch)
        write_own = getattr(registry.get("models", network.model), "to_onnx", None)
        if write_own is not None:
            write_onnx(write_own(shipped, batches[0]), target)
        else:
            _write_onnx(shipped, batches[0], network.id, target)
        _compare(shipped, target, batches, network.id, _same_answers(task, trained=bool(job.weights)))
    learnt = _keep_learnt(data.learnt(network.input_size, network.encoding), scratch, workspace)
    artifact = workspace.objects.take(target, format=job.format, parent=job.weights, made_by="export")
    workspace.clear_scratch(digest(job))
    return ArtifactResult(replace(artifact, learnt=learnt), time.monotonic() - began)


def _keep_learnt(learnt: bytes, scratch: Path, workspace: Workspace) -> str:
    """The encoder's learnt state as an object; its sha256, empty where nothing was learnt."""
    if not learnt:
        return ""
    write_bytes(scratch / "encoder.bin", learnt)
    return workspace.objects.take(scratch / "encoder.bin", format="bin", made_by="learn").sha256


def _same_answers(task: Task, *, trained: bool) -> Callable[[Array, Array], tuple[float, float]]:
    """How far two outputs (batch, …) are apart, and what is allowed.

    Probabilities are compared one by one. What ends in a choice (boxes kept, best items) jumps where two are equal
    but for rounding, which random weights are full of: there the task compares, and only trained weights.
    """
    import numpy as np

    def apart(found: Array, wanted: Array) -> tuple[float, float]:
        if task.truth == "class":
            return _largest(found, wanted), TOLERANCE
        if task.truth == "number":
            return _largest(found, wanted) / max(1.0, float(np.abs(wanted).max())), TOLERANCE
        if not trained:
            return 0.0, TOLERANCE
        return max(task.difference(one, other) for one, other in zip(found, wanted, strict=True)), CHOICE_TOLERANCE

    return apart


def _largest(found: Array, wanted: Array) -> float:
    """Largest difference; NaN on either side counts as one."""
    import numpy as np

    difference = float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())
    return difference if difference == difference else math.inf


def build_network(job: ExportJob, workspace: Workspace) -> torch.nn.Module:
    """The network in evaluation mode, with the job's weights or random ones from its seed."""
    try:
        import torch
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingExtra("export", "train", str(error.name)) from error

    torch.manual_seed(job.seed)
    module: torch.nn.Module = build(job.network, job.task)
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

    write_onnx(torch_to_onnx(shipped, [torch.from_numpy(example)], name, input_names=["input"]), target)


def _compare(
    shipped: torch.nn.Module,
    path: Path,
    batches: Sequence[Array],
    name: str,
    apart: Callable[[Array, Array], tuple[float, float]],
) -> None:
    """Refuse a file that does not answer as torch does."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for batch in batches:
        (found,) = session.run(["output"], {"input": batch})
        with torch.no_grad():
            wanted = shipped(torch.from_numpy(batch)).numpy()
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            given = f"{found.dtype} {found.shape}, torch {wanted.dtype} {wanted.shape}"
            raise Unsupported("EXPORT_DIFFERS", f"the ONNX file of {name} gives {given}")
        worst, allowed = apart(found, wanted)
        if not worst <= allowed:
            raise Unsupported(
                "EXPORT_DIFFERS",
                f"the ONNX file of {name} differs from torch by {worst:.2g} on real samples; {allowed:g} is allowed",
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
