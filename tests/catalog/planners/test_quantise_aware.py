"""When the default planner trains a network on for 8 bits, played in a pretend world."""

from dataclasses import replace

import pytest
from world import Gaining, findings, play

from sartor import rounding
from sartor.types import Objective, Refusal

SMALL = (("accuracy.min", 0.82), ("size_mb.max", 0.5))  # 32 bits do not fit
ROOMY = (("accuracy.min", 0.82), ("size_mb.max", 80.0))
LONG = 40_000.0
REPAIRING = frozenset({"int8-mixed", "int8-nncf"})


class Lossy(Gaining):
    """int8 loses ``lost``, or ``left`` where it was trained for; a repair leaves ``mixed`` of it, or is declined.

    What was repaired takes ``longer`` times as long.
    """

    def __init__(self, lost=0.15, left=0.001, mixed=None, longer=1.0, **more):
        super().__init__(0.0, **more)
        self.lost, self.left, self.mixed, self.longer = lost, left, mixed, longer
        self._aware = set()  # files whose weights were trained for 8 bits

    def gains(self, recipe):
        return False

    def _do(self, action, key):
        outcome = super()._do(action, key)
        if self.mixed is None and action.stage == "compress" and action.job.compressor in REPAIRING:
            return replace(outcome, result=None, refusal=Refusal("NOT_REPAIRED", "pretend"))
        return outcome

    def _train(self, job, dice):
        if not job.recipe.weight_bits:
            return super()._train(job, dice)
        size, score = self._weights[job.recipe.start.weights]
        result, seconds = super()._train(job, dice)
        self._weights[result.weights.sha256] = size, score
        return replace(result, score=score, curve=tuple(replace(row, score=score) for row in result.curve)), seconds

    def _export(self, job, dice):
        result, seconds = super()._export(job, dice)
        if job.weights and rounding.is_rounded(job.network):
            self._aware.add(result.artifact.sha256)
        return result, seconds

    def _compress(self, job, dice):
        size, score, _ = self._files[job.artifact]
        lost = self.left if job.artifact in self._aware else self.lost
        if job.compressor in REPAIRING:
            lost *= self.mixed or 0.0
        return self._made("onnx", job, size, score - lost, job.compressor)

    def _measure(self, job, dice):
        result, seconds = super()._measure(job, dice)
        times = self.longer if self._files[job.artifact][2] in REPAIRING else 1.0
        found = [
            replace(m, value=m.value * times, low=m.low * times, high=m.high * times)
            if m.metric.name.startswith("latency")
            else m
            for m in result.measurements
        ]
        return replace(result, measurements=tuple(found)), seconds


def start(limits=SMALL, *, seconds=LONG, effort="balanced", wish=""):
    known = findings(limits, seconds=seconds, effort=effort)
    if wish:
        known.requirement = replace(known.requirement, objectives=(Objective(wish, 1.0),))
    return known


def aware(actions):
    return [a.job for a in actions if a.stage == "train" and a.job.recipe.weight_bits]


@pytest.fixture(scope="module")
def played():
    known, world = start(), Lossy()
    return known, world, play(known, world)


def test_what_loses_too_much_in_8_bits_is_trained_on_from_its_weights_and_taught_by_them(played):
    known, _, actions = played
    (job,) = aware(actions)
    begun = job.recipe.start
    assert rounding.unrounded(job.network) == begun.network
    assert (job.recipe.teacher.network, job.recipe.teacher.weights) == (begun.network, begun.weights)
    (own,) = {j.recipe.epochs for j, r in known.trained(begun.network.id) if r.weights.sha256 == begun.weights}
    plain = next(j.recipe for j, r in known.trained(begun.network.id) if r.weights.sha256 == begun.weights)
    assert 3 <= job.recipe.epochs < 0.5 * own
    assert job.recipe.optimizer == "adamw"
    assert job.recipe.learning_rate < 0.1 * plain.learning_rate


def test_it_ships_judged_against_the_float_network_that_it_was(played):
    known, _, actions = played
    (job,) = aware(actions)
    decision = known.decision()
    assert decision.status == "met"
    assert decision.chosen == f"{job.network.id}/int8/onnxruntime"
    record = next(r for r in known.records() if r.candidate.id == decision.chosen)
    assert record.parent == f"{job.recipe.start.network.id}/fp32/onnxruntime"
    assert f"it is {job.recipe.start.network.id} trained on with its products rounded to 8 bits" in decision.why
    parent = [a.job for a in actions if a.stage == "evaluate" and a.subject == record.parent]
    ours = [a.job for a in actions if a.stage == "evaluate" and a.subject == decision.chosen]
    exported = {a.job.weights for a in actions if a.stage == "export" and a.subject == job.recipe.start.network.id}
    assert parent
    assert all(one.parent_outputs for one in ours if one.split == "validation")
    assert job.recipe.start.weights in exported
    trained = {r.weights.sha256 for j, r in known.trained(job.network.id)}
    assert not trained & exported  # the float network stays what it was


def test_only_its_int8_files_are_in_the_race_and_cost_what_they_did(played):
    known, _, actions = played
    (job,) = aware(actions)
    ways = {r.candidate.id for r in known.records() if r.candidate.network == job.network and not r.candidate.fewer}
    assert ways == {f"{job.network.id}/int8/onnxruntime"}
    untrained = [a.job for a in actions if a.stage == "export" and a.subject == job.network.id and not a.job.weights]
    assert untrained
    assert all(not rounding.is_rounded(one.network) for one in untrained)


def test_a_continued_plan_does_the_same(played):
    _, world, first = played
    done = len(world.done)
    assert [a.job for a in play(start(), world)] == [a.job for a in first]
    assert len(world.done) == done


def test_one_that_lost_as_much_does_not_ship():
    known = start()
    assert aware(play(known, Lossy(left=0.15)))
    assert known.decision().status != "met"
    assert "BELOW_FLOOR" in {f.code for f in known.decision().fates if "-qat/" in f.candidate}


def test_where_less_is_better_it_is_trained_though_32_bits_fit():
    known = start(ROOMY, wish="size_mb")
    (job,) = aware(play(known, Lossy()))
    assert f"{job.network.id}/int8/onnxruntime" in known.open_candidates()


def test_what_its_repair_made_too_slow_is_trained_for_8_bits_instead():
    fast = (("accuracy.min", 0.82), ("size_mb.max", 0.5), ("latency_p95_ms.max", 0.6))
    known = start(fast)
    (job,) = aware(play(known, Lossy(mixed=0.01, longer=3.0)))
    whole = job.recipe.start.network.id
    assert "TOO_SLOW" in {f.code for f in known.decision().fates if f.candidate == f"{whole}/int8/onnxruntime"}
    assert "-qat/int8/" in known.decision().chosen


@pytest.mark.parametrize(
    ("asked", "world"),
    [
        ({}, {"lost": 0.0}),
        ({"limits": ROOMY}, {}),
        ({"effort": "quick"}, {}),
        ({"seconds": 200.0}, {}),
        ({}, {"mixed": 0.01}),
    ],
    ids=["loses-nothing", "32-bits-fit", "quick", "no-time", "repaired"],
)
def test_nothing_is_trained_for_8_bits(asked, world):
    assert not aware(play(start(**asked), Lossy(**world)))
