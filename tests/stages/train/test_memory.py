"""What a training will take is counted before it runs, and a training is fitted into what is free."""

import copy
import csv
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sartor import registry
from sartor.codec import canonical_json
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, TrainJob
from sartor.prepared import open_data
from sartor.stages.data import prepare, stamp
from sartor.stages.train import _fitting, _machine, _memory, _steps
from sartor.stages.train._loop import Training
from sartor.stages.train._ranks import ALONE, Ranks
from sartor.stages.train._recompute import blocks_of, recompute_blocks
from sartor.stages.train.environment import CUT, training_environment
from sartor.types import DataSource, Network


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """In fp32 on every processor, as counted here."""
    monkeypatch.setattr(_steps, "training_dtype", lambda device: torch.float32)


@pytest.fixture(scope="module")
def training(digits):
    def make(**recipe):
        job = digits.job("resnet9", 1, **recipe)
        return Training(job, open_data(job.data, digits.workspace))

    return make


def test_live_bytes_are_those_of_tensors_that_are_there_at_once():
    weight = torch.zeros(1000, 1000)
    with _memory.LiveBytes([weight]) as live:
        seen = weight.t().reshape(-1)[:10]  # a copy of the whole, of which a view is kept
        del seen
        one = weight + 1
        del one
        two, half = weight * 2, weight[:500] * 2
        two.add_(1)
    assert live.peak == 6_000_000
    assert live.now == 6_000_000
    del two, half
    assert live.now == 0


def test_a_network_of_known_size_is_predicted(training):
    found = training(batch_size=64)
    before = copy.deepcopy(found.tensors())
    seen = _memory.foresee(found)
    assert all(torch.equal(value, before[name]) for name, value in found.tensors().items())
    weights = sum(p.numel() for p in found.module.parameters())
    assert all(p.grad is None for p in found.module.parameters())
    # the network, its average and the best average, and one or two numbers that the optimizers remember of each weight
    assert 4 * 4 * weights <= seen.state <= 5.1 * 4 * weights
    assert max(least for least, _ in seen.moments) >= 0.99 * 4 * weights  # gradients
    each = max(each for _, each in seen.moments)
    assert seen.peak(10_001) - seen.peak(10_000) == pytest.approx(seen.heap * each, abs=1)
    assert seen.most_samples(seen.peak(10_000)) in (9_999, 10_000)
    assert seen.most_samples(seen.state) == 0
    held, batch = [], found.batch(0)[0]

    def keep(tensor):
        held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found.module.train()(batch)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
    for tensor in (batch, *found.module.parameters(), *found.module.buffers()):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    saved = sum(storages.values()) / 64
    assert saved <= each <= 2 * saved  # what is kept for the way back, and what the way back needs beside it


def test_a_batch_is_cut_to_what_is_free(training, monkeypatch):
    found, said = training(batch_size=256), []
    seen = _memory.foresee(found)
    wanted = seen.peak(140)
    monkeypatch.setattr(_fitting, "free_memory", lambda device: int(wanted / _fitting.USED_SHARE) - seen.held + 1)
    facts = _fitting.fit_memory(found, ALONE, None, lambda text, share=None: said.append(text))
    assert found.gradients.micro_batch == 128
    assert not facts["recomputed"]
    assert facts["memory_predicted_mb"] <= wanted / 1e6 + 1
    assert "in 2 parts" in said[0]


def test_where_all_fits_nothing_changes(training):
    found = training(batch_size=256)
    facts = _fitting.fit_memory(found, ALONE, None, lambda text, share=None: pytest.fail(text))
    assert found.gradients.parts == 1
    assert facts["memory_predicted_mb"] > 0


def test_what_surely_does_not_fit_is_a_reason(training, monkeypatch):
    monkeypatch.setattr(_fitting, "free_memory", lambda device: 1_000_000)
    with pytest.raises(Unsupported, match="takes at least .* MB are free") as refusal:
        _fitting.fit_memory(training(batch_size=16), ALONE, None, lambda text, share=None: None)
    assert refusal.value.code == "OUT_OF_MEMORY"


class Two(Ranks):
    """Two ranks of which the other one always agrees."""

    def least(self, value):
        return value

    def told(self, *values):
        return values


@pytest.fixture
def fitted(training, monkeypatch):
    """``fitted(free_mb)``: whether two ranks cut a network that takes 500 MB, and what is told."""
    large = _memory.Footprint(500_000_000, 0, ((100_000_000, 1000),), 0, 0, 0, 1.0, 0, 400_000_000, 0, 50_000_000)
    monkeypatch.setattr(_fitting, "foresee", lambda training, samples: large)

    def check(free_mb, *more):
        found, chosen, said = training(batch_size=16), [], []
        for name, value in more:
            found.module.register_parameter(name, value)
        monkeypatch.setattr(found, "spread", lambda ranks, cut_at: chosen.append(cut_at is not None))
        monkeypatch.setattr(_fitting, "free_memory", lambda device: free_mb * 1_000_000)
        facts = _fitting.fit_memory(found, Two(0, 2), None, lambda text, share=None: said.append(text))
        return chosen[0], facts["memory_predicted_mb"], " ".join(said)

    return check


