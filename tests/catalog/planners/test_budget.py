"""The budget is kept: what is still to be done is forecast from what was measured, and room is left for it."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_deterministic import EASY, of
from world import World, findings, play

from sartor.catalog.contracts import Outcome
from sartor.catalog.planners.parts.forecast import PROCESS_S, Forecast
from sartor.jobs import DescribeResult

OVERRUN = 0.1  # of the budget, at most
BEFORE = (
    25.0  # seconds of the pretend world for what comes in any case: a description, a probe, one baseline, its score
)


@example(83.0, "quick", 500, 3.0, 1.0, 0.0)
@settings(max_examples=30, deadline=None)
@example(30.0, "quick", 45_000, 1.0, 1.0, 0.0)
@example(120.0, "quick", 1000, 3.0, 3.0, 1.0)
@example(45.0, "balanced", 1000, 0.2, 1.0, 0.0)
@given(
    st.floats(30, 3600),
    st.sampled_from(["quick", "balanced", "thorough"]),
    st.integers(500, 100_000),
    st.floats(0.1, 4),
    st.floats(0.5, 4),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_no_budget_is_overrun_by_more_than_a_tenth(seconds, effort, samples, slow, drag, noisy):
    known = findings(EASY, seconds=seconds, effort=effort, samples=samples)
    world = World(samples=samples, slow=slow, drag=drag, noisy=noisy)
    play(known, world)
    if seconds >= BEFORE * max(1.0, slow):
        assert known.left_s() > -OVERRUN * seconds


@pytest.mark.parametrize("limits", [(("latency_p95_ms.max", 0.001),), (("accuracy.min", 0.999),)])
@pytest.mark.parametrize("slow", [1.0, 4.0])
def test_nor_where_nothing_fits_or_nothing_is_good_enough(limits, slow):
    known = findings(limits, seconds=120.0)
    play(known, World(slow=slow))
    assert known.left_s() > -OVERRUN * 120.0


def test_a_training_is_told_its_time_and_a_slow_one_ends_with_fewer_epochs():
    known, world = findings(EASY, seconds=600.0), World(drag=3.0)
    actions = play(known, world)
    trainings = of(actions, "train")
    assert all(action.job.seconds > 0 for action in trainings)
    shortened = [a for a in trainings if world.answer(a).result.epochs < a.job.recipe.epochs]
    assert shortened
    assert all(world.answer(a).result.seconds <= a.job.seconds * 1.001 for a in trainings)


def test_a_quick_search_spends_nothing_on_what_changes_no_answer():
    noisy = World(noisy=1.0)
    known = findings(EASY, effort="quick")
    actions = play(known, noisy)
    assert known.decision().status == "met"
    assert not [a for a in of(actions, "export") if a.job.format == "torch"]
    assert len([a for a in of(actions, "measure") if a.purpose == "confirm"]) == 1, "noise met the limits; it is enough"
    usual = play(findings(EASY), noisy)
    assert [a for a in of(usual, "export") if a.job.format == "torch"]
    assert len([a for a in of(usual, "measure") if a.purpose == "confirm"]) > 2


def test_confirmation_does_less_where_time_is_short():
    small, large = findings(EASY, seconds=180.0), findings(EASY, seconds=1800.0)
    hurried, calm = play(small, World(slow=3.0)), play(large, World(slow=3.0))
    processes = [{a.job.processes for a in of(actions, "measure", trained=True) if a.purpose == "confirm"} - {1}
                 for actions in (hurried, calm)]  # fmt: skip
    assert processes[1] == {3}
    assert processes[0] <= {2, 3}
    assert len(of(hurried, "compare")) <= len(of(calm, "compare"))


def test_a_forecast_rests_on_what_was_seen_and_not_on_other_runs():
    known, world = findings(EASY), World(slow=4.0)
    actions = play(known, world)
    forecast = Forecast(known)
    candidate = next(r.candidate for r in known.records() if r.candidate.id.startswith("mobile-s/"))
    assert forecast.start(candidate.runtime) == PROCESS_S
    for action in actions:
        done = world.answer(action)
        forecast.note(action, Outcome(done.key, done.result, done.refusal, 0.0, True))
    assert forecast.start(candidate.runtime) == PROCESS_S
    for action in actions:
        forecast.note(action, world.answer(action))
    timed = next(a for a in actions if a.stage == "measure" and a.job.processes == 1)
    took = world.answer(timed).seconds
    assert math.isclose(forecast.timing(candidate, timed.job.seconds, 1), took, rel_tol=0.5)
    scored = next(a for a in actions if a.stage == "evaluate" and a.job.split == "validation")
    assert math.isclose(forecast.evaluating(candidate, "validation"), world.answer(scored).seconds, rel_tol=0.5)


def test_a_noisy_machine_is_expected_to_stay_noisy():
    known = findings(EASY)
    candidate = next(r.candidate for r in known.records())
    told = []
    for noisy in (0.0, 1.0):
        world, forecast = World(noisy=noisy), Forecast(known)
        for action in play(findings(EASY), world):
            done = world.answer(action)
            processes = 1 + (noisy > 0)  # a noisy timing starts one more
            forecast.note(action, Outcome(done.key, done.result, done.refusal, processes * 3.0, False))
        told.append(forecast.comparing(candidate, candidate.runtime))
    assert told[1] > 1.5 * told[0]


@pytest.mark.parametrize("seconds", [25.0, 40.0, 60.0, 120.0])
def test_networks_that_could_not_be_described_are_tried_in_any_budget(seconds):
    class Undescribed(World):
        def _describe(self, job, dice):
            return DescribeResult(()), 1.0

    known = findings((("accuracy.min", 0.1),), seconds=seconds, samples=1000)
    assert any(action.stage == "measure" for action in play(known, Undescribed(samples=1000)))
