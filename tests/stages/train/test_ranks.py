"""Several processes train one network: the same gradients, losses and weights as one, also when one is killed."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sartor.codec import canonical_json, digest
from sartor.execute import key_of
from sartor.jobs import Teacher
from sartor.networks import build
from sartor.stages.train import _launch, _steps, train
from sartor.stages.train.environment import PROCESSES

HERE = Path(__file__).parent


def test_trainings_on_several_processes_are_evidence_of_their_own(digits):
    job = digits.job("resnet9", 1)
    assert key_of("train", job, 2) != key_of("train", job) == key_of("train", job, 1)
    assert key_of("throughput", job, 2) != key_of("throughput", job)
    assert key_of("export", job, 2) == key_of("export", job)


@pytest.fixture(scope="module")
def said(digits, tmp_path_factory):
    """What two ranks found, each for itself."""
    folder = tmp_path_factory.mktemp("two-ranks")
    job = digits.job("resnet9", 1, batch_size=21, clip=0.5)
    torch.manual_seed(5)
    save_file(build(job.network, job.task).state_dict(), folder / "teacher.safetensors")
    teacher = Teacher(
        job.network, digits.workspace.objects.take(folder / "teacher.safetensors", format="safetensors").sha256
    )
    jobs = {
        "job": job,
        "plain": digits.job("linear-pixels", 1, batch_size=21, clip=0.5),
        "taught": replace(job, recipe=replace(job.recipe, teacher=teacher)),
    }
    for name, each in jobs.items():
        (folder / name).write_text(canonical_json(each))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, str(HERE / "two_ranks.py"), str(digits.root), *(str(folder / name) for name in jobs)],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [json.loads(rank.communicate(timeout=240)[0].splitlines()[-1]) for rank in ranks]


@pytest.mark.slow
def test_two_ranks_compute_the_gradient_of_one(said):
    for each in said:
        # 11 and 10 samples, norms and a loss over the whole batch among what is compared
        assert max(each["mean"]) < 1e-3
        assert max(each["spanning"]) < 1e-3
        assert each["told"] == [0, "same"]
        assert each["finite in parts mean"]
        assert each["finite in parts spanning"]
    assert [each["shares"] for each in said] == [[0, 2], [2, 5]]


@pytest.mark.slow
def test_two_ranks_that_cut_the_network_compute_the_gradient_of_one(said):
    for each in said:
        for kind in ("mean", "spanning", "taught", "mean in parts", "spanning in parts", "bf16"):
            assert max(each[f"cut {kind}"]) < 1e-3, kind
        difference, largest, pieces = each["odd"]
        assert difference < 1e-5 * largest
        assert pieces == 3


@pytest.mark.slow
def test_optimizers_move_what_is_cut_as_they_move_the_whole(said):
    for each in said:
        difference, moved = each["muon"]
        assert difference < 1e-5 < moved
        assert each["overflow"] == [0.0, 4.0]  # both leave the step out


@pytest.mark.slow
def test_a_cut_network_goes_on_from_its_checkpoint_cut_or_whole(said):
    for each in said:
        assert each["resumed"][0] == 0  # bits
        cut, whole, never_cut = each["resumed plain"]
        assert cut == 0
        assert max(whole, never_cut) < 1e-5


@pytest.mark.slow
def test_a_rank_that_is_killed_or_out_of_memory_costs_nothing_but_time(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(_steps, "training_dtype", lambda device: torch.float32)
    job = digits.job("linear-pixels", 2.0, batch_size=64, seed=80, clip=0.5)
    alone = train(job, digits.workspace)
    scratch = digits.workspace.scratch(digest(job))
    (scratch / "result.json").unlink()
    monkeypatch.setenv(PROCESSES, "2")
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(_launch, "RANK", "dying_rank")
    said = []
    together = train(job, digits.workspace, lambda text, share=None: said.append(text))
    assert (tmp_path / "died").exists()
    steps = [int(step) for step in (tmp_path / "died.0").read_text().split()]
    # first it went on from a checkpoint of the step before or, where that was not written yet, the one before that;
    # then, cut, from the one that all agreed upon
    assert steps.count(0) == steps.count(7) == 1
    assert steps.count(8) == 2
    assert len(set(steps)) + 4 <= len(steps) <= len(set(steps)) + 7
    assert together.conditions["cut"]
    assert "cut" not in alone.conditions
    assert any("share the memory" in text for text in said)
    assert together.conditions["processes"] == 2
    assert together.conditions["micro_batch"] == 16  # of the 32 of a rank
    assert any("samples/s" in text for text in said), said
    assert [row.loss for row in together.curve] == pytest.approx([row.loss for row in alone.curve], rel=1e-4)
    assert together.score == pytest.approx(alone.score, abs=0.02)
    ours, theirs = (load_file(digits.workspace.objects.path(r.weights.sha256)) for r in (together, alone))
    for name, value in theirs.items():
        if value.is_floating_point():
            assert float((ours[name] - value).norm() / value.norm().clamp_min(1e-6)) < 0.01, name
