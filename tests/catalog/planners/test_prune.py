"""When the default planner prunes a trained network, and how far, played in a pretend world."""

from dataclasses import replace

import pytest
from world import Gaining, findings, play

from sartor import pruning
from sartor.catalog.planners.parts.prune import LESS, SHARES
from sartor.findings import Findings
from sartor.jobs import DescribeResult
from sartor.types import Objective

TIGHT = (("accuracy.min", 0.75), ("latency_p95_ms.max", 0.35))  # resnet9-m and larger are too slow in every way
LONG = 40_000.0


class Warm(Gaining):
    """What begins with trained weights gains."""

    def gains(self, recipe):
        return recipe.start is not None


def warm(actions):
    return [a.job for a in actions if a.stage == "train" and a.job.recipe.start is not None]


def is_pruned(name):
    return "-pruned-to-" in name


@pytest.fixture(scope="module")
def played():
    known, world = findings(TIGHT, seconds=LONG), Warm()
    return known, world, play(known, world)


def test_a_better_network_that_is_too_slow_is_pruned_and_begins_with_its_own_weights(played):
    known, _, actions = played
    (job,) = warm(actions)
    start, share = job.recipe.start, pruning.share_of(job.network)
    assert start.weights in {r.weights.sha256 for _, r in known.trained(start.network.id)}
    assert job.network == pruning.pruned(start.network, share)
    codes = {f.code for f in known.decision().fates if f.candidate.startswith(f"{start.network.id}/")}
    assert "TOO_SLOW" in codes
    decision = known.decision()
    assert decision.status == "met"
    assert decision.chosen.startswith(f"{job.network.id}/")
    assert f"its training began with the weights of {start.network.id}" in decision.why


def test_how_far_is_measured_on_a_few_shapes_before_any_of_them_is_trained(played):
    known, _, actions = played
    (job,) = warm(actions)
    whole, share = job.recipe.start.network, pruning.share_of(job.network)
    before = actions[: next(i for i, a in enumerate(actions) if a.stage == "train" and is_pruned(a.subject))]
    shapes = [a.subject for a in before if a.stage == "measure" and is_pruned(a.subject)]
    assert 1 <= len(shapes) <= 3
    larger = pruning.pruned(whole, min(s for s in SHARES if s > share))
    measured = {a.subject.split("/")[0] for a in before if a.stage == "measure"}
    assert {job.network.id, larger.id} <= measured
    others = [f for f in known.decision().fates if is_pruned(f.candidate) and job.network.id not in f.candidate]
    assert {f.code for f in others} <= {"TOO_SLOW", "PRUNED_OTHERWISE"}
    assert any(f.code == "TOO_SLOW" and f.candidate.startswith(larger.id) for f in others)


def test_a_pruned_network_is_run_in_every_way_that_the_whole_one_is(played):
    known, _, actions = played
    (job,) = warm(actions)
    ways = {
        name: {r.candidate.id.removeprefix(name) for r in known.records()
               if r.candidate.network.id == name and not r.candidate.fewer and not r.notes.get("reference")}
        for name in (job.network.id, job.recipe.start.network.id)
    }  # fmt: skip
    assert len(set(map(frozenset, ways.values()))) == 1
    int8 = next(r for r in known.records() if r.candidate.id == f"{job.network.id}/int8/onnxruntime")
    assert int8.parent == f"{job.network.id}/fp32/onnxruntime"


def test_a_continued_plan_prunes_alike(played):
    _, world, first = played
    done = len(world.done)
    assert [a.job for a in play(findings(TIGHT, seconds=LONG), world)] == [a.job for a in first]
    assert len(world.done) == done


def test_one_that_did_not_pay_is_not_shipped():
    known = findings(TIGHT, seconds=LONG)
    assert warm(play(known, Warm(-0.5)))
    assert known.decision().status == "met"
    assert not is_pruned(known.decision().chosen)


@pytest.mark.parametrize(
    ("limits", "seconds", "effort"),
    [
        (TIGHT, 300.0, "balanced"),
        (TIGHT, LONG, "quick"),
        ((*TIGHT, ("accuracy_drop.max", 0.05)), LONG, "balanced"),
        ((("accuracy.min", 0.75),), LONG, "balanced"),
    ],
    ids=["no-time", "quick", "max-drop", "nothing-too-slow"],
)
def test_nothing_is_pruned(limits, seconds, effort):
    known = findings(limits, seconds=seconds, effort=effort)
    assert not any(is_pruned(a.subject) for a in play(known, Warm()))


def test_nothing_is_pruned_without_torch_pruning_or_where_it_fails(monkeypatch):
    class Untold(Warm):
        """Shapes cannot be counted: the family cannot be pruned."""

        def _describe(self, job, dice):
            result, seconds = super()._describe(job, dice)
            return DescribeResult(tuple(c for c in result.costs if not is_pruned(c.network))), seconds

    known = findings(TIGHT, seconds=LONG)
    assert not warm(play(known, Untold()))
    assert not any(is_pruned(r.candidate.id) for r in known.records())
    monkeypatch.setattr(pruning, "is_installed", lambda: False)
    assert not any(is_pruned(a.subject) for a in play(findings(TIGHT, seconds=LONG), Warm()))


def test_where_less_latency_is_an_objective_the_best_that_fits_is_pruned_to_a_part_of_it():
    usual = findings((("accuracy.min", 0.75),), seconds=LONG)
    asked = replace(
        usual.requirement, objectives=(Objective("accuracy", 1.0), Objective("latency_p50_ms", 1.0))
    )  # as in world.findings
    known = Findings(asked, usual.card, usual.device, usual.metrics, usual.records())
    (job,) = warm(play(known, Warm()))
    values = {
        name: min(
            m.value for r in known.records() if r.candidate.network.id == name for m in r.measurements
            if m.metric.name == "latency_p50_ms" and m.basis == "measured" and not r.notes.get("reference")
        )
        for name in (job.network.id, job.recipe.start.network.id)
    }  # fmt: skip
    assert values[job.network.id] <= LESS * values[job.recipe.start.network.id]
