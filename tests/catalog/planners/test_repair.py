"""When the default planner repairs int8, played in a pretend world."""

from dataclasses import replace

import pytest
from world import TASK, World, findings, play

from sartor import registry
from sartor.metrics import quality_derivatives
from sartor.types import Measurement, Refusal

ACCURACY = registry.get("tasks", TASK).metrics[0]
LIMITS = (("accuracy.min", 0.87), ("size_mb.max", 8.0))


@pytest.fixture(autouse=True)
def _without_nncf(monkeypatch):
    """These worlds pretend mixed precision; what is installed here does not matter."""
    monkeypatch.setattr(type(registry.get("compressors", "int8-nncf")), "is_installed", lambda self: False)


class Lossy(World):
    """int8 loses ``lost``, of which a repair leaves the share it was asked to leave; ``mixing`` is its cost in time."""

    def __init__(self, lost, mixing=1.1, **more):
        super().__init__(**more)
        self.lost, self.mixing = lost, mixing

    def _compress(self, job, dice):
        size, score, _ = self._files[job.artifact]
        mixed = job.compressor == "int8-mixed"
        lost = self.lost * (job.options["tolerance"] if mixed else 1.0)
        made, seconds = self._made("onnx", job, size, score - lost, job.compressor)
        return replace(made, remark="1 of 8 products stay in float") if mixed else made, seconds

    def _measure(self, job, dice):
        result, seconds = super()._measure(job, dice)
        if self._files[job.artifact][2] != "int8-mixed":
            return result, seconds
        found = [
            replace(m, value=m.value * self.mixing, low=m.low * self.mixing, high=m.high * self.mixing)
            if m.metric.name.startswith("latency")
            else m
            for m in result.measurements
        ]
        return replace(result, measurements=tuple(found)), seconds


def repairs(actions):
    return [a for a in actions if a.stage == "compress" and a.job.compressor == "int8-mixed"]


def start(*limits):
    return findings(limits or LIMITS, seconds=3600.0)


def test_nothing_is_repaired_where_int8_does_well():
    assert not repairs(play(start(), Lossy(0.0)))


def test_what_lost_too_much_is_repaired_scored_and_timed_anew():
    known = start()
    actions = play(known, Lossy(0.1))
    made = repairs(actions)
    assert made
    assert all(0 < a.job.options["tolerance"] <= 0.5 for a in made)
    place = actions.index(made[0])
    assert [a.stage for a in actions[place + 1 : place + 3]] == ["evaluate", "measure"]
    assert actions[place + 1].job.artifact == actions[place + 2].job.artifact
    assert known.decision().status == "met"


def test_a_repaired_file_ships_and_the_decision_says_how_it_was_made():
    known = start(("accuracy.min", 0.82), ("size_mb.max", 0.5))  # 32 bits do not fit
    play(known, Lossy(0.1))
    assert known.decision().status == "met"
    assert "/int8/" in known.decision().chosen
    assert "1 of 8 products stay in float" in known.decision().why


def test_a_second_round_asks_for_more_and_there_is_no_third():
    class Stubborn(Lossy):
        def _compress(self, job, dice):
            size, score, _ = self._files[job.artifact]
            return self._made("onnx", job, size, score - self.lost, job.compressor)

    actions = play(start(), Stubborn(0.1))
    made = repairs(actions)
    asked = [a.job.options["tolerance"] for a in made if a.job.artifact == made[0].job.artifact]
    assert len(asked) == 2
    assert asked[1] < asked[0]


class Declined(Lossy):
    """What these compressors are asked to repair they cannot."""

    def __init__(self, lost, *compressors):
        super().__init__(lost)
        self.compressors = compressors

    def _do(self, action, key):
        outcome = super()._do(action, key)
        if action.stage == "compress" and action.job.compressor in self.compressors:
            return replace(outcome, result=None, refusal=Refusal("NOT_REPAIRED", "pretend"))
        return outcome


@pytest.mark.parametrize("installed", [True, False])
def test_what_keeps_every_product_in_bytes_is_asked_first_where_it_is_installed(monkeypatch, installed):
    monkeypatch.setattr(type(registry.get("compressors", "int8-nncf")), "is_installed", lambda self: installed)
    known = start()
    actions = play(known, Declined(0.1, "int8-nncf"))
    asked = [a.job for a in actions if a.stage == "compress" and "tolerance" in a.job.options]
    of_one = [job for job in asked if (job.artifact, job.options) == (asked[0].artifact, asked[0].options)]
    assert [job.compressor for job in of_one] == (["int8-nncf", "int8-mixed"] if installed else ["int8-mixed"])
    assert known.decision().status == "met"


def test_what_cannot_be_repaired_stands_as_it_was():
    known = start()
    actions = play(known, Declined(0.1, "int8-mixed", "int8-nncf"))
    assert repairs(actions)
    codes = {fate.code for fate in known.decision().fates if "/int8/" in fate.candidate}
    assert "BELOW_FLOOR" in codes
    assert "NOT_REPAIRED" not in codes


def test_a_continued_plan_repairs_alike():
    world = Lossy(0.1)
    first = play(start(), world)
    done = len(world.done)
    assert [a.job for a in play(start(), world)] == [a.job for a in first]
    assert len(world.done) == done


def test_a_loss_on_too_few_samples_to_reject_is_repaired_too_and_noise_is_not():
    class Unsure(Lossy):
        def __init__(self, lost, spread):
            super().__init__(lost)
            self.spread = spread

        def _evaluate(self, job, dice):
            result, seconds = super()._evaluate(job, dice)
            drop = self.lost if job.pipeline.precision == "int8" and self._files[job.artifact][2] != "int8-mixed" else 0
            lost = quality_derivatives(ACCURACY)[1]
            found = Measurement(lost, drop, drop - self.spread, drop + self.spread, 26, "measured", split=job.split)
            rest = tuple(m for m in result.measurements if m.metric.name == "accuracy")
            return replace(result, measurements=(*rest, replace(found, artifact=job.artifact))), seconds

    easy = (("accuracy.min", 0.6), ("size_mb.max", 8.0))
    assert repairs(play(start(*easy), Unsure(0.08, spread=0.1)))
    assert not repairs(play(start(*easy), Unsure(0.03, spread=0.1)))
    assert not repairs(play(start(*easy), Unsure(0.01, spread=0.001)))
