"""What a planner trains with: how long things take, which trainings exist, which augmentation pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from sartor import registry, rounding
from sartor.catalog.contracts import Action, Situation
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.schedule import Effort, enough_epochs, on_ladder
from sartor.catalog.planners.parts.workshop import Step
from sartor.jobs import Start, Teacher, ThroughputJob, TrainJob, TrainResult
from sartor.types import Network, Record

WARM_SHARE = 0.5  # of a training's epochs, at most, has what it goes on from: more would be the same training twice
REUSE_SHARE = 0.6  # a training of another run with so large a share of the epochs wanted is not done again
FEWEST_EPOCHS = 3.0  # a network that would see its data less often in its long training is not begun
LARGEST_MARGIN = 0.1  # of a score: what is not seen below it is not looked for
RATE_ATTEMPTS = 3  # at a training rate, on a busy machine
PROBE_SHARE = 0.02  # of the time for training: where finding out how fast a network trains takes more, others speak
MOST_PROBE_SHARE = 0.3  # where it takes more than this, it is not found out
LONG_SHARE = 0.75  # of the time for training goes to long trainings
CEILING_SHARE = 0.15  # of the arithmetic ceiling that training reaches, until a rate was measured
STEP_WORK = 3.0  # times the operations of an answer, those of a training step per sample
LOOKING = 0.85  # of a training's time goes into its steps, the rest into looking at its score


class Trainer:
    """Trains networks of one situation; whatever was trained once is not trained again."""

    def __init__(self, situation: Situation, effort: Effort, forecast: Forecast, reserve: Reserve) -> None:
        self.now, self.requirement, self.survivors = situation, situation.requirement, effort.survivors
        self.forecast, self.reserve = forecast, reserve
        self.samples = situation.card.splits["train"].samples
        self.primary = registry.get("tasks", situation.requirement.task).metrics[0]
        self._throughput_seconds = effort.throughput_seconds
        self._plain: set[str] = set()  # networks that do better without augmentation
        self._begun: set[str] = set()  # networks that this plan had trained
        self._unsure: dict[str, str] = {}  # networks whose rate was not measured on a quiet machine -> why
        self._rates: dict[str, tuple[Network, float]] = {}  # measured, of this plan

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
        passes = {network.id: self.samples / rates[network.id] / LOOKING for network in networks}
        computed = sum(passes[network.id] for network in networks if self.enough(network) <= 1)
        left = max(0.0, seconds - self.forecast.training() * len(networks) - computed)
        again = sum(passes.values()) - computed
        return left / again if again else float(left > 0)

    def rate(self, network: Network, least: float, size: Callable[[Network], float]) -> Step[float | None]:
        """Training samples per second, measured; again, a few times, where a busy machine gave less than ``least``.

        A busy machine only slows, so the highest is kept. Where none was quiet, :meth:`doubt` says so. Where
        measuring takes too large a share of the time, the rate of another network speaks by its ``size``; but none is
        left out for that.
        """
        known = self._untaught(network)
        if known:
            return known[-1].samples_per_s
        guess = self._guessed(network, size)
        time = self.training_time()
        if guess >= least and self.probing() > PROBE_SHARE * time:
            return guess
        if self.probing() > MOST_PROBE_SHARE * time:
            self._unsure[network.id] = "the budget leaves no time to find out how fast it trains"
            return self.expected_rate(network, size)
        highest, job = 0.0, self._train_job(network, 1.0, floor=0.0)
        for attempt in range(RATE_ATTEMPTS):
            if attempt and self.probing() > PROBE_SHARE * self.training_time():
                return highest
            outcome = yield Action(
                "throughput", ThroughputJob(job, self._throughput_seconds, attempt), network.id, "train"
            )
            if outcome.refusal:
                return highest or None
            highest = max(highest, float(outcome.result.samples_per_s))
            self._rates[network.id] = network, highest
            self._unsure.pop(network.id, None)
            if not outcome.result.noisy or highest >= least:
                return highest
            self._unsure[network.id] = "the machine was too busy to tell how fast it trains"
        return highest

    def _untaught(self, network: Network) -> list[TrainResult]:
        """Its trainings without a teacher, whose answers take time, shortest first."""
        return [result for job, result in self.now.trained(network.id) if job.recipe.teacher is None]

    def knows_a_rate(self) -> bool:
        """True once any rate was measured."""
        return bool(self._rates)

    def needed_rate(self, network: Network) -> float:
        """Samples per second at which its long training would see the data just often enough."""
        long = self.training_time() * LONG_SHARE / self.survivors - self.forecast.training()
        return self.fewest(network) * self.samples / max(long, self.forecast.training())

    def expected_rate(self, network: Network, size: Callable[[Network], float]) -> float:
        """Samples per second believed before it was measured: like others by size, or a share of the ceiling."""
        known = self._untaught(network)
        if known or network.id in self._rates:
            return known[-1].samples_per_s if known else self._rates[network.id][1]
        cost = self.now.cost_of(network.id)
        if self._rates:
            return self._guessed(network, size)
        ceiling = max(
            (c.operations_per_s for name, c in self.now.device.ceilings.items() if name == "fp32"), default=1e11
        )
        operations = cost.operations if cost else 0  # where they are not known, nothing is left out for them
        return CEILING_SHARE * ceiling / (STEP_WORK * max(1, operations))

    def _guessed(self, network: Network, size: Callable[[Network], float]) -> float:
        """The rate that the network nearest in size suggests, one of the same family before others; 0 without one."""
        if not self._rates:
            return 0.0
        own = max(1e-9, size(network))

        def apart(pair: tuple[Network, float]) -> tuple[bool, float]:
            return pair[0].model != network.model, abs(math.log(max(1e-9, size(pair[0])) / own))

        other, rate = min(self._rates.values(), key=apart)
        return rate * max(1e-9, size(other)) / own

    def probing(self) -> float:
        """Seconds that finding out a rate takes."""
        return self.forecast.training() + self._throughput_seconds

    def doubt(self, network: Network) -> str:
        """Why its rate, if too low, may be so for no fault of its own; empty where it was measured well."""
        return self._unsure.get(network.id, "")

    def training_time(self, network: Network | None = None) -> float:
        """Seconds left for training a network, or any: the budget less what is to be done afterwards."""
        return self.now.left_s() - self.reserve.after(network)

    def seconds(self, rate: float, epochs: float) -> float:
        """How long a training takes, start and evaluation included."""
        return self.forecast.training() + epochs * self.samples / rate / LOOKING

    def epochs(self, network: Network, rate: float, seconds: float) -> float:
        """Epochs that fit into a time, with room for start and evaluation."""
        wanted = max(0.0, seconds - self.forecast.training()) * LOOKING * rate / self.samples
        return on_ladder(min(wanted, self.enough(network)))

    def train(
        self,
        network: Network,
        epochs: float,
        seconds: float,
        *,
        floor: float,
        short: bool = False,
        again: bool = False,
        teacher: Teacher | None = None,
        start: Start | None = None,
    ) -> Step[str]:
        """Weights after so many epochs, fewer where ``seconds`` are over before, start and final scoring included.

        Trainings that exist serve when they are nearly as long, or longer: the longest of them, or the shortest where
        others are to be compared with it (``short``). One that is stopped speaks against the network, but not where it
        was trained well before (``again``).
        """
        job = self._train_job(network, epochs, floor=floor, seconds=seconds, teacher=teacher, start=start)
        return (yield from self._done(job, short, again))

    def so_far(self, network: Network, epochs: float) -> Start | None:
        """The network's own weights to go on from: of its longest training that was at most half as long; or none.

        A training from there has its whole schedule again. It makes fewer errors than one from random weights, after as
        many epochs (``benchmarks/warm_starts.py``).
        """
        recipe = self._train_job(network, epochs, floor=0.0).recipe
        if recipe.optimizer == "closed-form" or recipe.adapters:
            return None
        shorter = [
            result
            for job, result in self.now.trained(network.id)
            if job.recipe.augment == recipe.augment
            and (result.epochs or job.recipe.epochs) <= WARM_SHARE * epochs
            and not result.stopped
        ]
        return Start(network, shorter[-1].weights.sha256) if shorter else None

    def train_each(self, wanted: Sequence[tuple[Network, float, float]]) -> Step[list[str]]:
        """Weights of short trainings that do not hang on each other, so that they may run at once.

        Args:
            wanted: networks, each with epochs and seconds as for :meth:`train`.
        """
        jobs = [self._train_job(network, epochs, floor=0.0, seconds=seconds) for network, epochs, seconds in wanted]
        found = []
        for number, job in enumerate(jobs, 1):
            rest = [later for later in jobs[number:] if not self._known(later)]
            ahead = tuple(Action("train", later, later.network.id, "train") for later in rest)
            found.append((yield from self._done(job, short=True, ahead=ahead)))
        return found

    def _done(self, job: TrainJob, short: bool, again: bool = False, ahead: tuple[Action, ...] = ()) -> Step[str]:
        network, known = job.network, self._known(job)
        if known:
            return known[0 if short else -1].weights.sha256
        self._begun.add(network.id)
        outcome = yield Action("train", job, network.id, "train", ahead)
        if outcome.refusal:
            return ""
        if outcome.result.stopped and not again:
            self.now.stop(network.id, outcome.result.stopped, f"stopped at {outcome.result.score:.3f} on validation")
        return str(outcome.result.weights.sha256)

    def try_plain(self, network: Network, epochs: float, seconds: float, score: float) -> Step[str]:
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
        margin = self.standard_error(score) * max(1.0, FEWEST_EPOCHS / epochs)
        if not helpful or margin > LARGEST_MARGIN or network.id not in self._begun:
            return ""
        job = self._train_job(network, epochs, floor=0.0, seconds=seconds, plain=True)
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
        """Finished trainings that serve for a job, shortest first: not much shorter, and augmented and taught alike.

        One that went on from its network's own weights serves like one from random ones.
        """
        return [
            result
            for other, result in self.now.trained(job.network.id)
            if other.recipe.augment == job.recipe.augment
            and other.recipe.teacher == job.recipe.teacher
            and _others_weights(other) == _others_weights(job)
            and (result.epochs or other.recipe.epochs) >= REUSE_SHARE * job.recipe.epochs
            and not result.stopped
        ]

    def follow(self, network: Network, other: Network) -> None:
        """Train a network without augmentation where another was found to do better so."""
        if other.id in self._plain:
            self._plain.add(network.id)

    def standard_error(self, score: float) -> float:
        """Of a share over the validation samples; 0 for what is no share."""
        n = max(1, self.now.card.splits["validation"].samples)
        return math.sqrt(max(0.0, score * (1 - score)) / n) if self.primary.bounded else 0.0

    def _train_job(
        self,
        network: Network,
        epochs: float,
        *,
        floor: float,
        seconds: float = 0.0,
        plain: bool = False,
        teacher: Teacher | None = None,
        start: Start | None = None,
    ) -> TrainJob:
        recipe = rounding.gentle(registry.get("models", network.model).recipe(network, self.samples, epochs), network)
        if plain or network.id in self._plain:
            recipe = replace(recipe, augment=())
        recipe = replace(recipe, teacher=teacher, start=start)
        return TrainJob(
            self.requirement.task,
            network,
            self.now.card.fingerprint,
            recipe,
            self.requirement.seed,
            self.requirement.target.threads,
            floor,
            math.ceil(max(1.0, seconds - self.forecast.training()))
            if seconds and recipe.optimizer != "closed-form"
            else 0.0,
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

    def latest(self, network: Network) -> str:
        """The weights that its longest training made."""
        return str(self.now.trained(network.id)[-1][1].weights.sha256)

    def reached(self, network: Network, weights: str) -> tuple[float, float]:
        """Score on validation and epochs of weights that were trained."""
        job, result = next(pair for pair in self.now.trained(network.id) if pair[1].weights.sha256 == weights)
        return result.score, result.epochs or job.recipe.epochs

    def fastest(self, network: Network) -> float:
        """The highest rate that any of its trainings showed."""
        return max(result.samples_per_s for _, result in self.now.trained(network.id))

    def floor(self) -> float:
        """The lowest value of the primary metric that a limit allows; 0 without one."""
        floors = [x.value for x in self.requirement.limits if x.metric == self.primary.name and x.bound == "min"]
        return max(floors, default=0.0)


def _others_weights(job: TrainJob) -> Start | None:
    """What a training begins with that another network learnt."""
    start = job.recipe.start
    return None if start is None or start.network.id == job.network.id else start
