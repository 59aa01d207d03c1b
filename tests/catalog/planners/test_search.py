"""Search little: what is not measured or trained because it would change nothing, and what is said of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_deterministic import EASY, of
from world import World, findings, networks, play

from sartor.jobs import DescribeJob


def test_one_way_of_a_network_is_measured_before_it_is_trained_the_others_after():
    known = findings(EASY, seconds=1200.0)
    actions = play(known, World())
    first = next(i for i, a in enumerate(actions) if a.stage == "train")
    before = [a.subject for a in actions[:first] if a.stage == "measure"]
    ruled_out = {f.candidate for f in known.decision().fates if f.code in ("TOO_SLOW", "TOO_LARGE")}
    fitting = [name for name in before if name not in ruled_out]
    assert fitting
    assert len({name.split("/")[0] for name in fitting}) == len(fitting)
    chosen = known.decision().chosen.split("/")[0]
    ways = {a.subject for a in of(actions, "measure", trained=False) if a.subject.startswith(f"{chosen}/")}
    assert len(ways) >= 2


def test_a_smaller_network_is_trained_on_the_word_of_a_larger_one_and_measured_before_it_is_chosen():
    known = findings(EASY, seconds=300.0)
    actions = play(known, World())
    place = {}
    for number, action in enumerate(actions):
        if action.stage == "measure":
            place.setdefault(action.subject.split("/")[0], number)
    unmeasured = [a for n, a in enumerate(actions) if a.stage == "train" and place.get(a.subject, 10**6) > n]
    assert unmeasured
    chosen = known.decision().chosen
    assert known.decision().status == "met"
    assert chosen in {a.subject for a in of(actions, "measure", trained=True)}


def test_what_may_cost_more_is_not_believed_to_fit():
    known, world = findings(EASY), World()
    plan = play(known, world, most=2000)
    assert plan
    later = findings((("latency_p95_ms.max", 0.5),))
    networks = tuple(r.candidate.network for r in later.records())
    described = world.answer(plan[0])
    assert isinstance(plan[0].job, DescribeJob)
    assert networks
    later.learn(plan[0], described)
    small = next(a for a in of(plan, "measure", trained=False) if a.subject.startswith("mobile-"))
    later.learn(small, world.answer(small))
    from sartor.catalog.planners.deterministic import _Course

    size = {"xs": 1, "s": 4, "m": 20, "l": 120}
    measured = size[small.subject.split("/")[0].split("-")[1]]
    believed = [n for n in _Course(later).reserve.fitting() if n.model == "mobile"]
    assert all(size[n.variant] <= measured for n in believed)
    assert all(n.model == "mobile" for n in _Course(later).reserve.fitting())


@pytest.mark.parametrize("limits", [EASY, (), (("accuracy.min", 0.999),)])
def test_the_decision_says_what_more_time_would_buy_and_calls_it_an_estimate(limits):
    known = findings(limits, seconds=600.0)
    play(known, World())
    said = known.decision().prospect
    assert said.endswith("an estimate")
    assert "networks that may fit but were not tried" in said or "no other network was left out" in said


def test_without_a_training_more_time_would_train_something():
    known = findings(EASY, seconds=15.0)
    play(known, World(slow=2.5))
    assert not any(known.trained(network.id) for network, _ in networks() if network.model != "linear-pixels")
    assert known.decision().prospect.startswith("more time would train some of")


def test_what_hardly_saw_its_data_makes_nothing_infeasible():
    known = findings((("latency_p95_ms.max", 5), ("accuracy.min", 0.7)), seconds=60.0, samples=400_000)
    play(known, World(samples=400_000))
    assert known.decision().status == "inconclusive"


def test_what_a_prospect_says_of_the_score_is_never_worse_than_now():
    known = findings(EASY, seconds=180.0)
    play(known, World())
    said = known.decision().prospect
    now, _, later = said.partition(" from ")[2].partition(" on validation")[0].partition(" to about ")
    assert 0 < float(now) <= float(later) < 1


class Lucky(World):
    """Every network is as good as the floor, no better; validation flatters each by up to an interval."""

    def _evaluate(self, job, dice):
        result, seconds = super()._evaluate(job, dice)
        value = 0.757 if job.split == "validation" else 0.75
        found = tuple(
            replace(m, value=value, low=value - 0.006, high=value + 0.006) if m.metric.name == "accuracy" else m
            for m in result.measurements
        )
        return replace(result, measurements=found), seconds


def test_the_best_of_many_on_validation_does_not_end_a_search():
    """0.751 … 0.763 meets 0.75 for one network; of several, that much is expected of luck."""
    known = findings(EASY, seconds=3600.0)
    actions = play(known, Lucky())
    long = {a.subject for a in of(actions, "train") if a.job.floor}
    assert len(long) > 1
