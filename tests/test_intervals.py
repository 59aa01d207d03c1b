import math
import random
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sartor.intervals import (
    binomial_cdf,
    expected_maximum,
    jackknife_error,
    paired_drop,
    percentile,
    percentile_ranks,
    proportion,
)


@given(st.integers(1, 20_000), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_proportion_is_the_exact_interval_of_scipy(n, share, confidence):
    successes = round(share * n)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="exact")
    low, high = proportion(successes, n, confidence)
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)
    assert low <= successes / n <= high


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0, 1))
def test_binomial_cdf_is_that_of_scipy(k, n, p):
    assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_proportion_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="successes"):
        proportion(successes, n, 0.95)


def test_a_high_bound_needs_enough_calls():
    # 0.95^n <= 0.025 first holds at n = 72: with fewer calls the largest may still lie below the true p95
    assert percentile_ranks(71, 0.95, 0.95)[1] is None
    assert percentile_ranks(73, 0.95, 0.95)[1] is not None


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_percentile_interval_covers_the_truth(q):
    generator = random.Random(3)
    hits = 0
    for _ in range(400):
        values = sorted(generator.random() for _ in range(200))
        value, low, high = percentile(values, q, 0.9)
        assert low <= value <= high
        hits += low <= q <= high
    assert hits >= 0.87 * 400


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_paired_drop_brackets_the_mean_difference(pairs):
    parent, child = zip(*pairs, strict=True)
    value, low, high = paired_drop(parent, child, 0.95)
    assert -1 <= low <= value <= high <= 1
    assert low < high
    assert value == pytest.approx(sum(parent) / len(parent) - sum(child) / len(child))


def test_equal_answers_are_not_certainty():
    value, low, high = paired_drop([1] * 100, [1] * 100, 0.95)
    assert value == 0
    exact = proportion(0, 100, 0.95)[1]
    assert exact <= high == -low < 1.1 * exact


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=50), st.floats(0.01, 1000))
def test_a_drop_does_not_depend_on_the_unit(pairs, factor):
    parent, child = ([side * 0.9 + 0.05 for side in column] for column in zip(*pairs, strict=True))
    plain = paired_drop(parent, child, 0.9)
    scaled = paired_drop([factor * p for p in parent], [factor * c for c in child], 0.9, span=factor)
    assert scaled == pytest.approx([factor * end for end in plain], abs=1e-9 * factor)
    assert paired_drop(child, parent, 0.9) == pytest.approx((-plain[0], -plain[2], -plain[1]), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "drop", "differing"),
    [(60, 0.05, 0.05), (60, 0.05, 0.1), (150, 0.01, 0.01), (150, 0.02, 0.025), (150, 0.05, 0.06)],
)
def test_a_loss_beyond_the_limit_passes_as_seldom_as_promised(n, drop, differing):
    """Over every number of losses and gains, with its probability where the true loss is just at the limit."""
    wrong = 0.0
    for losses in range(n + 1):
        of_losses = stats.binom.pmf(losses, n, (differing + drop) / 2)
        if of_losses < 1e-7:
            continue
        share = (differing - drop) / 2 / (1 - (differing + drop) / 2)
        for gains in range(n - losses + 1):
            chance = of_losses * stats.binom.pmf(gains, n - losses, share)
            if chance < 1e-7:
                continue
            parent = [1] * losses + [0] * gains + [1] * (n - losses - gains)
            child = [0] * losses + [1] * gains + [1] * (n - losses - gains)
            wrong += chance * (paired_drop(parent, child, 0.95)[2] <= drop)
    assert wrong <= 0.0255


@pytest.mark.parametrize(("count", "exact"), [(1, 0.0), (2, 0.5642), (5, 1.163), (10, 1.5388), (100, 2.5076)])
def test_the_largest_of_many_normal_values(count, exact):
    assert expected_maximum(count) == pytest.approx(exact, abs=0.03)


def test_the_jackknife_gives_the_standard_error_of_a_mean():
    chance = random.Random(0)
    values = [chance.gauss(0.3, 1.0) for _ in range(320)]
    groups = [[v for place, v in enumerate(values) if place % 32 != group] for group in range(32)]
    error = jackknife_error([fmean(group) for group in groups])
    assert error == pytest.approx(stdev(values) / math.sqrt(320), rel=0.3)
    assert jackknife_error([fmean(values[:n] + values[n + 1 :]) for n in range(320)]) == pytest.approx(
        stdev(values) / math.sqrt(320)
    )
    assert jackknife_error([0.5]) == math.inf
