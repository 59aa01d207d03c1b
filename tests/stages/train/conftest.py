"""Handwritten digits, prepared once, and a way to name trainings on them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from sartor import registry
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, TrainJob
from sartor.stages.data import prepare, stamp
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
