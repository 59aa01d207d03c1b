"""A trained network that does well and costs too much, with as few channels less as bring it within the limits."""

from __future__ import annotations

from sartor import pruning, rounding, tuning
from sartor.catalog.contracts import Action, Situation
from sartor.catalog.planners.parts.costly import Costly
from sartor.catalog.planners.parts.deployment import Deployment
from sartor.catalog.planners.parts.schedule import is_computed
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.jobs import DescribeJob, Start
from sartor.types import Network, Record

SHARES = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2)  # of the channels kept; three measurements find the largest that fits
LESS = 0.6  # times the cost of the best network, at most, where nothing but an objective asks for less
COUNTING_S = 1.0  # what counting the operations of a shape takes, about


class Prune:
    """Prunes one network of a plan: measures shapes of it untrained, and trains the largest that fits from its weights.

    Which shape fits is measured, never told from operations: a kernel is not half as long for half the channels.
    """

    def __init__(
        self,
        situation: Situation,
        shop: Workshop,
        trainer: Trainer,
        scout: Scout,
        deployment: Deployment,
        costly: Costly,
    ) -> None:
        self.now, self.shop, self.trainer = situation, shop, trainer
        self.scout, self.deployment, self.costly = scout, deployment, costly

    def run(self) -> Step[None]:
        """Prune the best trained network that costs too much; else the best of all, where an objective is a cost."""
        limits = self.now.requirement.limits
        # a pruned network is its own uncompressed parent: what it lost against the whole one would not be judged
        judged = not any(limit.metric.endswith("_drop") for limit in limits)
        if self.now.requirement.budget.effort == "quick" or not judged or not pruning.is_installed():
            return
        found = self.costly.too_costly(_is_prunable) or self.costly.best_where_less_is_better(_is_prunable)
        if found is None:
            return
        whole, weights, wish = found
        if not self._has_time(whole):
            return
        shape = yield from self._largest_that_fits(whole, wish)
        if shape is None:
            return
        weights = yield from self._train(shape, whole, weights)
        if weights:
            yield from self.deployment.run(shape, weights)

    def _has_time(self, whole: Network) -> bool:
        """True where a few shapes can be measured and one of them trained; it trains no slower than the whole."""
        way = min(self.shop.of(whole), key=_speed).candidate
        probes = len(SHARES).bit_length() * (COUNTING_S + self.scout.probing(way))
        trained = self.trainer.seconds(self.trainer.fastest(whole), self.trainer.fewest(whole))
        return probes + trained <= self.trainer.training_time()

    # ---------------------------------------------------------------------------------------------- how far

    def _largest_that_fits(self, whole: Network, wish: str) -> Step[Network | None]:
        """The shape that keeps most of those that are measured to keep every limit, by bisection; None where none is.

        The others are out of the race: what is known of them is told by it.
        """
        most = LESS * min((v for r in self.shop.of(whole) if (v := value_of(r, wish))), default=0.0) if wish else 0.0
        best: Network | None = None
        tried: list[Network] = []
        low, high = 0, len(SHARES)
        while low < high:
            middle = (low + high) // 2
            shape = pruning.pruned(tuning.untuned(whole), SHARES[middle])
            yield Action("describe", DescribeJob(self.now.requirement.task, (shape,)), shape.id, "estimate")
            if self.now.cost_of(shape.id) is None:  # torch-pruning cannot follow what this family computes
                break
            self.now.enter(shape, whole.id)
            tried.append(shape)
            fits = yield from self._fits(shape, wish, most)
            if fits:
                best, high = shape, middle
            else:
                low = middle + 1
        for shape in tried:
            if shape != best:
                why = f"{best.id} keeps more channels and fits" if best else "no share of its channels was found to fit"
                self.now.stop(shape.id, "PRUNED_OTHERWISE", why)
        return best

    def _fits(self, shape: Network, wish: str, most: float) -> Step[bool]:
        """True where its likeliest way, measured untrained, keeps the limits and costs no more of ``wish``."""
        way = self.scout.best_way(shape)
        if way is None:
            return False
        yield from self.scout.probe(way)
        cost = value_of(self.shop.record(way.id), wish) if wish else 0.0
        return way.id in self.now.open_candidates() and cost <= most

    # ---------------------------------------------------------------------------------------------- and what it learns

    def _train(self, shape: Network, whole: Network, weights: str) -> Step[str]:
        """Weights of the shape after a training that starts from the whole network's, no longer than its own."""
        self.trainer.follow(shape, whole)
        rate = yield from self.trainer.rate(shape, 0.0, self.shop.size)
        time = self.trainer.training_time(shape)
        _, most = self.trainer.reached(whole, weights)
        epochs = min(most, self.trainer.epochs(shape, rate, time)) if rate else 0.0
        if epochs < self.trainer.fewest(shape):
            self.now.stop(shape.id, "TOO_LONG_TO_TRAIN", f"there was no time left to train it on from {whole.id}")
            return ""
        return (yield from self.trainer.train(shape, epochs, time, floor=0.0, start=Start(whole, weights)))


def _is_prunable(network: Network) -> bool:
    return not is_computed(network) and pruning.share_of(network) == 1 and not rounding.is_rounded(network)


def _speed(record: Record) -> tuple[bool, float, str]:
    """What was measured first, the faster first."""
    latency = value_of(record, "latency_p50_ms")
    return not latency, latency, record.candidate.id
