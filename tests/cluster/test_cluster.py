"""Trainings on a Ray cluster of this machine: killed in the middle, away from the workspace, never twice."""

import os
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from sartor import registry
from sartor.cluster import ClusterExecutor, executor_of
from sartor.cluster.machines import Machines
from sartor.cluster.remote import WORKSPACE
from sartor.codec import digest
from sartor.errors import DeviceError
from sartor.evidence import Workspace
from sartor.execute import Executor, key_of
from sartor.jobs import PrepareJob, TrainJob
from sartor.stages.data import prepare, stamp
from sartor.types import DataSource, Network

MADE_UP = Path(__file__).parent / "made_up"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Where machines that do not see the workspace keep theirs."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def cluster(elsewhere):
    """Two workers of one thread; whoever asks for a local cluster in this process joins it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(MADE_UP), os.environ.get("PYTHONPATH", "")]))
        patch.setenv(WORKSPACE, str(elsewhere))
        machines = Machines("local")
        yield "local"
        machines.close()


def made_up(seed):
    network = Network("linear-pixels", "", {}, (8, 8), 10)
    recipe = registry.get("models", "linear-pixels").recipe(network, 100, 1.0)
    return TrainJob("image-classification", network, "made-up", recipe, seed, 1)


def steps(workspace, seed):
    path = workspace.root / f"steps-{seed}"
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


def rows(workspace):
    """Everything recorded but for when it was and how long it took."""
    with sqlite3.connect(workspace.root / "evidence.db") as database:
        found = database.execute("SELECT key, stage, job, result, refusal, run FROM evidence ORDER BY key").fetchall()
    database.close()
    return found


def with_objects(workspace):
    return {path.name: path.read_bytes() for path in (workspace.root / "objects").glob("*/*")}


@pytest.mark.slow
def test_killed_in_the_middle_nothing_is_lost_and_nothing_done_twice(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(MADE_UP), os.environ.get("PYTHONPATH", "")]))
    jobs = [made_up(seed) for seed in range(3)]
    plain, spread = Workspace(tmp_path / "plain"), Workspace(tmp_path / "spread")
    evidence = plain.evidence()
    with Executor(plain, evidence, "run") as executor:
        alone = [executor.do("train", job).result for job in jobs]
    evidence.close()

    evidence, killed = spread.evidence(), []

    def kill_two(text, share=None):
        """The worker of Ray that trains the first, and the very process that trains the second."""
        first, second = steps(spread, 0), steps(spread, 1)
        if not killed and len(first) > 3 and len(second) > 3:
            killed.extend([psutil.Process(first[-1][1]).ppid(), second[-1][1]])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with executor_of(cluster, spread, evidence, "run") as executor:
        for job in jobs:
            executor.begin("train", job)
        started = time.monotonic()
        done = [executor.do("train", job, kill_two) for job in jobs]
        took = time.monotonic() - started
        again = [executor.find("train", job) for job in jobs]
        assert not executor._flights
    uses = evidence.of_run("run")
    evidence.close()
    assert len(killed) == 2
    assert [outcome.result for outcome in done] == alone
    assert not any(outcome.reused for outcome in done)
    assert [outcome.result for outcome in again] == alone
    assert rows(spread) == rows(plain)
    assert with_objects(spread) == with_objects(plain)
    for seed in range(3):
        assert [step for step, _ in steps(spread, seed)] == list(range(20))  # each once, though its process was another
        assert len({pid for _, pid in steps(spread, seed)}) == (2 if seed < 2 else 1)
    assert sum(use.seconds for use in uses) <= took, "what ran beside others costs the run its own time only"
    deadline = time.monotonic() + 30  # a process is told to end behind its answer, and takes a moment
    while left := [pid for _, pid in (steps(spread, 0)[-1], steps(spread, 2)[-1]) if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_workspace_is_sent_what_it_needs(cluster, elsewhere, tmp_path):
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "noise.npz",
        images=random.integers(0, 255, (300, 8, 8), np.uint8), labels=np.arange(300, dtype=np.int64) % 3,
    )  # fmt: skip
    source, workspace = DataSource(str(tmp_path / "noise.npz")), Workspace(tmp_path / "ws")
    card = prepare(PrepareJob(source, "image-classification", 0, stamp(source)), workspace).card
    (tmp_path / "noise.npz").unlink()
    family = registry.get("models", "linear-pixels")
    options = next(iter(family.variants(card, [(8, 8)], "quick"))).options
    network = Network("linear-pixels", "", dict(options), (8, 8), 3)
    recipe = family.recipe(network, 200, 2.0)
    job = TrainJob("image-classification", network, card.fingerprint, recipe, 0, 1)
    evidence = workspace.evidence()
    with ClusterExecutor(cluster, workspace, evidence, "run") as executor:
        (workspace.root / executor._mark / "seen").unlink()
        outcome = executor.do("train", job)
    evidence.close()
    assert outcome.refusal is None
    content = workspace.objects.path(outcome.result.weights.sha256).read_bytes()
    other = Workspace(tmp_path / "other")
    again = other.evidence()
    (tmp_path / "other" / "data").symlink_to(workspace.root / "data")
    with Executor(other, again, "run") as here:
        alone = here.do("train", job).result
    again.close()
    assert other.objects.path(alone.weights.sha256).read_bytes() == content
    sent = [str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*") if path.is_file()]
    assert any(path.endswith("current.json") for path in sent), "it did its work elsewhere"
    assert not any("objects" in path or "test-" in path or "result.json" in path for path in sent)


def test_what_is_known_is_never_sent(tmp_path, monkeypatch):
    class NoMachines:
        def __init__(self, address): ...

        def close(self): ...

    monkeypatch.setattr("sartor.cluster.executor.Machines", NoMachines)
    workspace, job = Workspace(tmp_path), made_up(0)
    evidence = workspace.evidence()
    evidence.add(
        key=key_of("train", job), stage="train", job=job, result={}, seconds=1.0, run="other",
        refusal={"code": "DIVERGED", "detail": "far away"},
    )  # fmt: skip
    with ClusterExecutor("local", workspace, evidence, "run") as executor:
        executor.begin("train", job)
        outcome = executor.do("train", job)
        assert outcome.refusal.code == "DIVERGED"
        assert outcome.reused
        assert not (workspace.root / "scratch" / digest(job)).exists()
    evidence.close()
    assert not list((workspace.root / "scratch").iterdir())


def test_a_cluster_that_cannot_be_reached_is_told_in_one_sentence():
    with pytest.raises(DeviceError) as told:
        Machines("127.0.0.1:9")
    assert "budget.cluster '127.0.0.1:9' does not answer (Connection refused)" in str(told.value)
    assert "\n" not in str(told.value)
