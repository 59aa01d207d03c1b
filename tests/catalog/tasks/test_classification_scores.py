"""AUC and log loss against scikit-learn, and their intervals against what resampling gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from sartor.catalog.tasks.parts.classification_scores import auc_interval, classification_scores


def _answers(classes: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes))
    logits[np.arange(n), truths] += 1
    shares = np.exp(np.round(logits, 1))  # rounded: with ties
    return shares / shares.sum(axis=1, keepdims=True), truths


@pytest.mark.parametrize("classes", [2, 4, 7])
def test_auc_and_log_loss_are_those_of_scikit_learn(classes: int) -> None:
    outputs, truths = _answers(classes, 300)
    values = classification_scores(outputs, truths, [str(number) for number in range(classes)], 0.95).values
    wanted = roc_auc_score(truths, outputs[:, 1] if classes == 2 else outputs, multi_class="ovr")
    assert values["auc"][0] == pytest.approx(wanted, abs=1e-12)
    assert values["log_loss"][0] == pytest.approx(log_loss(truths, outputs), abs=1e-12)
    for value, low, high in (values["auc"], values["log_loss"]):
        assert low < value < high


@pytest.mark.parametrize("classes", [2, 4])
def test_the_interval_of_auc_is_as_wide_as_resampling_says(classes: int) -> None:
    outputs, truths = _answers(classes, 400)
    _, low, high = auc_interval(outputs, truths, 0.95)
    generator = np.random.default_rng(1)
    drawn = [auc_interval(outputs[i], truths[i], 0.95)[0] for i in generator.integers(0, 400, (300, 400))]
    resampled = np.quantile(drawn, [0.025, 0.975])
    assert high - low == pytest.approx(resampled[1] - resampled[0], rel=0.25)


def test_a_perfect_order_is_not_certain_and_a_constant_is_chance() -> None:
    truths = np.array([0, 0, 0, 1, 1])
    perfect = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 2)
    value, low, high = auc_interval(perfect, truths, 0.95)
    assert (value, high) == (1.0, 1.0)
    assert low < 0.5
    assert auc_interval(np.full((5, 2), 0.5), truths, 0.95)[0] == 0.5


def test_classes_without_samples_are_passed_over() -> None:
    outputs, truths = _answers(3, 60)
    values = classification_scores(outputs, np.minimum(truths, 1), ["a", "b", "c"], 0.95).values
    both = [roc_auc_score(np.minimum(truths, 1) == number, outputs[:, number]) for number in (0, 1)]
    assert values["auc"][0] == pytest.approx(np.mean(both))
    assert "auc" not in classification_scores(outputs, np.zeros(60, int), ["a", "b", "c"], 0.95).values


def test_log_loss_of_a_wrong_certainty_is_finite() -> None:
    values = classification_scores(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1]), ["a", "b"], 0.95).values
    assert values["log_loss"][0] == pytest.approx(8.06, abs=0.01)
