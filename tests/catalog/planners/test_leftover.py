"""What is done with the time left while nothing meets the limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_deterministic import of
from world import World, findings, play

from sartor.catalog.planners.parts.leftover import Leftover
from sartor.types import Refusal

MODEST = (("latency_p95_ms.max", 5), ("accuracy.min", 0.2))


class Broken(World):
    """A world in which all but the linear baseline fail to train."""

    def answer(self, action):
        outcome = super().answer(action)
        if action.stage == "train" and action.job.network.model != "linear-pixels":
            return replace(outcome, result=None, refusal=Refusal("CRASHED", "pretend crash"))
        return outcome


@pytest.mark.parametrize("seconds", [45.0, 60.0])
def test_a_baseline_that_was_not_measured_is_tried_before_nothing_is_delivered(seconds, monkeypatch):
    known = findings(MODEST, seconds=seconds, samples=20_000)
    actions = play(known, Broken(samples=20_000))
    assert known.decision().status == "met"
    assert known.decision().chosen.startswith("linear-pixels/")
    assert of(actions, "train")[-1].job.network.model == "linear-pixels"
    assert known.left_s() > -0.1 * seconds
    monkeypatch.setattr(Leftover, "run", lambda self, is_enough: iter(()))
    without = findings(MODEST, seconds=seconds, samples=20_000)
    play(without, Broken(samples=20_000))
    assert without.decision().status != "met"


def test_where_something_meets_the_limits_nothing_more_is_tried(monkeypatch):
    with_it = [action.subject for action in play(findings(MODEST), World())]
    monkeypatch.setattr(Leftover, "run", lambda self, is_enough: iter(()))
    assert [action.subject for action in play(findings(MODEST), World())] == with_it


def test_networks_come_before_baselines_where_time_is_short_and_behind_them_where_it_is_not():
    first = []
    for seconds in (75.0, 3600.0):
        known = findings(MODEST, seconds=seconds, effort="quick", samples=400_000)
        actions = play(known, World(samples=400_000))
        assert any(a.subject.startswith("linear-pixels/") for a in of(actions, "measure")), "both know how fast it is"
        first.append(of(actions, "train")[0].job.network.model)
    assert first == ["resnet9", "linear-pixels"]
