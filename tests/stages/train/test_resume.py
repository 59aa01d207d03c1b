"""A training that is killed anywhere continues to the same weights, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from killing import Killed

from sartor.codec import digest, to_plain
from sartor.stages.train import _checkpoints, _loop, train

CASES = [("resnet9", {}), ("mobile", {}), ("linear-pixels", {}), ("resnet9", {"optimizer": "nesterov"})]


@pytest.mark.parametrize(("family", "recipe"), CASES, ids=str)
@pytest.mark.parametrize("fatal_step", [3, 17, 30])
def test_resumes_to_the_same_bits(digits, resumes, family, recipe, fatal_step):
    resumes(digits.job(family, 2, seed=10, **recipe), fatal_step)


def test_what_was_better_before_the_end_is_kept_and_outlives_a_kill(digits, monkeypatch):
    take_step, die_at = _loop.Training.take_step, [1.0]  # a share of the steps

    def spoilt(self, step):
        if step >= die_at[0] * self.steps:
            die_at[0] = 1.0
            raise Killed
        loss = take_step(self, step)
        if step > 0.8 * self.steps:
            for parameter in self.average.module.parameters():
                parameter.zero_()
        return loss

    monkeypatch.setattr(_loop.Training, "take_step", spoilt)
    job = digits.job("resnet9", 2, seed=13)
    result = train(job, digits.workspace)
    assert result.score > 0.5
    assert result.conditions["kept_epoch"] == 1
    (digits.workspace.scratch(digest(job)) / "result.json").unlink()
    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(_loop, "_CHECKPOINT_SHARE", 1e9)
    die_at[0] = 0.9
    with pytest.raises(Killed):
        train(job, digits.workspace)
    assert train(job, digits.workspace).weights.sha256 == result.weights.sha256


def test_a_damaged_checkpoint_costs_one_generation(digits, monkeypatch):
    job = digits.job("resnet9", 1, seed=11)
    wanted = train(job, digits.workspace)
    folder = digits.workspace.scratch(digest(job))
    (folder / "result.json").unlink()
    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(_loop, "_CHECKPOINT_SHARE", 1e9)
    take_step = _loop.Training.take_step

    def dying(self, step):
        if step == 12:
            raise Killed
        return take_step(self, step)

    monkeypatch.setattr(_loop.Training, "take_step", dying)
    with pytest.raises(Killed):
        train(job, digits.workspace)
    newest = max(folder.glob("checkpoint-*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    monkeypatch.setattr(_loop.Training, "take_step", take_step)
    started = _checkpoints.read_checkpoint(folder)
    assert started is not None
    assert started[0] == 11
    assert train(job, digits.workspace).weights.sha256 == wanted.weights.sha256


@pytest.mark.slow
def test_survives_kill_9_at_any_moment(digits, tmp_path):
    job = digits.job("resnet9", 6, seed=12)
    wanted = train(job, digits.workspace)
    (digits.workspace.scratch(digest(job)) / "result.json").unlink()
    path = tmp_path / "job.json"
    path.write_text(json.dumps(to_plain(job)))
    code = (
        "import json, sys; from pathlib import Path\n"
        "from sartor.codec import from_plain; from sartor.jobs import TrainJob; from sartor.evidence import Workspace\n"
        "from sartor.stages.train import _loop, train\n"
        "_loop.CHECKPOINT_EVERY_S, _loop._CHECKPOINT_SHARE = 0.02, 1e9\n"
        "job = from_plain(TrainJob, json.loads(Path(sys.argv[1]).read_text()))\n"
        "tell = lambda text, share=None: print(text, flush=True)\n"
        "made = train(job, Workspace(Path(sys.argv[2])), tell).weights.sha256\n"
        "print('RESULT', made, 'torch._dynamo' in sys.modules)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(path), str(digits.root)]
    for patience in (0.0, 0.4, 0.9):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not list(digits.workspace.scratch(digest(job)).glob("checkpoint-*.json")) and child.poll() is None:
            time.sleep(0.05)
        time.sleep(patience)
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, made, compiles = done.stdout.splitlines()[-1].split()
    assert made == wanted.weights.sha256
    assert compiles == "False"  # the import alone takes two seconds
