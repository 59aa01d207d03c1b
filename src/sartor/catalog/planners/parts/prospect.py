"""What a larger budget would likely buy: an estimate from learning curves and from what was not tried."""

from __future__ import annotations

import math

from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.types import Network

GAIN_EXPONENT = 0.2  # error rates fell at least so with epochs, as a power, for every family we tried
STEEPEST = 0.7  # no curve is believed to fall faster for long
APART = 1.5  # times as many epochs, and two trainings of a network tell how fast its error falls
LARGER = 2.0  # times the training time that is spoken of
UNTRIED = frozenset({"NOT_TRIED", "TOO_LONG_TO_TRAIN"})


def prospect(now: Situation, trainer: Trainer) -> str:
    """The sentence; empty where nothing can be said.

    The error of a network is believed to fall as a power of its epochs, from two of its trainings where there are two,
    else slowly. Only ``estimated``: no verdict rests on it.
    """
    untried = {
        fate.candidate.split("/")[0]
        for fate in now.decision().fates
        if fate.code in UNTRIED and not _is_baseline(now, fate.candidate)
    }
    best = _best(now, trainer)
    if best is None:
        return f"more time would train some of {len(untried)} networks that may fit; an estimate" if untried else ""
    network, score, epochs = best
    rest = f"networks that may fit but were not tried: {len(untried)}" if untried else "no other network was left out"
    if epochs * APART > trainer.enough(network):
        return f"a longer training of {network.id} would likely gain nothing; {rest}; an estimate"
    error = trainer.promised(score, LARGER ** -falling(now, trainer, network))
    metric = trainer.primary
    if not (metric.bounded or metric.direction == "lower"):
        return ""
    reached = error if metric.direction == "lower" else 1 - error
    gain = f"{network.id} from {metric.format(score)} to about {metric.format(reached)} on validation"
    noise = "less than its noise; " if abs(reached - score) < trainer.standard_error(score) else ""
    return f"twice the training time would likely take {gain}; {noise}{rest}; an estimate"


def falling(now: Situation, trainer: Trainer, network: Network) -> float:
    """The power of the epochs by which a network's error falls, from its shortest and its longest training."""
    trained = [(result.epochs or job.recipe.epochs, result.score) for job, result in now.trained(network.id)]
    trained = [(epochs, trainer.promised(score, 1.0)) for epochs, score in trained]
    trained = sorted((epochs, error) for epochs, error in trained if error > 0)
    if len(trained) < 2 or trained[-1][0] < APART * trained[0][0]:
        return GAIN_EXPONENT
    (few, before), (many, after) = trained[0], trained[-1]
    return min(STEEPEST, max(0.0, math.log(before / after) / math.log(many / few)))


def _best(now: Situation, trainer: Trainer) -> tuple[Network, float, float] | None:
    """The chosen network, else the best trained one that is no baseline; with its score and its epochs."""
    chosen = now.decision().chosen.split("/")[0]
    starts = [job.recipe.start for job, _ in now.trained(chosen) if job.recipe.weight_bits]
    chosen = next((start.network.id for start in starts if start is not None), chosen)
    found = []
    networks = {r.candidate.network.id: r.candidate.network for r in now.records() if not r.notes.get("baseline")}
    for network in networks.values():
        # one for 8 bits is short on purpose
        trained = [pair for pair in now.trained(network.id) if not pair[1].stopped and not pair[0].recipe.weight_bits]
        if trained:
            job, result = trained[-1]
            key = network.id != chosen, trainer.promised(result.score, 1.0), network.id
            found.append((key, network, result.score, result.epochs or job.recipe.epochs))
    return min(found, key=lambda entry: entry[0])[1:] if found else None


def _is_baseline(now: Situation, candidate: str) -> bool:
    return any(r.candidate.id == candidate and r.notes.get("baseline") for r in now.records())
