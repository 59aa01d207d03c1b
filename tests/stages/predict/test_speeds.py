"""Speeds: what is put in comes out, never below the floor, never less time for more work, intervals that hold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.codec import from_plain, to_plain
from sartor.jobs import Kernel
from sartor.stages.predict.features import NAMES, features
from sartor.stages.predict.kernels import in_batch
from sartor.stages.predict.speeds import (
    COVERAGE,
    FEWEST_GRAPHS,
    Speeds,
    TimedKernels,
    conformal,
    fitted,
    learn,
    nonnegative,
    physics,
)
from sartor.types import Ceiling, Device

DEVICE = Device("d", "test", 2, 1 << 34, (), {"fp32": Ceiling(3e11, "a")}, 2.5e10, {"onnxruntime": "1"})


def product(m, n, k, count=1):
    return Kernel(
        "product", 2.0 * m * n * k, m * k, m * n, n * k + n, light=m * n, m=m, n=n, k=k, count=count
    )  # fmt: skip


def conv(pixels, channels, count=1):
    k = 9 * channels
    size = pixels * channels
    return Kernel(
        "conv", 2.0 * pixels * channels * k, size, size, k * channels, m=pixels, n=channels, k=k, area=9, count=count
    )


def graphs(noise=0.0, families=8, each=8):
    """Times that follow a law: 10 ns per 1000 operations, 1 ns per number packed, 5 µs per kernel, 10 µs per call."""
    chance, found = np.random.default_rng(3), []
    for family in range(families):
        for _ in range(each):
            side, width, depth = (int(chance.integers(*span)) for span in ((4, 40), (8, 128), (1, 12)))
            kernels = (conv(side * side, width, depth), product(1 + side, width, 2 * width, depth))
            amounts = dict(zip(NAMES, features(kernels), strict=True))
            ms = 0.010 + 1e-8 * sum(amounts[f"{kind} arithmetic"] for kind in ("conv", "product"))
            ms += 1e-6 * amounts["conv packed"] + 5e-3 * (amounts["conv count"] + amounts["product count"])
            found.append(
                TimedKernels(f"family {family}", kernels, ms * float(np.exp(noise * chance.standard_normal())))
            )
    return found


shapes = st.integers(1, 400)
products, convs = st.builds(product, shapes, shapes, shapes, st.integers(1, 9)), st.builds(conv, shapes, shapes)
kernels_lists = st.lists(products | convs, min_size=1, max_size=5).map(tuple)
EXACT, NOISY = learn(graphs(), DEVICE, "fp32", 2), learn(graphs(0.1), DEVICE, "fp32", 2)


def test_a_law_is_found_again_in_families_that_were_left_out():
    assert EXACT.error < 0.02
    assert EXACT.longer == pytest.approx(1.1)  # the least that is claimed
    new = (conv(300, 50, 3), product(9, 99, 55, 2))
    amounts = dict(zip(NAMES, features(new), strict=True))
    truth = 0.010 + 1e-8 * (amounts["conv arithmetic"] + amounts["product arithmetic"])
    truth += 1e-6 * amounts["conv packed"] + 5e-3 * 5
    assert EXACT.predict(new).value == pytest.approx(truth, rel=0.03)


def test_noise_widens_the_interval_and_it_covers():
    assert NOISY.longer > EXACT.longer
    fresh = graphs(0.1, families=30)[64:]  # of the same law, not timed
    inside = [one for one in fresh if NOISY.predict(one.kernels).low <= one.ms <= NOISY.predict(one.kernels).high]
    assert len(inside) >= 0.9 * len(fresh)


@settings(deadline=None)
@given(kernels_lists, st.floats(0, 1e6))
def test_nothing_is_below_the_floor_and_the_interval_holds_its_value(kernels, floor):
    for speed in (EXACT, NOISY):
        found = speed.predict(kernels, floor)
        assert floor <= found.low <= found.value <= found.high


@settings(deadline=None)
@given(kernels_lists, st.integers(1, 31))
def test_a_larger_batch_never_takes_less_time(kernels, batch):
    for speed in (EXACT, NOISY):
        assert speed.predict(in_batch(kernels, batch)).value <= speed.predict(in_batch(kernels, batch + 1)).value


@settings(deadline=None)
@given(kernels_lists, kernels_lists)
def test_more_kernels_never_take_less_time(kernels, more):
    assert NOISY.predict(kernels).value <= NOISY.predict((*kernels, *more)).value


def test_what_was_never_timed_widens_the_interval():
    known = NOISY.predict((conv(100, 64),))
    unknown = NOISY.predict((conv(100, 64), Kernel("lstm", 1e9, 1000, 1000, 10000, m=1, n=256, k=64, images=50)))
    assert unknown.value > 2 * known.value  # physics speaks where no graph did
    assert unknown.high / unknown.value > known.high / known.value


def test_too_few_graphs_teach_nothing():
    assert learn(graphs()[: FEWEST_GRAPHS - 1], DEVICE, "fp32", 2) is None


def test_the_order_of_timing_does_not_matter():
    assert learn(list(reversed(graphs(0.1))), DEVICE, "fp32", 2) == NOISY


def test_speeds_survive_json():
    speeds = Speeds("d", {"onnxruntime fp32 2": NOISY}, 1.0)
    again = from_plain(Speeds, to_plain(speeds))
    assert again.find("onnxruntime", "fp32", 2).predict((conv(9, 9),)) == NOISY.predict((conv(9, 9),))
    assert again.find("onnxruntime", "fp32", 1) is None


@given(st.lists(st.floats(-2, 2), min_size=40, max_size=200))
def test_conformal_factors_hold_their_share(residuals):
    shorter, longer = conformal(np.array(residuals))
    inside = [one for one in residuals if shorter * (1 - 1e-9) <= np.exp(one) <= longer * (1 + 1e-9)]
    assert len(inside) >= COVERAGE * len(residuals)


def test_nonnegative_agrees_with_scipy():
    nnls = pytest.importorskip("scipy.optimize").nnls
    chance = np.random.default_rng(0)
    for _ in range(20):
        table, wanted = chance.standard_normal((40, 12)), chance.standard_normal(40)
        expected, _ = nnls(table, wanted)
        gram, moments = table.T @ table, table.T @ wanted
        assert nonnegative(gram, moments) == pytest.approx(expected, abs=1e-8)
        start = chance.integers(0, 2, 12).astype(bool)
        assert nonnegative(gram, moments, start) == pytest.approx(expected, abs=1e-8)


def test_one_graph_far_off_hardly_moves_the_fit():
    clean = graphs()
    table = np.array([features(one.kernels) for one in clean])
    wanted = np.array([one.ms for one in clean])
    prior = physics(DEVICE, "fp32", 2)
    spoilt = wanted.copy()
    spoilt[10] *= 5
    before, after = (table @ fitted(table, times, prior) for times in (wanted, spoilt))
    others = np.arange(len(wanted)) != 10
    assert np.abs(np.log(after / before))[others].max() < 0.1


def test_what_disturbs_medians_but_not_the_quick_calls_hardly_moves_the_fit():
    chance = np.random.default_rng(5)
    disturbed = [replace(one, p10_ms=one.ms, ms=one.ms * float(1 + chance.exponential(0.5))) for one in graphs()]
    typical = float(np.median([one.ms / one.p10_ms for one in disturbed]))
    found, without = (
        learn([replace(one, p10_ms=one.p10_ms * share) for one in disturbed], DEVICE, "fp32", 2) for share in (1, 0)
    )
    new = (conv(300, 50, 3), product(9, 99, 55, 2))
    truth = EXACT.predict(new).value * typical
    assert found.predict(new).value == pytest.approx(truth, rel=0.03)
    assert found.error < without.error


def test_a_large_family_that_is_off_does_not_outvote_the_others():
    amounts = np.ones((40, 1))
    wanted = np.array([1.2] * 30 + [1.0] * 10)  # thirty of one family, ten of ten others
    families = np.array([0] * 30 + list(range(1, 11)))
    prior = np.array([1.0])
    assert fitted(amounts, wanted, prior, families)[0] < 1.08 < fitted(amounts, wanted, prior)[0]


def test_signals_and_weights_beyond_the_cache_have_parts_of_their_own():
    def amounts(kernel):
        return dict(zip(NAMES, features((kernel,)), strict=True))

    picture, signal = conv(64, 32), replace(conv(64, 32), axes=1)
    assert amounts(picture)["flat"] == 0 < amounts(signal)["flat"] == picture.operations
    assert amounts(product(1, 256, 256))["far weights"] == 0 < amounts(product(1, 1024, 1024))["far weights"]
