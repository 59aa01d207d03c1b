"""When the default planner has a network taught by a better one, played in a pretend world."""

from dataclasses import replace

from world import Gaining, findings, play

from sartor.catalog.planners.parts.distil import COSTS
from sartor.stages.decide.fates import MISS_CODES

SMALL = (("accuracy.min", 0.75), ("size_mb.max", 0.5))  # resnet9-l and mobile-l do not fit
LONG = 40_000.0


class Teaching(Gaining):
    """A taught training gains."""

    def gains(self, recipe):
        return recipe.teacher is not None


def taught(actions):
    return [a.job for a in actions if a.stage == "train" and a.job.recipe.teacher is not None]


def test_where_time_is_left_one_too_large_to_ship_is_trained_to_teach_the_best_that_may():
    known = findings(SMALL, seconds=LONG)
    actions = play(known, Teaching(0.2))
    (job,) = taught(actions)
    teacher = job.recipe.teacher
    assert teacher.network.id in ("resnet9-l", "mobile-l")
    assert teacher.weights in {r.weights.sha256 for _, r in known.trained(teacher.network.id)}
    decision = known.decision()
    assert decision.status == "met"
    assert decision.chosen.startswith(job.network.id)
    assert f"{teacher.network.id} was its teacher in training" in decision.why


def test_a_taught_training_that_did_not_pay_is_not_shipped():
    known = findings(SMALL, seconds=LONG)
    assert taught(play(known, Teaching(-0.2)))
    assert not any("teacher" in line for line in known.decision().why)


def test_nothing_is_taught_without_the_time_or_without_a_better_network():
    assert not taught(play(findings(SMALL, seconds=600.0), Teaching(0.2)))
    assert not taught(play(findings((("accuracy.min", 0.75),), seconds=LONG), Teaching(0.2)))
    assert not taught(play(findings(SMALL, seconds=LONG, effort="quick"), Teaching(0.2)))


def test_no_teacher_that_is_hardly_better():
    class Equal(Teaching):
        def _train(self, job, dice):
            result, seconds = super()._train(job, dice)
            score = min(result.score, 0.80)
            self._weights[result.weights.sha256] = (job.network.options["million"], score)
            return replace(result, score=score), seconds

    assert not taught(play(findings(SMALL, seconds=LONG), Equal(0.2)))


def test_a_continued_plan_teaches_alike():
    world = Teaching(0.2)
    first = play(findings(SMALL, seconds=LONG), world)
    done = len(world.done)
    assert [a.job for a in play(findings(SMALL, seconds=LONG), world)] == [a.job for a in first]
    assert len(world.done) == done


def test_what_speaks_against_shipping_alone_is_every_limit_on_cost():
    assert set(MISS_CODES.values()) == COSTS
