"""One registered compressor applied to one artifact, with calibration samples from train."""

from __future__ import annotations

import time
from dataclasses import replace

from sartor import registry
from sartor.codec import digest
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ArtifactResult, CompressJob
from sartor.prepared import open_data
from sartor.progress import Tell, silent
from sartor.stages.compress.onnx_file import write_onnx

CALIBRATION_SAMPLES = 256


def compress(job: CompressJob, workspace: Workspace, tell: Tell = silent) -> ArtifactResult:
    """Make the compressed child of an artifact; whether it pays is for the measurement to say.

    ``job.options`` go to the compressor, but for ``calibration_samples`` (256 unless given): the same options, seed
    and data give the same samples and so the same bytes.

    Example:
        >>> compress(CompressJob("int8-static", sha256, task, data, (32, 32), 1, 0), workspace)  # doctest: +SKIP

    Raises:
        Unsupported: the compressor declines; ``INVALID_GRAPH`` where what it wrote is no valid graph.
    """
    began = time.monotonic()
    compressor = registry.get("compressors", job.compressor)
    options = dict(job.options)
    samples = options.pop("calibration_samples", CALIBRATION_SAMPLES)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise Unsupported("BAD_OPTION", f"calibration_samples is {samples!r}; it must be a whole number of at least 1")
    tell(f"compressing with {job.compressor}")
    learnt = workspace.objects.path(job.learnt).read_bytes() if job.learnt else None
    calibration = open_data(job.data, workspace).calibration(job.input_size, samples, job.seed, job.encoding, learnt)
    scratch = workspace.scratch(digest(job))
    made, target = scratch / "made", scratch / "model"
    remark = compressor.apply(workspace.objects.path(job.artifact), made, calibration, options, job.seed)
    if compressor.produces == "onnx":
        import onnx

        write_onnx(onnx.load(made), target)
    else:
        made.replace(target)
    artifact = workspace.objects.take(target, format=compressor.produces, parent=job.artifact, made_by=job.compressor)
    workspace.clear_scratch(digest(job))
    return ArtifactResult(replace(artifact, learnt=job.learnt), time.monotonic() - began, remark or "")
