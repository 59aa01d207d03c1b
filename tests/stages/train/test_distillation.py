"""Training on the answers of a teacher: what the loss is, and that a kill changes nothing."""

import math
from dataclasses import replace

import pytest
import torch

from sartor.codec import digest, from_plain, to_plain
from sartor.errors import Unsupported
from sartor.jobs import Teacher, TrainJob
from sartor.prepared import open_data
from sartor.stages.train import train
from sartor.stages.train._distill import SoftLabels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher(digits):
    job = digits.job("resnet9", 2)
    return Teacher(job.network, train(job, digits.workspace).weights.sha256)


def test_the_loss_is_the_softened_distance_and_the_rest_the_labels(digits, teacher):
    job = digits.job("mobile", 1, teacher=replace(teacher, temperature=3.0, share=0.75))
    soft = SoftLabels(job, open_data(digits.card.fingerprint, digits.workspace), digits.workspace, CPU)
    soft.module = lambda batch: torch.tensor([[6.0, 0.0, 0.0]])
    logits = torch.tensor([[0.0, 3.0, 0.0]])
    z = math.exp(2) + 2
    wanted, given = [math.exp(2) / z, 1 / z, 1 / z], math.exp(1) + 2
    answers = [1 / given, math.exp(1) / given, 1 / given]
    apart = sum(w * math.log(w / g) for w, g in zip(wanted, answers, strict=True))
    found = soft.mixed(torch.tensor(2.0), logits, torch.zeros(1, 3, 8, 8))
    assert float(found) == pytest.approx(0.25 * 2.0 + 0.75 * 9 * apart, rel=1e-5)


def test_a_pupil_with_its_teachers_own_weights_has_nothing_to_learn(digits, teacher):
    job = digits.job("resnet9", 1, teacher=replace(teacher, share=1.0))
    soft = SoftLabels(job, open_data(digits.card.fingerprint, digits.workspace), digits.workspace, CPU)
    batch = torch.randn(4, 3, 8, 8)
    assert float(soft.mixed(torch.tensor(5.0), soft.module(batch), batch)) == pytest.approx(0.0, abs=1e-3)


def test_a_taught_training_learns_and_is_another_than_the_plain_one(digits, teacher):
    plain, taught = digits.job("mobile", 3), digits.job("mobile", 3, teacher=teacher)
    assert from_plain(TrainJob, to_plain(taught)) == taught
    assert digest(plain) != digest(taught)
    first, second = train(plain, digits.workspace), train(taught, digits.workspace)
    assert first.weights.sha256 != second.weights.sha256
    assert second.score > 0.6


@pytest.mark.parametrize("fatal_step", [3, 9])
def test_a_taught_training_resumes_to_the_same_bits(digits, teacher, resumes, fatal_step):
    resumes(digits.job("mobile", 1, seed=21, teacher=teacher), fatal_step)


def test_who_takes_other_inputs_or_is_no_such_network_cannot_teach(digits, teacher):
    other = replace(teacher, network=replace(teacher.network, input_size=(16, 16)))
    with pytest.raises(Unsupported, match="NO_SOFT_LABELS"):
        train(digits.job("mobile", 1, teacher=other), digits.workspace)
    wrong = replace(teacher, network=digits.job("mobile", 1).network)
    with pytest.raises(Unsupported, match="WEIGHTS_MISMATCH"):
        train(digits.job("resnet9", 1, teacher=wrong), digits.workspace)
