"""A run folder made in seconds on made-up pictures, through the real stages: for smoke tests of the benchmarks.

Nothing is measured or judged on the way, so no number that comes out of it means anything.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.errors import SartorError
from sartor.evidence import Workspace, write_json
from sartor.execute import Executor
from sartor.jobs import CompressJob, ExportJob, PrepareJob, TrainJob
from sartor.prepared import open_data
from sartor.stages.data import stamp
from sartor.stages.package import build_package
from sartor.testing.tiny_package import tiny_run
from sartor.types import Artifact, Candidate, DataSource, Network, Pipeline, Record, RunFile, Step

TASK = "image-classification"
SIDE, CLASSES, PICTURES, EPOCHS = 16, 3, 240, 4.0
RUN = "smoke"


def make_run(folder: Path) -> Path:
    """Data, a small trained network, its int8 file, a package, ``decision.json`` and the evidence behind it."""
    source = DataSource(str(_write_pictures(folder / "pictures.npz")))
    workspace = Workspace(folder / ".sartor")
    evidence = workspace.evidence()
    steps: list[Step] = []
    try:
        with Executor(workspace, evidence, RUN) as executor:

            def do(stage: str, job: object) -> Any:
                outcome = executor.do(stage, job)
                if outcome.refusal is not None:
                    raise SartorError(f"{outcome.refusal.code}: {outcome.refusal.detail}")
                steps.append(Step(stage, "", 0.0, outcome.seconds, outcome.reused, "done", outcome.key))
                return outcome.result

            card = do("prepare", PrepareJob(source, TASK, 0, stamp(source))).card
            network = _smallest(card)
            recipe = registry.get("models", network.model).recipe(network, card.splits["train"].samples, EPOCHS)
            trained = do("train", TrainJob(TASK, network, card.fingerprint, recipe, 0, 1))
            exported = do("export", ExportJob(TASK, network, card.fingerprint, trained.weights.sha256, 1, 0))
            size = network.input_size
            job = CompressJob("int8-static", exported.artifact.sha256, TASK, card.fingerprint, size, 1, 0)
            artifact = do("compress", job).artifact
    finally:
        evidence.close()
    candidate = Candidate(network, "int8-static", "onnxruntime", "int8", 1)
    file = _run_file(workspace, artifact, candidate, source)
    file = replace(file, card=card, steps=tuple(steps), curves={network.id: trained.curve}, device=identify())
    return _deliver(folder / "runs" / "smoke-000000", file, workspace, artifact, candidate)


def _write_pictures(path: Path) -> Path:
    """Noise with one bright colour: learnt within seconds, not by chance."""
    chance = np.random.default_rng(0)
    labels = np.arange(PICTURES) % CLASSES
    pixels = chance.integers(0, 120, (PICTURES, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[np.arange(PICTURES), :, :, labels] += 90
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=pixels, labels=labels.astype(np.int64))
    return path


def _smallest(card: Any) -> Network:
    family = registry.get("models", "resnet9")
    variant = next(iter(family.variants(card, [(SIDE, SIDE)], "quick")))
    return Network("resnet9", variant.name, dict(variant.options), tuple(variant.input_size), len(card.labels))


def _run_file(workspace: Workspace, artifact: Artifact, candidate: Candidate, source: DataSource) -> RunFile:
    """The tests' own run file with our candidate in the place of its own."""
    file = tiny_run(workspace.objects.path(artifact.sha256))
    fate = replace(file.decision.fates[0], candidate=candidate.id)
    return replace(
        file,
        requirement=replace(file.requirement, name=RUN, data=source, limits=()),
        records=(Record(candidate, (), artifact),),
        decision=replace(
            file.decision,
            chosen=candidate.id,
            verdicts=(),
            sentence="made up",
            fates=(replace(fate, verdicts=()),),
            front=(candidate.id,),
        ),
        package="package",
    )


def _deliver(folder: Path, file: RunFile, workspace: Workspace, artifact: Artifact, candidate: Candidate) -> Path:
    pipeline = Pipeline(
        TASK, file.card.labels, candidate.network.input_size, "model.onnx", candidate.runtime, candidate.precision, 1, 1
    )
    test = open_data(file.card.fingerprint, workspace).split("test")
    golden = [test.raw(place) for place in range(2)]
    build_package(file, workspace.objects.path(artifact.sha256), pipeline, golden, folder / "package")
    write_json(folder / "decision.json", file)
    return folder
