"""The fit of latency to static cost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from sartor.jobs import NetworkCost
from sartor.metrics import COST_METRICS, index
from sartor.stages.predict import calibrate
from sartor.stages.predict.calibrate import FEWEST_PAIRS, LEAST_SPREAD, features, nonnegative_least_squares
from sartor.types import Candidate, Measurement, Network

METRICS = index(COST_METRICS)
CANDIDATE = Candidate(Network("n", "s", {}, (32, 32), 10), "none", "onnxruntime", "fp32", 1)
TRUE = (3e-9, 2e-8, 1e-8, 0.004, 0.12)  # ms per operation, activation byte, parameter, layer, call


def cost(seed):
    chance = np.random.default_rng(seed)
    return NetworkCost(
        f"n{seed}",
        int(10 ** chance.uniform(6.5, 9)),
        int(10 ** chance.uniform(4, 7)),
        int(10 ** chance.uniform(5, 7)),
        int(chance.integers(4, 60)),
    )


def latency(counts, noise=0.0, seed=0):
    exact = sum(weight * feature for weight, feature in zip(TRUE, features(counts), strict=True))
    return exact * float(np.exp(np.random.default_rng(seed).normal() * noise))


def pair(counts, value, candidate=CANDIDATE, metric="latency_p50_ms", basis="measured"):
    return counts, candidate, Measurement(METRICS[metric], value, value, value, n=100, basis=basis)


def fitted(count, noise=0.0):
    fit = calibrate([pair(cost(seed), latency(cost(seed), noise, seed)) for seed in range(count)]).of(CANDIDATE)
    assert fit is not None
    return fit


def test_exact_latencies_are_found_again():
    fit = fitted(12)
    for seed in range(100, 120):
        assert fit.predict(cost(seed)) == pytest.approx(latency(cost(seed)), rel=1e-3)
    assert fit.spread == pytest.approx(LEAST_SPREAD)


def test_noise_widens_the_interval_and_most_truths_lie_in_it():
    fit = fitted(14, noise=0.15)
    assert fit.spread > LEAST_SPREAD
    inside = [
        1 / fit.spread_at(cost(seed)) <= latency(cost(seed)) / fit.predict(cost(seed)) <= fit.spread_at(cost(seed))
        for seed in range(100, 200)
    ]
    assert np.mean(inside) >= 0.9


def test_far_outside_the_fitted_range_the_interval_is_wider():
    fit = fitted(12)
    inside, outside = replace(cost(0), operations=10**8), replace(cost(0), operations=10**11)
    assert fit.spread_at(inside) == fit.spread
    assert fit.spread_at(outside) > 2 * fit.spread
    assert fit.spread_at(replace(cost(0), operations=0)) > fit.spread


@pytest.mark.parametrize("count", range(FEWEST_PAIRS))
def test_too_few_pairs_give_no_fit(count):
    assert calibrate([pair(cost(seed), 1.0) for seed in range(count)]).of(CANDIDATE) is None


def test_groups_are_kept_apart():
    other = replace(CANDIDATE, runtime="openvino")
    pairs = [pair(cost(seed), latency(cost(seed))) for seed in range(8)]
    pairs += [pair(cost(seed), 10 * latency(cost(seed)), other) for seed in range(8)]
    calibration = calibrate(pairs)
    ratio = calibration.of(other).predict(cost(50)) / calibration.of(CANDIDATE).predict(cost(50))
    assert ratio == pytest.approx(10, rel=0.02)
    assert calibration.of(replace(CANDIDATE, threads=2)) is None
    assert calibration.of(replace(CANDIDATE, precision="int8")) is None


def test_only_measured_medians_teach():
    pairs = [pair(cost(seed), 1.0, metric="latency_p95_ms") for seed in range(6)]
    pairs += [pair(cost(seed), 1.0, basis="estimated") for seed in range(6)]
    pairs += [pair(cost(seed), 0.0) for seed in range(6)]
    assert calibrate(pairs).fits == {}


def test_the_order_of_measuring_does_not_matter():
    pairs = [pair(cost(seed), latency(cost(seed), 0.2, seed)) for seed in range(9)]
    assert calibrate(pairs) == calibrate(pairs[::-1])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(1e-3, 1e4)), min_size=4, max_size=12))
def test_weights_are_never_negative(found):
    fit = calibrate([pair(cost(seed), value) for seed, value in found]).of(CANDIDATE)
    assert all(weight >= 0 and np.isfinite(weight) for weight in fit.weights)
    assert 1 < fit.spread < np.inf


def test_equal_networks_do_not_break_the_fit():
    fit = calibrate([pair(cost(1), value) for value in (1.0, 1.1, 0.9, 1.0)]).of(CANDIDATE)
    assert fit.predict(cost(1)) == pytest.approx(1.0, rel=0.1)


numbers = st.floats(-10, 10).map(lambda value: round(value, 2))


@settings(deadline=None)
@given(arrays(float, (6, 4), elements=numbers), arrays(float, 6, elements=numbers))
def test_least_squares_like_scipy(table, wanted):
    found = nonnegative_least_squares(table, wanted)
    _, residual = nnls(table, wanted)
    assert (found >= 0).all()
    assert np.linalg.norm(table @ found - wanted) <= residual + 1e-6
