"""When the default planner factors a trained network, and how far, played in a pretend world."""

from dataclasses import replace

import pytest
from world import TASK, World, findings, play

from sartor import factoring, registry
from sartor.findings import Findings
from sartor.jobs import DescribeResult
from sartor.metrics import quality_derivatives
from sartor.types import Measurement, Objective, Refusal

ACCURACY = registry.get("tasks", TASK).metrics[0]
LIMITS = (("accuracy.min", 0.75), ("accuracy_drop.max", 0.04))
LONG = 20_000.0


class Thin(World):
    """Below a share that a network bears, factoring costs accuracy: as much more as work is left out."""

    def __init__(self, bears=0.5, declined=0.0, **more):
        super().__init__(**more)
        self.bears, self.declined = bears, declined
        self._shares: dict[str, float] = {}

    def _do(self, action, key):
        factors = action.stage == "compress" and action.job.compressor == factoring.COMPRESSOR
        if factors and action.job.options["share"] < self.declined:
            return replace(super()._do(action, key), result=None, refusal=Refusal("NOT_FACTORED", "pretend"))
        return super()._do(action, key)

    def _compress(self, job, dice):
        if job.compressor != factoring.COMPRESSOR:
            return super()._compress(job, dice)
        size, score, _ = self._files[job.artifact]
        share = job.options["share"]
        made, seconds = self._made("onnx", job, size * share**2, score - max(0.0, self.bears - share), job.compressor)
        return replace(made, remark="2 of 8 products became two thinner ones, with half of their operations"), seconds

    def _made(self, format, job, size, score, compressor):
        result, seconds = super()._made(format, job, size, score, compressor)
        parent = job.artifact if hasattr(job, "artifact") else job.weights
        return replace(result, artifact=replace(result.artifact, parent=parent)), seconds

    def _evaluate(self, job, dice):
        result, seconds = super()._evaluate(job, dice)
        found = [m for m in result.measurements if m.metric.name == "accuracy"]
        if job.parent_outputs:
            drop = self._parents[job.parent_outputs] - found[0].value
            found.append(
                Measurement(
                    quality_derivatives(ACCURACY)[1], drop, drop - 0.003, drop + 0.003, 9000, "measured",
                    artifact=job.artifact, split=job.split,
                )
            )  # fmt: skip
        self._parents[result.outputs] = found[0].value
        return replace(result, measurements=tuple(found)), seconds

    @property
    def _parents(self):
        return self.__dict__.setdefault("_scores", {})


def trials(actions):
    return [a for a in actions if a.stage == "compress" and a.job.compressor == factoring.COMPRESSOR]


def is_factored(name):
    return "-low-rank-" in name


@pytest.fixture(scope="module")
def played():
    known, world = findings(LIMITS, seconds=LONG), Thin()
    return known, world, play(known, world)


def test_the_smallest_share_that_validation_finds_good_ships_where_a_loss_is_allowed(played):
    known, _, actions = played
    assert 1 <= len(trials(actions)) <= 3
    decision = known.decision()
    assert decision.status == "met"
    assert is_factored(decision.chosen)
    assert decision.chosen.split("/")[0].endswith("-low-rank-50")
    assert any("two thinner ones" in line for line in decision.why)
    others = [f for f in decision.fates if is_factored(f.candidate) and "-low-rank-50" not in f.candidate]
    assert others
    assert {f.code for f in others} <= {"FACTORED_OTHERWISE", "ACCURACY_DROP"}


def test_what_it_lost_is_judged_against_the_whole_in_every_way_to_run_it(played):
    known, _, _ = played
    thin = [r for r in known.records() if "-low-rank-50" in r.candidate.id and not r.candidate.fewer]
    whole = factoring.id_of_whole(thin[0].candidate.network)
    parents = {r.candidate.id.removeprefix(r.candidate.network.id): r.parent for r in thin}
    assert parents["/fp32/onnxruntime"] == parents["/int8/onnxruntime"] == f"{whole}/fp32/onnxruntime"


def test_it_is_never_trained_and_torch_runs_its_whole(played):
    _, _, actions = played
    assert not any(is_factored(a.subject) for a in actions if a.stage in ("train", "throughput", "export", "describe"))
    assert any(a.subject.endswith("/fp32/torch") for a in actions)


def test_int8_is_made_of_the_factored_file(played):
    _, world, actions = played
    made = {world.answer(a).result.artifact.sha256 for a in trials(actions)}
    assert any(a.job.artifact in made for a in actions if a.stage == "compress" and a.job.compressor == "int8-static")


def test_a_continued_plan_factors_alike(played):
    _, world, first = played
    done = len(world.done)
    assert [a.job for a in play(findings(LIMITS, seconds=LONG), world)] == [a.job for a in first]
    assert len(world.done) == done


@pytest.mark.parametrize(
    ("limits", "seconds", "effort"),
    [(LIMITS, 60.0, "balanced"), (LIMITS, LONG, "quick"), (LIMITS[:1], LONG, "balanced")],
    ids=["no-time", "quick", "nothing-asks-for-less"],
)
def test_nothing_is_factored(limits, seconds, effort):
    assert not trials(play(findings(limits, seconds=seconds, effort=effort), Thin()))


def test_what_loses_at_any_share_or_is_declined_is_not_shipped():
    known = findings(LIMITS, seconds=LONG)
    assert trials(play(known, Thin(bears=2.0)))
    assert known.decision().status == "met"
    assert not is_factored(known.decision().chosen)
    known = findings(LIMITS, seconds=LONG)
    assert trials(play(known, Thin(declined=2.0)))
    assert known.decision().status == "met"
    assert {r.refusals[0].code for r in known.records() if is_factored(r.candidate.id)} == {"NOT_FACTORED"}


def test_a_network_too_slow_is_factored_as_far_as_it_takes_and_fewer_weights_answer_a_wish_for_size():
    tight = (("accuracy.min", 0.75), ("latency_p95_ms.max", 0.37))  # resnet9-m and larger are too slow in every way

    class Unprunable(Thin):
        def _describe(self, job, dice):
            result, seconds = super()._describe(job, dice)
            return DescribeResult(tuple(c for c in result.costs if "-pruned-" not in c.network)), seconds

    known = findings(tight, seconds=LONG)
    actions = play(known, Unprunable(bears=0.2))
    assert {a.job.options["of"] for a in trials(actions)} == {"operations"}
    assert is_factored(known.decision().chosen)
    usual = findings(LIMITS[:1], seconds=LONG)
    asked = replace(usual.requirement, objectives=(Objective("accuracy", 1.0), Objective("size_mb", 1.0)))
    known = Findings(asked, usual.card, usual.device, usual.metrics, usual.records())
    assert {a.job.options["of"] for a in trials(play(known, Unprunable()))} == {"weights"}
