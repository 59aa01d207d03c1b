"""What is done with the time left while nothing meets the limits: the quickest candidates that were never tried."""

from __future__ import annotations

from collections.abc import Callable

from sartor import factoring, rounding
from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.schedule import is_computed
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.trainer import LOOKING, Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.types import Network, Record

TRAINING_SHARE = 0.5  # of the time left at most goes into one training, where that is enough for the fewest epochs


class Leftover:
    """Measures, trains and scores one more network after another, quickest first, while there is time for a whole one.

    A small budget can be too short for the networks that would be best, and still hold time for a simple one that does.
    """

    def __init__(
        self,
        situation: Situation,
        shop: Workshop,
        forecast: Forecast,
        reserve: Reserve,
        trainer: Trainer,
        scout: Scout,
    ) -> None:
        self.now, self.shop, self.forecast = situation, shop, forecast
        self.reserve, self.trainer, self.scout = reserve, trainer, scout
        self._tried: set[str] = set()

    def run(self, is_enough: Callable[[], bool]) -> Step[None]:
        """Go on until it is enough, or until nothing more can be seen through to its confirmation in the time left."""
        while not is_enough():
            found = self._next()
            if found is None:
                return
            record, epochs = found
            yield from self._try(record, epochs)

    def _next(self) -> tuple[Record, float] | None:
        """The quickest untried network in its fastest way and its epochs; what learns comes before what is constant."""
        openings = self.now.open_candidates()
        fastest: dict[str, Record] = {}
        for record in self.now.records():
            network = record.candidate.network
            if record.candidate.id not in openings or record.candidate.fewer:
                continue
            if network.id in self._tried or self.now.trained(network.id) or self.shop.can_wait(record):
                continue
            if factoring.is_factored(network) or rounding.is_rounded(network):  # has another's weights
                continue
            known = fastest.get(network.id)
            if known is None or _speed(record) < _speed(known):
                fastest[network.id] = record
        waiting = []
        for record in fastest.values():
            epochs, training = self._training(record.candidate.network)
            if self.reserve.has_time_for(training + self._around(record)):
                constant = self._is_constant(record.candidate.network)
                waiting.append((constant, training, record.candidate.id, record, epochs))
        return min(waiting, key=lambda entry: entry[:3])[3:] if waiting else None

    def _training(self, network: Network) -> tuple[float, float]:
        """Epochs of a short but whole training, and what it takes; a network that is computed takes one pass."""
        if is_computed(network):
            return 1.0, self.forecast.training()
        epochs = self.trainer.fewest(network)
        rate = self.trainer.expected_rate(network, self.shop.size)
        return epochs, self.forecast.training() + epochs * self.trainer.samples / max(rate, 1e-9) / LOOKING

    def _around(self, record: Record) -> float:
        """Seconds of all but the training: measured untrained, made with its weights, scored, confirmed."""
        candidate = record.candidate
        probed = 0.0 if value_of(record, "latency_p50_ms") else self.scout.probing(candidate)
        scored = self.forecast.making(candidate) + self.forecast.evaluating(candidate, "validation")
        return probed + scored + self.reserve.least_confirming(record)

    def _is_constant(self, network: Network) -> bool:
        """True for what has no more numbers than answers, as a majority class: it learns nothing from an input."""
        cost = self.now.cost_of(network.id)
        return cost is not None and cost.parameters <= max(1, network.outputs)

    def _try(self, record: Record, epochs: float) -> Step[None]:
        candidate = record.candidate
        self._tried.add(candidate.network.id)
        if not value_of(record, "latency_p50_ms"):
            yield from self.scout.probe(candidate)
            if candidate.id not in self.now.open_candidates():
                return
        network = candidate.network
        left = self.now.left_s() - self._around(self.shop.record(candidate.id)) - self.forecast.delivering()
        seconds = max(TRAINING_SHARE * left, self.forecast.training())
        if not is_computed(network):
            rate = self.trainer.expected_rate(network, self.shop.size)
            longer = self.trainer.epochs(network, rate, seconds)
            epochs, seconds = max(epochs, longer), left if longer < epochs else seconds
        weights = yield from self.trainer.train(network, epochs, seconds, floor=0.0)
        if weights:
            yield from self.shop.evaluate(candidate, weights, "validation")


def _speed(record: Record) -> tuple[bool, bool, float, str]:
    """What was measured before what was not, what needs no parent beside it before what does, then the faster."""
    latency = [m.value for m in record.measurements if m.metric.name == "latency_p50_ms"]
    measured = bool(value_of(record, "latency_p50_ms"))
    return not measured, bool(record.parent), latency[-1] if latency else 0.0, record.candidate.id
