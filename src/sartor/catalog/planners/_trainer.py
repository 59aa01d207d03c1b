"""What a planner trains with: how long things take, which trainings exist, which augmentation pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from sartor import registry
from sartor.catalog.contracts import Action, Situation
from sartor.catalog.planners._schedule import enough_epochs, on_ladder
from sartor.catalog.planners._workshop import Step
from sartor.jobs import ThroughputJob, TrainJob, TrainResult
from sartor.types import Network, Record

RESERVE_SHARE = 0.12  # of the budget, kept for evaluation and confirmation …
RESERVE_S = 90.0  # … but no more than this
REUSE_SHARE = 0.6  # a training of another run with so large a share of the epochs wanted is not done again
FEWEST_EPOCHS = 3.0  # a network that would see its data less often in its long training is not begun
LARGEST_MARGIN = 0.1  # of a score: what is not seen below it is not looked for
RATE_ATTEMPTS = 3  # at a training rate, on a busy machine
START_S = 3.0  # a training process starts, loads and evaluates about so long


class Trainer:
    """Trains networks of one situation; whatever was trained once is not trained again."""

    def __init__(self, situation: Situation, throughput_seconds: float) -> None:
        self.now, self.requirement = situation, situation.requirement
        self.samples = situation.card.splits["train"].samples
        self.primary = registry.get("tasks", situation.requirement.task).metrics[0]
        self._throughput_seconds = throughput_seconds
        self._plain: set[str] = set()  # networks that do better without augmentation
        self._begun: set[str] = set()  # networks that this plan had trained
        self._unsure: set[str] = set()  # networks whose rate was never measured on a quiet machine

    def promised(self, score: float, gain: float) -> float:
        """The error believed to be left after a longer training: it shrinks by the factor ``gain``; lower is better."""
        if self.primary.direction == "lower":
            return score * gain
        return (1 - score) * gain if self.primary.bounded else -score

    def enough(self, network: Network) -> float:
        """Epochs beyond which a network gains nothing."""
        family = registry.get("models", network.model)
        if family.fitting == "closed-form":
            return 1.0
        return min(enough_epochs(self.samples), float(getattr(family, "most_epochs", math.inf)))

    def fewest(self, network: Network) -> float:
        """Epochs below which a network is not begun."""
        return min(FEWEST_EPOCHS, self.enough(network))

    def common_epochs(self, networks: Sequence[Network], rates: dict[str, float], seconds: float) -> float:
        """Epochs that every network can have when they share a time; what is computed takes one pass in any case."""
        passes = {network.id: self.samples / rates[network.id] / 0.85 for network in networks}
        computed = sum(passes[network.id] for network in networks if self.enough(network) <= 1)
        left = max(0.0, seconds - START_S * len(networks) - computed)
        again = sum(passes.values()) - computed
        return left / again if again else float(left > 0)

    def rate(self, network: Network, least: float) -> Step[float | None]:
        """Training samples per second, measured; again, a few times, where a busy machine gave less than ``least``.

        A busy machine only slows, so the highest is kept. Where none was quiet, :meth:`is_unsure` says so.
        """
        known = self.now.trained(network.id)
        if known:
            return known[-1][1].samples_per_s
        highest, job = 0.0, self._train_job(network, 1.0, floor=0.0)
        for attempt in range(RATE_ATTEMPTS):
            outcome = yield Action(
                "throughput", ThroughputJob(job, self._throughput_seconds, attempt), network.id, "train"
            )
            if outcome.refusal:
                return highest or None
            highest = max(highest, float(outcome.result.samples_per_s))
            self._unsure.discard(network.id)
            if not outcome.result.noisy or highest >= least:
                return highest
            self._unsure.add(network.id)
        return highest

    def is_unsure(self, network: Network) -> bool:
        """True when its rate is too low only as far as a busy machine could tell."""
        return network.id in self._unsure

    def training_time(self) -> float:
        """Seconds left for training: the budget less the reserve for evaluation and confirmation."""
        return self.now.left_s() - self.reserve()

    def seconds(self, rate: float, epochs: float) -> float:
        """How long a training takes, start and evaluation included."""
        return START_S + epochs * self.samples / rate / 0.85

    def epochs(self, network: Network, rate: float, seconds: float) -> float:
        """Epochs that fit into a time, with room for start and evaluation."""
        wanted = max(0.0, seconds - START_S) * 0.85 * rate / self.samples
        return on_ladder(min(wanted, self.enough(network)))

    def train(self, network: Network, epochs: float, *, floor: float, short: bool = False) -> Step[str]:
        """Weights after so many epochs; trainings that exist serve when they are nearly as long, or longer.

        The longest of them is taken, or the shortest where others are to be compared with it (``short``).
        """
        job = self._train_job(network, epochs, floor=floor)
        known = self._known(job)
        if known:
            return known[0 if short else -1].weights.sha256
        self._begun.add(network.id)
        outcome = yield Action("train", job, network.id, "train")
        if outcome.refusal:
            return ""
        if outcome.result.stopped:
            self.now.stop(network.id, outcome.result.stopped, f"stopped at {outcome.result.score:.3f} on validation")
        return str(outcome.result.weights.sha256)

    def try_plain(self, network: Network, epochs: float, score: float) -> Step[str]:
        """Train as long without augmentation; where that is clearly better it is trained so from now on.

        Clearly: by more than one standard error of the score, and by more after few epochs, when without augmentation
        every training leads: it pays the more the longer the training. Not tried where that is too much to ever be
        seen, nor for what another run trained: a second question about the same data is answered from evidence.

        Returns:
            Weights of the plain training where it won; else nothing.
        """
        task = registry.get("tasks", self.requirement.task)
        wanted = self._train_job(network, epochs, floor=0.0).recipe.augment
        helpful = [name for name in wanted if name != "auto" or task.augmentations(self.now.card)]
        margin = self._standard_error(score) * max(1.0, FEWEST_EPOCHS / epochs)
        if not helpful or margin > LARGEST_MARGIN or network.id not in self._begun:
            return ""
        job = self._train_job(network, epochs, floor=0.0, plain=True)
        found = next(iter(self._known(job)), None)
        if found is None:
            outcome = yield Action("train", job, network.id, "train")
            if outcome.refusal or outcome.result.stopped:
                return ""
            found = outcome.result
        gained = self.promised(score, 1.0) - self.promised(found.score, 1.0)
        if gained <= margin:
            return ""
        self._plain.add(network.id)
        return str(found.weights.sha256)

    def _known(self, job: TrainJob) -> list[TrainResult]:
        """Finished trainings that serve for a job, shortest first: augmented alike, and not much shorter."""
        return [
            result
            for other, result in self.now.trained(job.network.id)
            if other.recipe.augment == job.recipe.augment
            and other.recipe.epochs >= REUSE_SHARE * job.recipe.epochs
            and not result.stopped
        ]

    def _standard_error(self, score: float) -> float:
        """Of a share over the validation samples; 0 for what is no share."""
        n = max(1, self.now.card.splits["validation"].samples)
        return math.sqrt(max(0.0, score * (1 - score)) / n) if self.primary.bounded else 0.0

    def _train_job(self, network: Network, epochs: float, *, floor: float, plain: bool = False) -> TrainJob:
        recipe = registry.get("models", network.model).recipe(network, self.samples, epochs)
        if plain or network.id in self._plain:
            recipe = replace(recipe, augment=())
        return TrainJob(
            self.requirement.task,
            network,
            self.now.card.fingerprint,
            recipe,
            self.requirement.seed,
            self.requirement.target.threads,
            floor,
        )

    def as_good(self, record: Record, other: Record) -> bool:
        """True when the primary metric on validation is within one standard error (a quarter of 95 %) of another's."""
        ours, theirs = (
            next((m for m in reversed(r.measurements) if m.metric == self.primary and m.split == "validation"), None)
            for r in (record, other)
        )
        if ours is None or theirs is None:
            return False
        lost = ours.value - theirs.value if self.primary.direction == "lower" else theirs.value - ours.value
        return lost <= (theirs.high - theirs.low) / 4

    def score(self, network: Network, weights: str) -> float:
        """The score on validation of weights that were trained."""
        return next(r.score for _, r in self.now.trained(network.id) if r.weights.sha256 == weights)

    def floor(self) -> float:
        """The lowest value of the primary metric that a limit allows; 0 without one."""
        floors = [x.value for x in self.requirement.limits if x.metric == self.primary.name and x.bound == "min"]
        return max(floors, default=0.0)

    def reserve(self) -> float:
        """Seconds kept for evaluation and confirmation."""
        return min(RESERVE_S, self.requirement.budget.seconds * RESERVE_SHARE)
