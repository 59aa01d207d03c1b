"""A batch that does not fit is computed in parts: the same training, told and written down."""

from dataclasses import replace

import pytest
import torch

from sartor import registry
from sartor.errors import Unsupported
from sartor.prepared import open_data
from sartor.stages.train import _gradients, _steps, train
from sartor.stages.train._loop import Training


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """In fp32 on every processor: bf16 rounds more than is compared here."""
    monkeypatch.setattr(_steps, "training_dtype", lambda device: torch.float32)


def training(digits, job):
    return Training(job, open_data(job.data, digits.workspace))


def gradient(digits, job, parts):
    found = training(digits, job)
    found.gradients.parts = parts
    found.module.train()
    torch.manual_seed(found.feed.layer_seed(0))
    loss = found.gradients.compute(0, *found.batch(0))
    return loss, {name: weight.grad for name, weight in found.module.named_parameters()}


def without_norms(monkeypatch):
    """Batch norms see a part only; what is compared here is all the rest."""
    forward = torch.nn.BatchNorm2d.forward
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, x: forward(self.eval(), x))


@pytest.mark.parametrize(("parts", "spans"), [(3, False), (7, True)])
def test_the_gradient_of_parts_is_that_of_the_batch(digits, monkeypatch, parts, spans):
    without_norms(monkeypatch)
    family = registry.get("models", "resnet9")
    if spans:  # hard ones count double, and which are hard depends on the batch

        def loss(outputs, targets, smoothing):
            each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
            weight = 1 + (each > each.mean()).float()
            return (each * weight).sum() / weight.sum()

        monkeypatch.setattr(type(family), "loss", staticmethod(loss), raising=False)
        monkeypatch.setattr(type(family), "loss_spans_batch", True, raising=False)
    job = digits.job("resnet9", 1, batch_size=50)
    whole, wanted = gradient(digits, job, 1)
    loss, found = gradient(digits, job, parts)
    assert float(loss) == pytest.approx(float(whole), rel=1e-5)
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max())), name


def test_norms_remember_a_batch_over_which_the_loss_spans_once(digits, monkeypatch):
    family = registry.get("models", "resnet9")
    job = digits.job("resnet9", 1, batch_size=50)
    counts = []
    for spans in (False, True):
        monkeypatch.setattr(type(family), "loss_spans_batch", spans, raising=False)
        monkeypatch.setattr(type(family), "loss", registry.get("tasks", job.task).loss, raising=False)
        found = training(digits, job)
        found.gradients.parts = 2
        found.take_step(0)
        counts.append([int(x) for name, x in found.module.state_dict().items() if name.endswith("batches_tracked")])
    assert counts[0] == counts[1]
    assert set(counts[0]) == {2}


def narrow(monkeypatch, fits, error):
    """A machine on which no more than so many samples fit."""
    forward = torch.nn.Linear.forward

    def checked(self, x):
        if self.training and len(x) > fits:
            raise error
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", checked)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: not enough memory: you tried to …"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_words_of_every_device_are_known(error):
    assert _gradients.is_out_of_memory(error)


def test_out_of_memory_is_answered_by_smaller_parts(digits, monkeypatch):
    narrow(monkeypatch, 20, torch.OutOfMemoryError("CUDA out of memory."))
    job = digits.job("resnet9", 1, batch_size=64, seed=70)
    job = replace(job, recipe=replace(job.recipe, epochs=2 * 64 / digits.card.splits["train"].samples))
    said = []
    result = train(job, digits.workspace, lambda text, share=None: said.append(text))
    assert result.conditions["micro_batch"] == 16
    assert sum("computed in 2 parts" in text for text in said) == 1
    assert sum("computed in 4 parts" in text for text in said) == 1


def test_one_sample_that_does_not_fit_is_a_reason(digits, monkeypatch):
    narrow(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(Unsupported) as refusal:
        train(digits.job("resnet9", 1, batch_size=16, seed=71), digits.workspace)
    assert refusal.value.code == "OUT_OF_MEMORY"
    assert "even one sample" in refusal.value.detail


def test_other_errors_are_not_taken_for_it(digits, monkeypatch):
    narrow(monkeypatch, 4, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        train(digits.job("resnet9", 1, batch_size=16, seed=72), digits.workspace)
    assert not _gradients.is_out_of_memory(ValueError("out of memory"))


def test_parts_outlive_a_kill(digits, monkeypatch):
    from sartor.stages.train import _loop

    class Killed(BaseException):
        pass

    monkeypatch.setattr(_loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(_loop, "_CHECKPOINT_SHARE", 1e9)
    narrow(monkeypatch, 40, MemoryError())
    job, take_step = digits.job("resnet9", 1, batch_size=64, seed=73), Training.take_step
    parts = []

    def dying(self, step):
        parts.append(self.gradients.parts)
        if len(parts) == 3:
            raise Killed
        return take_step(self, step)

    monkeypatch.setattr(Training, "take_step", dying)
    with pytest.raises(Killed):
        train(job, digits.workspace)
    train(job, digits.workspace)
    assert parts[:5] == [1, 2, 2, 2, 2]