def test_what_does_not_fit_whole_is_cut_over_the_ranks(fitted, monkeypatch):
    assert fitted(1000) == (False, 600, "")
    cut, predicted, said = fitted(500)
    assert cut
    assert 300 <= predicted <= 310  # and what is put together at a time of a small network
    assert "its 2 processes share the memory" in said
    with pytest.raises(Unsupported, match="OUT_OF_MEMORY|takes at least"):
        fitted(200)
    monkeypatch.setenv(CUT, "1")
    assert fitted(1000)[0]


def test_a_single_number_is_not_cut(fitted, monkeypatch):
    with pytest.raises(Unsupported, match="takes at least"):
        fitted(400, ("scale", nn.Parameter(torch.ones(()))))
    monkeypatch.setenv(CUT, "1")
    cut, _, said = fitted(1000, ("scale", nn.Parameter(torch.ones(()))))
    assert not cut
    assert "not cut over its processes, as a weight is a single number" in said


def deep():
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)) for _ in range(6)
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(8 * 16 * 16, 3))


def test_blocks_in_lists_of_lists_are_those_that_are_called():
    module = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2), nn.ReLU()]), nn.ModuleList([nn.Linear(2, 2)])])
    assert blocks_of(module) == [module[0][0], module[1][0]]


def test_recomputed_blocks_give_the_same_gradients_for_less():
    batch, found = torch.randn(16, 8, 16, 16), []
    for recomputes in (False, True):
        module = deep().train()
        if recomputes:
            assert recompute_blocks(module) == 7
        torch.manual_seed(1)
        with _memory.LiveBytes([batch, *module.parameters(), *module.buffers()]) as live:
            module(batch).square().mean().backward()
        found.append((live.peak, module))
    (plain, one), (less, other) = found
    assert less < 0.6 * plain
    for (name, value), (_, same) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.allclose(value.grad, same.grad, atol=1e-6), name
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


def texts(random_):
    words = [f"w{number}" for number in range(500)]
    return ["text", "label"], [[" ".join(random_.choices(words, k=60)), "ab"[place % 2]] for place in range(1500)]


def numbers(random_):
    rows = [[*(f"{random_.gauss(0, 1):.3f}" for _ in range(60)), "ab"[place % 2]] for place in range(1200)]
    return [*(f"x{number}" for number in range(60)), "label"], rows


LIBRARIES_VARY_MB = 30  # of 95, from run to run: of a training of a few megabytes, as the last one's, most of it
TABLES = {
    "text-transformer": ("text-classification", texts, 1000),
    "tabular-mlp": ("tabular-classification", numbers, 800),
}


def job_on_a_table(family, folder):
    task, made, batch = TABLES[family]
    header, rows = made(random.Random(0))
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    source, workspace = DataSource(str(folder / "data.csv"), label="label"), Workspace(folder / "workspace")
    card = prepare(PrepareJob(source, task, 0, stamp(source)), workspace).card
    plugin = registry.get("models", family)
    variant = next(iter(plugin.variants(card, registry.get("tasks", task).input_sizes(card), "thorough")))
    network = Network(
        family, variant.name, dict(variant.options), variant.input_size, len(card.labels), variant.encoding
    )
    samples = card.splits["train"].samples
    recipe = replace(plugin.recipe(network, samples, 1), batch_size=batch, epochs=3 * batch / samples)
    return TrainJob(task, network, card.fingerprint, recipe, 0, 1), workspace


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peaks are read as Linux gives them")
@pytest.mark.parametrize("family", ["resnet9", *TABLES])
def test_the_prediction_is_within_15_percent_of_what_is_taken(digits, tmp_path, family):
    if family == "resnet9":
        job, workspace = digits.job("resnet9", 1, variant="m", batch_size=256), digits.workspace
        samples = digits.card.splits["train"].samples
        job = replace(job, recipe=replace(job.recipe, epochs=2 * 256 / samples))
    else:
        job, workspace = job_on_a_table(family, tmp_path)
    (tmp_path / "job.json").write_text(canonical_json(job))
    command = [sys.executable, str(Path(__file__).parent / "memory_child.py")]
    done = subprocess.run(
        [*command, str(tmp_path / "job.json"), str(workspace.root)],
        env={**os.environ, **training_environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    # what kernels take beside tensors was measured with AVX2; those for wider registers take other amounts
    close = 0.15 if "avx512f" not in _machine._cpu_flags() else 0.5
    small = LIBRARIES_VARY_MB if family == "tabular-mlp" else 0.0
    assert said["predicted"] == pytest.approx(said["measured"], rel=close, abs=small), said
