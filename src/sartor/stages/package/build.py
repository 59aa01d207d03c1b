"""Builds a package: everything a model needs to run, to be understood and to be checked elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sartor.codec import to_plain
from sartor.errors import Refused, StorageError
from sartor.pipeline import ENCODER, Predictor, write_pipeline
from sartor.stages.package import golden as golden_pairs
from sartor.stages.package.card import chosen_record, write_card
from sartor.stages.package.manifest import NAME, check_manifest, write_manifest
from sartor.stages.package.read import describe
from sartor.storage import file_sha256, sync_folder, telling_disk_errors, write_text
from sartor.types import Package, Pipeline, RunFile

GOLDEN_PAIRS = 16  # enough to notice another model, little enough to keep packages small


def build_package(
    run: RunFile,
    artifact_path: Path,
    pipeline: Pipeline,
    golden: Sequence[bytes],
    target: Path,
    *,
    encoder: Path | None = None,
    sample_names: Sequence[str] = (),
    requirement_text: str = "",
    report: str = "",
) -> Package:
    """Write a package folder, whole or not at all; an earlier package at the same place is replaced.

    Args:
        run: whose decision is ``met``.
        artifact_path: the chosen candidate's model file; it is copied.
        pipeline: how it is run; the model's file name is set here.
        golden: raw inputs whose answers are kept for comparison.
        target: the folder to make.
        encoder: what preparing learnt from train, where the pipeline says so; it is copied.
        sample_names: where the golden inputs come from, for the reader of the card.
        requirement_text: the requirement as it was written (YAML), where there is one.
        report: the HTML report, where there is one.

    Returns:
        The package; its digest depends on the arguments alone.

    Raises:
        Refused: the decision is not ``met``, the file is not the one that was judged, or ``target`` is no package.
        StorageError: the disk does not take it.
    """
    _refuse_other_file(run, artifact_path)
    _refuse_other_encoder(run, pipeline, encoder)
    with telling_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with telling_disk_errors(folder):
            pipeline = replace(pipeline, model=f"model{artifact_path.suffix or '.onnx'}")
            shutil.copyfile(artifact_path, folder / pipeline.model)
            if encoder is not None:
                shutil.copyfile(encoder, folder / ENCODER)
            _write_documents(folder, run, pipeline, requirement_text, report)
            _write_golden(folder, golden, sample_names)
            manifest = write_manifest(folder, run.sartor)
            folder.chmod(0o755)
            _put_in_place(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return describe(target, target, manifest, run.requirement.name, pipeline.model)


def _refuse_other_file(run: RunFile, artifact_path: Path) -> None:
    """A limit is a contract: only the file that was judged, and only when it met everything, becomes a package."""
    if run.decision.status != "met":
        raise Refused(f"the decision is {run.decision.status}; only a model that meets every limit is packaged")
    artifact = chosen_record(run).artifact
    if artifact is None or file_sha256(artifact_path) != artifact.sha256:
        raise Refused(f"{artifact_path} is not the file that was judged for {run.decision.chosen}")


def _refuse_other_encoder(run: RunFile, pipeline: Pipeline, encoder: Path | None) -> None:
    """The encoder is part of what was judged."""
    artifact = chosen_record(run).artifact
    judged = artifact.learnt if artifact else ""
    if {judged, pipeline.learnt} != {file_sha256(encoder) if encoder else ""}:
        raise Refused(f"{encoder or 'no encoder'} is not what {run.decision.chosen} was judged with")


def _write_documents(folder: Path, run: RunFile, pipeline: Pipeline, requirement_text: str, report: str) -> None:
    model = folder / pipeline.model
    documents = {
        "labels.json": pipeline.labels,
        "requirement.json": run.requirement,
        "decision.json": run,
    }
    for name, value in documents.items():
        write_text(folder / name, json.dumps(to_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_pipeline(folder, pipeline)
    write_text(folder / "README.md", write_card(run, pipeline, model))
    if requirement_text:
        write_text(folder / "requirement.yaml", requirement_text)
    if report:
        write_text(folder / "report.html", report)


def _write_golden(folder: Path, golden: Sequence[bytes], sample_names: Sequence[str]) -> None:
    predictor = Predictor(folder)
    names = golden_pairs.write_golden(folder, golden, predictor.task, predictor)
    if sample_names:
        sources = dict(zip(names, sample_names, strict=False))
        text = json.dumps(sources, indent=1, ensure_ascii=False) + "\n"
        write_text(folder / golden_pairs.FOLDER / "sources.json", text)


def _put_in_place(folder: Path, target: Path) -> None:
    """Rename the finished folder; what was there is moved away first and removed only when it was a package."""
    sync_folder(folder)
    if target.exists():
        if not (target / NAME).is_file():
            raise StorageError(f"{target} exists and is not a package; choose another place or remove it")
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        os.rename(target, old / target.name)
        os.rename(folder, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(folder, target)
    sync_folder(target.parent)
    check_manifest(target)
