"""Handwritten digits, prepared once, and a way to name trainings on them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from killing import Killed

from sartor import registry
from sartor.codec import digest
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, TrainJob
from sartor.stages.data import prepare, stamp
from sartor.stages.train import _loop, train
from sartor.types import DataCard, DataSource, Network

TASK = "image-classification"


@dataclass(frozen=True)
class Digits:
    """Prepared digits; ``job`` names a training on them."""

    root: Path
    card: DataCard

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def job(self, family: str, epochs: float, *, variant: str = "", seed: int = 0, floor: float = 0.0, **recipe):
        plugin = registry.get("models", family)
        offered = {v.name: v for v in plugin.variants(self.card, [(8, 8)], "thorough")}
        chosen = offered[variant] if variant else next(iter(offered.values()))
        network = Network(family, chosen.name, dict(chosen.options), chosen.input_size, len(self.card.labels))
        samples = self.card.splits["train"].samples
        asked = replace(plugin.recipe(network, samples, epochs), **recipe)
        return TrainJob(TASK, network, self.card.fingerprint, asked, seed, 1, floor)


@pytest.fixture
def resumes(digits, monkeypatch):
    """``resumes(job, step)``: killed at a step, a training goes on to the same bits and does nothing else twice."""

    def check(job, fatal_step):
        wanted = train(job, digits.workspace)
        (digits.workspace.scratch(digest(job)) / "result.json").unlink()
        monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
        monkeypatch.setattr(_loop, "_CHECKPOINT_SHARE", 1e9)
        take_step, steps = _loop.Training.take_step, []

        def dying(self, step):
            steps.append(step)
            if step == fatal_step and steps.count(step) == 1:
                raise Killed
            return take_step(self, step)

        monkeypatch.setattr(_loop.Training, "take_step", dying)
        with pytest.raises(Killed):
            train(job, digits.workspace)
        result = train(job, digits.workspace)
        assert result.weights.sha256 == wanted.weights.sha256
        assert [(r.epoch, r.loss, r.score) for r in result.curve] == [(r.epoch, r.loss, r.score) for r in wanted.curve]
        assert steps.count(fatal_step) == 2
        assert len(steps) == len(set(steps)) + 1

    return check


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Digits:
    datasets = pytest.importorskip("sklearn.datasets")
    root = tmp_path_factory.mktemp("digits")
    images, labels = datasets.load_digits(return_X_y=True)
    pixels = np.clip(images * 16, 0, 255).astype(np.uint8).reshape(-1, 8, 8)
    np.savez(root / "digits.npz", images=pixels, labels=labels.astype(np.int64))
    source = DataSource(str(root / "digits.npz"))
    workspace = Workspace(root / "workspace")
    result = prepare(PrepareJob(source, TASK, 0, stamp(source)), workspace)
    return Digits(workspace.root, result.card)
