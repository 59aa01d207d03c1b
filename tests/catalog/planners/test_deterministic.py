"""What the default planner promises, played in a pretend world."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World, findings, play

from sartor.catalog.planners.parts.schedule import LADDER, enough_epochs, largest_first, on_ladder
from sartor.types import Network

EASY = (("accuracy.min", 0.75), ("latency_p95_ms.max", 3.0), ("size_mb.max", 5.0))
COST = ("latency_p95_ms.max", "size_mb.max")


def of(actions, stage, **fields):
    return [a for a in actions if a.stage == stage and all(getattr(a.job, k) == v for k, v in fields.items())]


def test_an_easy_requirement_is_met_and_confirmed_on_the_shipping_file():
    known = findings(EASY)
    actions = play(known, World())
    decision = known.decision()
    assert decision.status == "met"
    assert of(actions, "evaluate", split="test")
    assert of(actions, "measure", trained=True)
    assert {a.job.metric for a in of(actions, "compare")} >= {"latency_vs_reference"}


def test_cost_is_measured_before_anything_is_trained_and_what_cannot_fit_is_never_trained():
    known = findings((("accuracy.min", 0.5), ("size_mb.max", 0.5)))
    actions = play(known, World())
    stages = [a.stage for a in actions]
    assert stages.index("measure") < stages.index("train")
    trained = {a.job.network.id for a in of(actions, "train")}
    assert trained
    assert not trained & {"resnet9-l", "mobile-l"}  # 4.8 MB, int8 1.2 MB


def test_nothing_that_fits_still_gives_measured_relaxations_and_trains_little():
    known = findings((("accuracy.min", 0.5), ("latency_p95_ms.max", 0.001)))
    actions = play(known, World())
    decision = known.decision()
    assert decision.status == "infeasible"
    assert decision.certificate is not None
    assert "limits.latency_p95_ms.max" in decision.certificate.binding
    assert any(set(r.changes) == {"limits.latency_p95_ms.max"} for r in decision.certificate.relaxations)
    networks = {a.job.network.model for a in of(actions, "train")}
    assert len(networks) <= 2
    assert not of(actions, "evaluate", split="test")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.sampled_from([EASY, (("latency_p95_ms.max", 0.001),), (("accuracy.min", 0.999),)]))
def test_a_killed_run_continues_to_the_same_decision_and_repeats_nothing(cut, limits):
    whole = World()
    first = findings(limits)
    actions = play(first, whole)

    broken = World()
    plan_cut = min(cut, len(actions) - 1)
    for action in actions[:plan_cut]:
        broken.answer(action)
    begun = len(broken.done)
    second = findings(limits)
    again = play(second, broken)
    assert [a.job for a in again] == [a.job for a in actions]
    assert len(broken.done) == len(whole.done)
    assert begun <= len(broken.done)
    assert second.decision() == first.decision()


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.6), st.floats(0, 1), st.integers(0, 10_000), st.sampled_from([EASY, (("accuracy.min", 0.999),)]))
def test_crashes_and_noise_anywhere_never_break_the_plan_or_pass_a_limit(refusing, noisy, seed, limits):
    known = findings(limits)
    play(known, World(refusing=refusing, noisy=noisy, seed=seed))
    decision = known.decision()
    for verdict in decision.verdicts if decision.status == "met" else ():
        assert verdict.outcome == "met"
        assert verdict.measurement is not None
        assert verdict.limit.holds(verdict.measurement.low)
        assert verdict.limit.holds(verdict.measurement.high)


@pytest.mark.parametrize("limits", [EASY, (("accuracy.min", 0.7),), ()])
def test_the_test_split_is_seen_by_two_finalists_at_most(limits):
    known = findings(limits)
    actions = play(known, World())
    assert 1 <= len({a.subject for a in of(actions, "evaluate", split="test")}) <= 2


def test_trainings_of_another_run_are_used_again():
    known = findings(EASY)
    world = World()
    play(known, world)
    trained = [(a.job, world.answer(a).result) for a in world.done if a.stage == "train"]
    later = findings((("accuracy.min", 0.76), *EASY[1:]))
    for job, result in trained:
        later._add_training(job, result)
    before = len(of(world.done, "train"))
    play(later, world)
    assert len(of(world.done, "train")) - before <= 1
    assert later.decision().status == "met"


def test_what_another_run_trained_answers_an_impossible_limit():
    known, world = findings(EASY), World()
    play(known, world)
    trained = [(a.job, world.answer(a).result) for a in world.done if a.stage == "train"]
    later = findings((("accuracy.min", 0.75), ("latency_p95_ms.max", 0.001)))
    for job, result in trained:
        later._add_training(job, result)
    play(later, world)
    certificate = later.decision().certificate
    assert certificate is not None
    assert certificate.relaxations[0].changes.keys() == {"limits.latency_p95_ms.max"}


@given(st.floats(0, 500))
def test_epochs_stand_on_the_ladder(epochs):
    step = on_ladder(epochs)
    assert step in LADDER
    assert step <= epochs or step == LADDER[0]


@given(st.integers(1, 10**7))
def test_small_data_is_seen_more_often(samples):
    assert 24 <= enough_epochs(samples) <= 200
    assert enough_epochs(samples) >= enough_epochs(samples * 2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 10)), max_size=20))
def test_orders_lose_no_network(made):
    pairs = [(Network(model, str(i), {}, (1, 1), 2), size) for i, (model, size) in enumerate(made)]
    assert sorted(n.id for n in largest_first(pairs)) == sorted(n.id for n, _ in pairs)


def test_augmentation_is_tried_against_none_and_kept_unless_clearly_worse():
    known, world = findings(EASY), World()
    play(known, world)
    jobs = [action.job for action in of(world.done, "train")]
    plain = [job for job in jobs if job.recipe.augment == () and not job.network.model.startswith(("linear", "maj"))]
    assert len(plain) == 1  # the pretend world scores both alike, so the long trainings stay augmented
    assert all(job.recipe.epochs >= plain[0].recipe.epochs for job in jobs if job.recipe.augment and job.floor)
    assert any(job.recipe.augment == ("auto",) and job.floor for job in jobs)


class LookingUp(World):
    """Everything but resnet9 multiplies nothing."""

    def _describe(self, job, dice):
        result, seconds = super()._describe(job, dice)
        without = [replace(c, layers=0) if not c.network.startswith("resnet9") else c for c in result.costs]
        return replace(result, costs=tuple(without)), seconds


def test_what_multiplies_nothing_is_tried_in_fp32_alone():
    known = findings(EASY)
    actions = play(known, LookingUp())
    measured = {a.subject for a in of(actions, "measure", trained=False)}
    ways = {name.split("/")[1] for name in measured if name.startswith(("mobile", "linear"))}
    assert ways
    assert ways <= {"fp32", "bf16"}
    assert {a.subject for a in of(actions, "compress")} <= {f"resnet9-{size}" for size in ["xs", "s", "m", "l"]}
    fates = {fate.candidate: fate.code for fate in known.decision().fates}
    assert fates["mobile-s/int8/onnxruntime"] == "NO_PRODUCTS"
    assert fates["resnet9-s/int8/onnxruntime"] != "NO_PRODUCTS"


class Busy(World):
    """Others slow the first probes of a training rate down, hundredfold."""

    def __init__(self, busy_attempts):
        super().__init__()
        self.busy_attempts = busy_attempts

    def _throughput(self, job, dice):
        result, seconds = super()._throughput(job, dice)
        if job.attempt >= self.busy_attempts:
            return result, seconds
        return replace(result, samples_per_s=result.samples_per_s / 100, foreign_load=0.6, noisy=True), seconds


def test_a_rate_measured_on_a_busy_machine_is_measured_again_before_it_rules_anything_out():
    calm, busy, never = findings(EASY), findings(EASY), findings(EASY)
    wanted = {a.job.network.id for a in of(play(calm, World()), "train")}
    assert {a.job.network.id for a in of(play(busy, Busy(1)), "train")} == wanted
    assert busy.decision().status == "met"
    actions = play(never, Busy(99))
    codes = {fate.code for fate in never.decision().fates}
    assert "TOO_LONG_TO_TRAIN" not in codes
    assert "NOT_TRIED" in codes
    assert max(a.job.attempt for a in of(actions, "throughput")) == 2


@pytest.mark.parametrize(("validation", "tried"), [(5000, True), (40, False)])
def test_a_duel_that_could_not_be_decided_is_not_held(validation, tried):
    known, world = findings(EASY), World()
    splits = {**known.card.splits, "validation": replace(known.card.splits["validation"], samples=validation)}
    known.card = replace(known.card, splits=splits)
    play(known, world)
    plain = [a for a in of(world.done, "train") if not a.job.recipe.augment and a.job.network.model != "linear-pixels"]
    assert bool(plain) == tried
