"""Averages of boosters: against LightGBM's own predictions, through torch and ONNX, and what logarithms are for."""

from __future__ import annotations

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
lightgbm = pytest.importorskip("lightgbm")

from sartor import registry  # noqa: E402
from sartor.catalog.models.parts import boosting  # noqa: E402
from sartor.catalog.models.parts.boosting import grow, share_of_second, smearing, symmetric_logarithm  # noqa: E402
from sartor.catalog.models.parts.trees import sums_of  # noqa: E402
from sartor.types import Network  # noqa: E402

ROWS, COLUMNS = 500, 3
KINDS = ("prices", "sums", "two classes", "three classes")


def data(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with missing values; prices have noise by a factor, sums have none of it and no tail."""
    dice = np.random.default_rng(seed)
    rows = dice.uniform(size=(ROWS, COLUMNS)).astype(np.float32)
    worth = 2 * rows[:, 0].astype(float) + np.sin(4 * rows[:, 1])
    rows[dice.random(rows.shape) < 0.05] = np.nan
    noise = 0.2 * dice.normal(size=ROWS)
    if kind == "prices":
        return rows, 100 * np.exp(worth + noise)
    if kind == "sums":
        return rows, worth + noise
    classes = 2 if kind == "two classes" else 3
    return rows, np.searchsorted(np.quantile(worth, np.arange(1, classes) / classes), worth + noise)


def outputs_of(kind: str) -> int:
    return {"two classes": 2, "three classes": 3}.get(kind, 1)


def network(kind: str, boosters: int, rounds: int = 40) -> Network:
    options = {"boosters": boosters, "rounds": rounds, "leaves": 8, "depth": 5, "rate": 0.15}
    return Network("gradient-boosting", "tried", options, (COLUMNS,), outputs_of(kind))


def fitted(kind: str, boosters: int):
    """The family, the shipped module, and what was grown: LightGBM's boosters, and what is made of them."""
    rows, truths = data(kind)
    family = registry.get("models", "gradient-boosting")
    task = registry.get("tasks", "tabular-regression" if outputs_of(kind) == 1 else "tabular-classification")
    statistics = dict(task.statistics(rows))
    targets = torch.from_numpy(truths)
    if outputs_of(kind) == 1:
        statistics |= task.truth_statistics(truths)
        targets = task.scale(targets, statistics)
    torch.manual_seed(0)
    module = family.build(network(kind, boosters))
    kept: dict[str, list] = {"train": [], "grow": []}
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(os, "cpu_count", lambda: 1)  # threads that wait for each other cost most of the time here
        for place, name in ((lightgbm, "train"), (boosting, "grow")):
            patch.setattr(place, name, keeping(getattr(place, name), kept[name]))
        family.fit(module, lambda: iter([(task.normalise(torch.from_numpy(rows), statistics), targets)]))
    return family, task.wrap(module.eval(), statistics).eval(), (kept["train"][-boosters:], kept["grow"][0])


def keeping(function, kept: list):
    """The function, and what it returns is kept."""

    def call(*given, **named):
        kept.append(function(*given, **named))
        return kept[-1]

    return call


def expected(boosters, grown, shipped, rows: np.ndarray) -> np.ndarray:
    """From LightGBM's own predictions in double precision."""
    predicted = [booster.predict(rows, raw_score=True) for booster in boosters]
    sums = [
        sum(share.weight * part for share, part in zip(grown.shares, predicted, strict=True) if share.target == target)
        for target in (0, 1)
    ]
    if shipped.module.outputs == 1:
        number = sums[0] + grown.factor * np.exp(sums[1]) + grown.constant
        return (number * shipped.scale + shipped.mean)[:, None]
    odds = np.stack([np.zeros(len(rows)), sums[0]], axis=1) if shipped.module.outputs == 2 else sums[0]
    shares = np.exp(odds - odds.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("kind", "boosters"), [*((kind, 2) for kind in KINDS), ("prices", 1), ("prices", 4)])
def test_averages_answer_alike_in_lightgbm_torch_and_onnx(kind, boosters, tmp_path):
    import onnxruntime

    from sartor.modelfile import check_model
    from sartor.stages.compress.onnx_file import write_onnx

    family, shipped, (made, grown) = fitted(kind, boosters)
    assert (len(made), len(grown.shares)) == (boosters, boosters)
    assert (sums_of(shipped.module) == 2) == (kind == "prices" and boosters > 1 or kind == "two classes")
    assert (grown.factor > 0) == (kind == "prices" and boosters > 1)
    rows, _ = data(kind, seed=1)
    wanted = expected(made, grown, shipped, rows)
    with torch.no_grad():
        assert np.allclose(shipped(torch.from_numpy(rows)).numpy(), wanted, rtol=1e-5, atol=1e-5)
    write_onnx(family.to_onnx(shipped, rows), tmp_path / "model.onnx")
    check_model(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(["output"], {"input": rows})[0], wanted, rtol=1e-5, atol=1e-5)


def test_one_with_a_logarithm_errs_less_where_noise_is_by_a_factor():
    rows, truths = data("prices", seed=1)
    errors = []
    for boosters in (1, 2):
        _, shipped, _ = fitted("prices", boosters)
        with torch.no_grad():
            errors.append(float(np.square(shipped(torch.from_numpy(rows)).numpy()[:, 0] - truths).mean()))
    assert errors[1] < 0.98 * errors[0]


def test_the_logarithm_begins_where_the_truths_lose_their_skewness():
    dice = np.random.default_rng(0)
    truths = np.exp(0.8 * dice.normal(size=20_000)) + 5
    found = symmetric_logarithm(truths)
    assert (found.sign, found.origin) == (1, pytest.approx(5, abs=0.1))
    turned = symmetric_logarithm(-truths)
    assert (turned.sign, turned.origin) == (-1, pytest.approx(found.origin))
    assert np.allclose(turned.of(-truths), found.of(truths))
    assert np.isfinite(found.of(truths)).all()


@pytest.mark.parametrize("truths", [np.ones(9), np.arange(50.0), np.random.default_rng(1).normal(size=500)])
def test_even_truths_get_no_logarithm(truths):
    assert symmetric_logarithm(truths) is None


def test_counts_with_many_zeros_get_a_finite_one():
    truths = np.random.default_rng(0).poisson(0.3, 3000).astype(float)
    assert np.isfinite(symmetric_logarithm(truths).of(truths)).all()


def test_smearing_gives_the_mean_back():
    dice = np.random.default_rng(0)
    answers = dice.normal(size=200_000)
    assert smearing(answers + 0.5 * dice.normal(size=answers.size), answers) == pytest.approx(np.exp(0.125), rel=0.01)


def test_shares_lean_to_the_better_answers_and_stay_with_both():
    truths = np.random.default_rng(0).normal(size=1000)
    noise = np.random.default_rng(1).normal(size=(2, 1000))
    assert share_of_second(truths, truths + noise[0], truths + noise[1]) == pytest.approx(0.5, abs=0.03)
    assert share_of_second(truths, truths + noise[0], truths) == pytest.approx(0.75)
    assert share_of_second(truths, truths, truths + noise[1]) == pytest.approx(0.25)


def test_the_number_of_threads_changes_no_tree():
    rows, truths = data("prices")
    module = registry.get("models", "gradient-boosting").build(network("prices", 2, rounds=15))
    alone, together = (grow(rows, truths, module, 2, threads, 0) for threads in (1, 2))
    assert alone == together
