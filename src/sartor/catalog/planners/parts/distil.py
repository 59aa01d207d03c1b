"""A network trained on the answers of a better one, where time is left for it after its own training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor import registry
from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.schedule import is_computed, largest_first
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop
from sartor.jobs import Teacher
from sartor.types import Network

BETTER = 0.85  # times the error of its pupil, at most, a teacher has: from an equal there is little to learn
LARGER = 2.0  # times the work of its pupil, at least, a network has that is trained to teach
AS_LONG = 0.8  # times the epochs of its pupil's own training, at least, the taught one has: else it proves nothing
TEACHING_SHARE = 0.5  # of the time left, at most, goes into the training of a teacher
FEWEST = 5.0  # epochs of it
ANSWERING = 1 / 3  # of a training step, an answer takes
COSTS = frozenset({"TOO_SLOW", "TOO_SLOW_TO_START", "TOO_LARGE", "TOO_MUCH_MEMORY", "TOO_MUCH_ENERGY"})
"""What speaks against a candidate, and not against a teacher; what may ship is trained for itself."""


class Distil:
    """Finds a teacher for one network: the best that was trained, else one too large to ship that is trained for it."""

    def __init__(self, situation: Situation, shop: Workshop, trainer: Trainer) -> None:
        self.now, self.shop, self.trainer = situation, shop, trainer
        self.task = situation.requirement.task

    def run(self, networks: Sequence[Network], rates: Mapping[str, float]) -> Step[tuple[Network, str] | None]:
        """The best of networks that were trained, with weights of a taught training that beat its own; else nothing.

        Args:
            networks: that may ship.
            rates: samples per second at which each trains.
        """
        own = [
            (self.trainer.promised(result.score, 1.0), n.id, n, result.score, result.epochs or job.recipe.epochs)
            for n in networks
            for job, result in self.now.trained(n.id)
            if not result.stopped and job.recipe.teacher is None and not is_computed(n)
        ]
        if not own:
            return None
        error, _, pupil, score, epochs = min(own, key=lambda entry: entry[:2])
        if not gives_logits(self.task, pupil) or (1 - BETTER) * error < self.trainer.standard_error(score):
            return None
        rate, most = rates[pupil.id], BETTER * error
        teacher = self._trained(pupil, most)
        if teacher is None:
            teacher = yield from self._train(pupil, rate, epochs, most)
        if teacher is None or not self._has_time(pupil, rate, epochs, self.trainer.fastest(teacher.network)):
            return None
        time = self.trainer.training_time(pupil)
        weights = yield from self.trainer.train(pupil, epochs, time, floor=0.0, again=True, teacher=teacher)
        if not weights or self.trainer.promised(self.trainer.score(pupil, weights), 1.0) >= error:
            return None
        return pupil, weights

    def _trained(self, pupil: Network, most: float) -> Teacher | None:
        """The best network trained so far, whatever speaks against shipping it, where it errs so little."""
        found = [
            (self.trainer.promised(result.score, 1.0), network.id, Teacher(network, result.weights.sha256))
            for network in self._kin(pupil)
            for job, result in self.now.trained(network.id)
            if not result.stopped and job.recipe.teacher is None
        ]
        best = min(found, key=lambda entry: entry[:2], default=None)
        return best[2] if best is not None and best[0] <= most else None

    def _train(self, pupil: Network, rate: float, epochs: float, most: float) -> Step[Teacher | None]:
        """The largest network that can be trained well beside its pupil; None where it came out no better."""
        for network in largest_first((n, self.shop.size(n)) for n in self._kin(pupil)):
            small = self.shop.size(network) < LARGER * self.shop.size(pupil)
            if small or is_computed(network) or self.now.trained(network.id):
                continue
            if self._epochs(pupil, network, self.trainer.expected_rate(network, self.shop.size)) < FEWEST:
                continue
            speed = yield from self.trainer.rate(network, 0.0, self.shop.size)
            long = self._epochs(pupil, network, speed or 0.0)
            time = TEACHING_SHARE * self.trainer.training_time(pupil)
            if long < FEWEST or not self._has_time(pupil, rate, epochs, speed or 0.0, beside=time):
                continue
            weights = yield from self.trainer.train(network, long, time, floor=0.0)
            good = weights and self.trainer.promised(self.trainer.score(network, weights), 1.0) <= most
            return Teacher(network, weights) if good else None
        return None

    def _epochs(self, pupil: Network, network: Network, rate: float) -> float:
        """Epochs that a teacher would be trained for."""
        return self.trainer.epochs(network, rate, TEACHING_SHARE * self.trainer.training_time(pupil))

    def _has_time(self, pupil: Network, rate: float, epochs: float, teacher: float, beside: float = 0.0) -> bool:
        """True where a taught training nearly as long as the pupil's own fits into the time left ``beside`` another.

        ``rate`` and ``teacher``: samples per second at which either is trained.
        """
        taught = 1 / (1 / rate + ANSWERING / teacher) if rate and teacher else 0.0
        time = self.trainer.training_time(pupil) - beside
        return bool(taught) and self.trainer.seconds(taught, AS_LONG * epochs) <= time

    def _kin(self, pupil: Network) -> list[Network]:
        """Other networks with the same inputs and outputs; none that could not be built or trained."""
        costly = {f.candidate.split("/")[0] for f in self.now.decision().fates if f.code in COSTS}
        found = {r.candidate.network.id: r.candidate.network for r in self.now.records() if not r.refusals}
        return [
            n
            for n in found.values()
            if n.id != pupil.id
            and (n.input_size, n.encoding, n.outputs) == (pupil.input_size, pupil.encoding, pupil.outputs)
            and gives_logits(self.task, n)
            and (n.id in costly or self.now.trained(n.id))
        ]


def gives_logits(task: str, network: Network) -> bool:
    """True where a network answers with logits of classes, which another can learn from."""
    return registry.get("tasks", task).truth == "class" and not hasattr(registry.get("models", network.model), "loss")
