"""Training on real digits: it learns, says what happened, and repeats nothing."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sartor import registry
from sartor.codec import digest
from sartor.errors import DataError, Unsupported
from sartor.jobs import ThroughputJob
from sartor.stages.train import probe_throughput, train


def built(job, result, workspace):
    module = registry.get("models", job.network.model).build(job.network)
    module.load_state_dict(load_file(workspace.objects.path(result.weights.sha256)))
    return module.eval()


@pytest.mark.parametrize(
    ("family", "epochs", "least"),
    [("resnet9", 3, 0.90), ("linear-pixels", 5, 0.88), ("nearest-neighbours", 1, 0.95)],
)
def test_learns_digits(digits, family, epochs, least):
    job = digits.job(family, epochs)
    said = []
    result = train(job, digits.workspace, lambda text, share=None: said.append((text, share)))
    assert result.score >= least
    assert not result.stopped
    assert result.samples_per_s > 0
    assert result.curve[-1].score == result.score
    assert [row.epoch for row in result.curve] == sorted(row.epoch for row in result.curve)
    assert all(math.isfinite(row.loss) for row in result.curve)
    assert said
    assert said[-1][1] == 1.0
    assert result.conditions["precision"] in ("bf16", "fp32")
    module = built(job, result, digits.workspace)
    assert all(value.isfinite().all() for value in module.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "least"), [("mobile", 0.93), ("convnext-small", 0.95), ("resnet9", 0.96), ("transformers", 0.5)]
)
def test_trained_families_learn_digits(digits, family, least):
    assert train(digits.job(family, 12), digits.workspace).score >= least


def test_majority_class_scores_the_share_of_the_commonest(digits):
    job = digits.job("majority-class", 1)
    classes = digits.card.splits["train"].classes
    commonest = max(classes, key=lambda label: classes[label])
    validation = digits.card.splits["validation"]
    result = train(job, digits.workspace)
    assert result.score == pytest.approx(validation.classes[commonest] / validation.samples)


def test_same_job_same_weights_and_another_seed_other_weights(digits, tmp_path):
    job = digits.job("resnet9", 0.5, seed=3)
    first = train(job, digits.workspace)
    (digits.workspace.scratch(digest(job)) / "result.json").unlink()
    assert train(job, digits.workspace).weights.sha256 == first.weights.sha256
    other = train(digits.job("resnet9", 0.5, seed=4), digits.workspace)
    assert other.weights.sha256 != first.weights.sha256


def test_finished_but_not_recorded_is_not_repeated(digits, monkeypatch):
    job = digits.job("resnet9", 0.5, seed=5)
    first = train(job, digits.workspace)
    monkeypatch.setattr("sartor.stages.train._loop.fit_by_gradient", lambda *_: pytest.fail("trained again"))
    assert train(job, digits.workspace) == first
    assert not list(digits.workspace.scratch(digest(job)).glob("checkpoint-*"))


def test_stops_when_the_floor_is_out_of_reach(digits):
    job = digits.job("linear-pixels", 8, floor=0.9999)
    result = train(job, digits.workspace)
    assert result.stopped == "FLOOR_UNREACHABLE"
    assert result.curve[-1].epoch >= 4
    assert result.curve[-1].epoch < 8


@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_divergence_is_said_and_the_weights_kept_are_finite(digits, rate):
    job = digits.job("resnet9", 1, learning_rate=rate, optimizer="nesterov")
    result = train(job, digits.workspace)
    assert result.stopped == "DIVERGED"
    assert all(value.isfinite().all() for value in built(job, result, digits.workspace).state_dict().values())


def test_augmentation_auto_is_what_the_task_suggests(digits):
    from sartor.prepared import open_data
    from sartor.stages.train._loop import Training

    data = open_data(digits.card.fingerprint, digits.workspace)
    task = registry.get("tasks", "image-classification")
    assert Training(digits.job("resnet9", 1), data)._augment == tuple(task.augmentations(digits.card))
    assert Training(digits.job("resnet9", 1, augment=()), data)._augment == ()


def test_unknown_optimizer_is_declined(digits):
    with pytest.raises(Unsupported, match="'adam' is not"):
        train(digits.job("resnet9", 1, optimizer="adam"), digits.workspace)


def test_data_that_is_not_there(digits, tmp_path):
    from sartor.evidence import Workspace

    with pytest.raises(DataError, match="is not prepared"):
        train(digits.job("resnet9", 1), Workspace(tmp_path))


@pytest.mark.parametrize("family", ["resnet9", "nearest-neighbours"])
def test_throughput_is_probed_without_training(digits, family):
    from sartor.stages.train._machine import NOISY_LOAD

    job = ThroughputJob(digits.job(family, 1), seconds=0.2)
    result = probe_throughput(job, digits.workspace)
    assert result.samples_per_s > 0
    assert result.evaluated_per_s > 0
    assert result.noisy == (result.foreign_load > NOISY_LOAD)


def test_stages_train_loads_no_torch_until_it_trains():
    import subprocess
    import sys

    code = "import sys, sartor.stages.train, sartor.stages.train.environment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_environment_is_understood_by_the_c_library():
    import os
    import subprocess
    import sys

    from sartor.stages.train.environment import training_environment

    child = subprocess.run(
        [sys.executable, "-c", "print(1)"],
        env={**os.environ, **training_environment()}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert child.stdout == "1\n"
    assert child.stderr == ""


def test_bf16_only_where_the_processor_has_it(monkeypatch):
    from sartor.stages.train import _machine

    cpu = torch.device("cpu")
    monkeypatch.setattr(_machine, "_cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert _machine.training_dtype(cpu) == torch.float32
    monkeypatch.setattr(_machine, "_cpu_flags", lambda: frozenset({"avx2", "amx_bf16"}))
    assert _machine.training_dtype(cpu) == torch.bfloat16


def test_a_training_out_of_time_ends_its_schedule_with_fewer_epochs(digits):
    job = replace(digits.job("linear-pixels", 20_000), seconds=2.0)
    result = train(job, digits.workspace)
    assert not result.stopped
    assert 0 < result.epochs < 20_000
    rates = [row.learning_rate for row in result.curve]
    assert rates[-1] < 0.1 * job.recipe.learning_rate
    assert result.score > 0.8
    assert result.curve[-1].score == result.score
