"""When the default planner prunes a trained network, and how far, played in a pretend world."""

from dataclasses import replace

import pytest
from world import World, findings, million, play

from sartor import pruning
from sartor.types import Objective, Refusal

TIGHT = (("accuracy.min", 0.75), ("latency_p95_ms.max", 0.35))  # resnet9-m and larger are too slow in every way
LONG = 40_000.0
LIMIT = 0.35 / 1.2 - 0.2  # what TIGHT leaves of a median for the model


class Warm(World):
    """What begins with trained weights errs by ``kept`` less than what begins with random ones."""

    def __init__(self, kept=0.5, **more):
        super().__init__(**more)
        self.kept = kept

    def _train(self, job, dice):
        result, seconds = super()._train(job, dice)
        if job.recipe.start is None:
            return result, seconds
        score = result.score + self.kept * (1 - result.score)
        self._weights[result.weights.sha256] = (million(job.network), score)
        return replace(result, score=score, curve=tuple(replace(row, score=score) for row in result.curve)), seconds

    def _made(self, format, job, size, score, compressor):
        result, seconds = super()._made(format, job, size, score, compressor)
        parent = job.weights if compressor == "none" else job.artifact
        return replace(result, artifact=replace(result.artifact, parent=parent)), seconds


def warm(actions):
    return [a.job for a in actions if a.stage == "train" and a.job.recipe.start is not None]


def test_a_better_network_that_is_too_slow_is_pruned_until_it_is_measured_to_fit():
    known, world = findings(TIGHT, seconds=LONG), Warm()
    (job,) = warm(play(known, world))
    start = job.recipe.start
    print(job.network.id)
    assert start.weights in {r.weights.sha256 for _, r in known.trained(start.network.id)}
    assert pruning.pruned(start.network, pruning.share_of(job.network)) == job.network
    assert known.decision().status == "met"
    assert known.decision().chosen.startswith(f"{job.network.id}/")
    assert f"its training began with the weights of {start.network.id}" in known.decision().why
