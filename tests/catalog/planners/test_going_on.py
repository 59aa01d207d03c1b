"""Long trainings of the default planner go on from short ones, played in a pretend world."""

from dataclasses import replace

from world import Gaining, World, findings, play

LIMITS = (("accuracy.min", 0.75),)
SECONDS = 3000.0


class Warm(Gaining):
    """A training that goes on from another gains."""

    def gains(self, recipe):
        return recipe.start is not None


def trainings(actions):
    return [action.job for action in actions if action.stage == "train"]


def test_a_long_training_begins_with_the_weights_of_its_own_short_one():
    known = findings(LIMITS, seconds=SECONDS)
    jobs = trainings(play(known, Warm(0.2)))
    warm = [job for job in jobs if job.recipe.start is not None]
    assert warm
    for job in warm:
        start = job.recipe.start
        assert start.network == job.network
        (short,) = [j for j, r in known.trained(job.network.id) if r.weights.sha256 == start.weights]
        assert short.recipe.epochs <= job.recipe.epochs / 2
    short_ones = [job for job in jobs if job.recipe.start is None]
    assert {job.network.id for job in warm} <= {job.network.id for job in short_ones}
    assert "its training went on from its own shorter one" in known.decision().why


def test_what_was_trained_once_serves_whatever_it_began_with():
    """Another run trained the same networks as long, from random weights."""
    first = findings(LIMITS, seconds=SECONDS)
    long = {job.network.id for job in trainings(play(first, World())) if job.recipe.start is not None}
    second = findings((("accuracy.min", 0.76),), seconds=SECONDS)
    for name in {record.candidate.network.id for record in first.records()}:
        second._trained[name] = [
            (replace(job, recipe=replace(job.recipe, start=None)), result) for job, result in first.trained(name)
        ]
    assert long
    assert not [job for job in trainings(play(second, World())) if job.network.id in long]


def test_nothing_goes_on_from_a_training_as_long_as_itself():
    known = findings(LIMITS, seconds=SECONDS)
    play(known, World())
    for record in known.records():
        for job, result in known.trained(record.candidate.network.id):
            start = job.recipe.start
            if start is not None:
                lengths = {r.weights.sha256: r.epochs for _, r in known.trained(job.network.id)}
                assert lengths[start.weights] <= result.epochs / 2


def test_what_is_trained_without_augmentation_goes_on_from_a_training_without_it():
    class Plain(World):
        def _train(self, job, dice):
            result, seconds = super()._train(job, dice)
            if job.recipe.augment:
                return result, seconds
            score = result.score + 0.5 * (1 - result.score)
            self._weights[result.weights.sha256] = (job.network.options["million"], score)
            return replace(result, score=score), seconds

    known = findings(LIMITS, seconds=SECONDS)
    warm = [job for job in trainings(play(known, Plain())) if job.recipe.start is not None]
    assert not all(job.recipe.augment for job in warm)
    for job in warm:
        (short,) = [j for j, r in known.trained(job.network.id) if r.weights.sha256 == job.recipe.start.weights]
        assert short.recipe.augment == job.recipe.augment
