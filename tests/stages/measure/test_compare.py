"""``compare``: the ratio of two artifacts, and when it is a tie."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_summary import PIPELINE, observation

from sartor.codec import from_plain, to_plain
from sartor.errors import Unsupported
from sartor.jobs import CompareJob, CompareResult, CompareSide
from sartor.stages.measure import compare
from sartor.stages.measure.comparison import Block, Median, is_tie, ratio_of, result_of

medians = st.builds(
    lambda value, below, above: Median(value, value * below, value * above),
    st.floats(0.01, 100.0),
    st.floats(0.5, 1.0),
    st.floats(1.0, 2.0),
)


@given(st.lists(st.tuples(medians, medians), min_size=1, max_size=4))
def test_swapping_sides_inverts_the_ratio(pairs):
    ours, theirs = [mine for mine, _ in pairs], [other for _, other in pairs]
    ratio, low, high = ratio_of(ours, theirs)
    inverse, inverse_low, inverse_high = ratio_of(theirs, ours)
    assert low <= ratio * (1 + 1e-12)
    assert ratio <= high * (1 + 1e-12)
    assert ratio * inverse == pytest.approx(1)
    assert low * inverse_high == pytest.approx(1)
    assert high * inverse_low == pytest.approx(1)


def test_a_linear_drift_cancels_in_abba():
    speed = [1.0, 1.1, 1.2, 1.3]  # the machine gets slower by the same step each time; both sides are equal
    ours = [Median(speed[0], speed[0], speed[0]), Median(speed[3], speed[3], speed[3])]
    theirs = [Median(speed[1], speed[1], speed[1]), Median(speed[2], speed[2], speed[2])]
    assert math.isclose(ratio_of(ours, theirs)[0], 1.0, rel_tol=0.01)


@pytest.mark.parametrize(
    ("low", "high", "tie"),
    [(0.9, 0.96, False), (0.9, 0.98, True), (0.99, 1.01, True), (1.02, 1.2, True), (1.04, 1.2, False), (0.5, 2, True)],
)
def test_ties(low, high, tie):
    assert is_tie(low, high) is tie


def round_of(ours, theirs, share=0.0):
    """A round in which every process of a side took so many milliseconds, and others that share of the cores."""
    pair = [[observation([value] * 60, share=share) for _ in range(2)] for value in (ours, theirs)]
    return Block(*pair)


COMPARED = CompareJob(
    CompareSide("a", PIPELINE), CompareSide("b", PIPELINE), "data", "device", 0.95, "latency_vs_parent"
)


def test_a_disturbed_round_is_dropped_where_another_was_quiet():
    found = result_of(COMPARED, [round_of(5.0, 1.0, share=0.5), round_of(0.5, 1.0)]).measurement
    assert (found.value, found.noisy) == (pytest.approx(0.5), False)
    assert found.conditions["blocks_dropped_as_noisy"] == 1


def test_rounds_that_were_all_disturbed_decide_nothing():
    found = result_of(COMPARED, [round_of(5.0, 1.0, share=0.5), round_of(0.5, 1.0, share=0.5)]).measurement
    assert found.noisy
    assert found.low <= 0.5
    assert found.high >= 5.0


def job(prepared, pipeline, ours, other):
    return CompareJob(
        CompareSide(ours, pipeline), CompareSide(other, pipeline), prepared[1], "device", 0.95, "latency_vs_parent"
    )


@pytest.mark.slow
def test_the_smaller_model_is_faster(prepared, model, pipeline):
    small, large = model(width=8), model(width=2048)
    result = compare(job(prepared, pipeline, small, large), prepared[0])
    ratio = result.measurement
    assert ratio.low < 1
    if not ratio.noisy:  # on a busy machine nothing more is promised than not to decide wrongly
        assert ratio.value < ratio.high < 1
        assert not result.tie
        assert ratio.conditions["p50_ms"] < ratio.conditions["other_p50_ms"]
    assert ratio.metric.name == "latency_vs_parent"
    assert ratio.metric.direction == "lower"
    assert (ratio.artifact, ratio.device, ratio.conditions["order"]) == (small, "device", "ABBA")
    assert from_plain(CompareResult, to_plain(result)) == result


def test_a_side_that_cannot_run_is_a_refusal(fakes, prepared, model, pipeline):
    from dataclasses import replace

    broken = replace(pipeline, runtime="crashes")
    sides = CompareSide(model(), pipeline), CompareSide(model(), broken)
    with pytest.raises(Unsupported, match="CRASHED"):
        compare(CompareJob(*sides, prepared[1], "device", 0.95, "latency_vs_parent"), prepared[0])
