"""One code path for every accelerator: which device, which precision; fp16 with scaled losses."""

import pytest
import torch

from sartor.prepared import open_data
from sartor.stages.train import _launch, _machine, _steps
from sartor.stages.train.environment import PROCESSES, training_environment


@pytest.fixture
def cuda(monkeypatch):
    """Four CUDA devices, as far as torch's own words go."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(("rank", "index"), [(None, 0), ("2", 2), ("5", 1)])
def test_every_rank_of_a_machine_has_a_device(cuda, monkeypatch, rank, index):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert _machine.training_device() == torch.device("cuda", index)


def test_without_cuda_apples_device_and_without_that_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert _machine.training_device().type == "mps"
    assert _machine.training_dtype(torch.device("mps")) == torch.float32
    assert _machine.sum_dtype(torch.device("mps")) == torch.float32  # it has no doubles
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert _machine.training_device().type == "cpu"


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_fp16_where_a_cuda_device_lacks_bf16(monkeypatch, native, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert _machine.training_dtype(torch.device("cuda")) == dtype


def test_tf32_is_for_the_steps_and_not_for_the_last_look(cuda, monkeypatch):
    said = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    _machine.multiply_fast()
    _machine.multiply_exactly()
    assert said == ["high", "highest"]
    assert not torch.backends.cudnn.allow_tf32


def test_one_process_per_device_unless_told_otherwise(cuda, monkeypatch):
    monkeypatch.delenv(PROCESSES, raising=False)
    assert _launch.wanted_processes() == 4
    monkeypatch.setenv(PROCESSES, training_environment(3)[PROCESSES])
    assert _launch.wanted_processes() == 3
    assert PROCESSES not in training_environment(0)


def test_fp16_scales_its_losses_and_remembers_by_how_much(digits, monkeypatch):
    monkeypatch.setattr(_steps, "training_dtype", lambda device: torch.float16)
    job = digits.job("linear-pixels", 1, batch_size=64, clip=1.0)
    data = open_data(job.data, digits.workspace)
    training = _steps.Training(job, data)
    first = float(training.take_step(0))
    for step in range(1, 12):
        last = float(training.take_step(step))
    assert last < first
    training.gradients.scaler.update(128.0)
    kept = training.tensors()
    again = _steps.Training(job, data)
    again.restore(kept)
    assert again.gradients.scaler.get_scale() == 128.0
    assert float(again.take_step(12)) == float(training.take_step(12))
    assert all(weight.isfinite().all() for weight in again.module.parameters())
