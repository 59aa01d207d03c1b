"""A network whose int8 file loses too much, trained on while its products are rounded as int8 rounds them."""

from __future__ import annotations

from sartor import factoring, rounding, tuning
from sartor.catalog.contracts import Action, Situation
from sartor.catalog.planners.parts.deployment import Deployment
from sartor.catalog.planners.parts.distil import ANSWERING, COSTS, gives_logits
from sartor.catalog.planners.parts.schedule import is_computed, on_ladder
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.jobs import DescribeJob, Start, Teacher
from sartor.metrics import COST_METRICS
from sartor.types import Network, Record

SHARE = 0.2  # of the epochs of its own training, a network is trained on for
TIME_SHARE = 0.5  # of the time left for training, at most, goes into it
SLOWER = 2.0  # times a step of its own training, one with rounding takes about, until it was measured
COUNTING_S = 1.0  # what counting the operations of a network takes, about


class QuantiseAware:
    """Trains one network of a plan on for 8 bits, and scores its int8 files against the float network it was.

    Only where quantisation after training, repaired or not, lost what the limits do not allow, and where a file that
    keeps all of its float parent's accuracy would be chosen: nothing in the race is as good and costs as little.
    """

    def __init__(
        self, situation: Situation, shop: Workshop, trainer: Trainer, scout: Scout, deployment: Deployment
    ) -> None:
        self.now, self.shop, self.trainer = situation, shop, trainer
        self.scout, self.deployment = scout, deployment

    def run(self) -> Step[None]:
        """Train on the network of the best int8 file that accuracy alone speaks against."""
        if self.now.requirement.budget.effort == "quick":
            return
        lossy = self._lossy()
        if lossy is None:
            return
        whole, weights = lossy.candidate.network, self.shop.weights_of(lossy)
        if not self._has_time(whole):
            return
        bits = rounding.bits_of(self.shop.options(rounding.COMPRESSOR))
        network = rounding.rounded(tuning.untuned(whole), bits)
        yield Action("describe", DescribeJob(self.now.requirement.task, (network,)), network.id, "estimate")
        self.now.enter(network, whole.id, child=True, only=rounding.COMPRESSOR)
        fits = not self._is_too_much_repaired(lossy) or (yield from self._fits(network))
        trained = (yield from self._train(network, whole, weights)) if fits else ""
        if trained:
            yield from self.deployment.run(network, trained)

    # ---------------------------------------------------------------------------------------------- which one

    def _lossy(self) -> Record | None:
        """The int8 file, of those that lost too much and might be chosen else, whose float parent errs least."""
        found = [
            (self._error(record), value_of(record, "latency_p50_ms"), record.candidate.id, record)
            for record in self.now.records()
            if record.artifact is not None
            and _suits(record)
            and (self.deployment.repair.lost_too_much(record) or self._is_too_much_repaired(record))
            and self._would_be_chosen(record)
        ]
        return min(found, key=lambda entry: entry[:3])[3] if found else None

    def _is_too_much_repaired(self, record: Record) -> bool:
        """True where its products that went back to float made it cost too much."""
        code = next(fate.code for fate in self.now.decision().fates if fate.candidate == record.candidate.id)
        return code in COSTS and self.shop.is_repaired(record.candidate)

    def _error(self, record: Record) -> float:
        score, _ = self.trainer.reached(record.candidate.network, self.shop.weights_of(record))
        return self.trainer.promised(score, 1.0)

    def _would_be_chosen(self, record: Record) -> bool:
        """True unless something in the race is as good as its float parent, and costs no more where less is wished."""
        parent, openings = self.shop.record(record.parent), self.now.open_candidates()
        costs = {metric.name for metric in COST_METRICS}
        wishes = [wish.metric for wish in self.now.requirement.objectives if wish.metric in costs]
        return not any(
            rival.candidate.id in openings
            and self.trainer.as_good(rival, parent)
            and all(value_of(rival, wish) <= value_of(record, wish) for wish in wishes)
            for rival in self.now.records()
        )

    # ---------------------------------------------------------------------------------------------- and its training

    def _has_time(self, whole: Network) -> bool:
        """True where the shortest training is believed to fit."""
        rate = self._taught(whole, self.trainer.fastest(whole) / SLOWER)
        shortest = self.trainer.probing() + self.trainer.seconds(rate, self.trainer.fewest(whole))
        return COUNTING_S + shortest <= TIME_SHARE * self.trainer.training_time(whole)

    def _fits(self, network: Network) -> Step[bool]:
        """True where a way of it, with every product in 8 bits, is measured to keep the limits on cost."""
        while (way := self.scout.best_way(network)) is not None:
            yield from self.scout.probe(way)
            if way.id in self.now.open_candidates():
                return True
        return False

    def _train(self, network: Network, whole: Network, weights: str) -> Step[str]:
        """Weights of a short training that begins with the whole network's, and learns its answers where it can."""
        self.trainer.follow(network, whole)
        rate = yield from self.trainer.rate(network, 0.0, self.shop.size)
        time = TIME_SHARE * self.trainer.training_time(network)
        _, own = self.trainer.reached(whole, weights)
        fewest = self.trainer.fewest(network)
        in_time = self.trainer.epochs(network, self._taught(whole, rate), time) if rate else 0.0
        epochs = min(in_time, on_ladder(max(fewest, SHARE * own)))
        if epochs < fewest:
            self.now.stop(network.id, "TOO_LONG_TO_TRAIN", f"there was no time left to train it on from {whole.id}")
            return ""
        teacher = Teacher(whole, weights) if self._teaches(whole) else None
        start = Start(whole, weights)
        return (yield from self.trainer.train(network, epochs, time, floor=0.0, teacher=teacher, start=start))

    def _taught(self, whole: Network, rate: float) -> float:
        """Samples per second that are left of a rate when the whole network answers them too."""
        return 1 / (1 / rate + ANSWERING / self.trainer.fastest(whole)) if self._teaches(whole) else rate

    def _teaches(self, whole: Network) -> bool:
        return gives_logits(self.now.requirement.task, whole)


def _suits(record: Record) -> bool:
    """True for int8 by calibration, of a network that is trained and has weights of its own."""
    candidate = record.candidate
    computed = is_computed(candidate.network) or factoring.is_factored(candidate.network)
    return candidate.compressor == rounding.COMPRESSOR and not computed and not rounding.is_rounded(candidate.network)
