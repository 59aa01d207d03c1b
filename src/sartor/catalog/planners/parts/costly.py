"""Which trained network is worth making cheaper: one that does well and costs too much, or the best of all."""

from __future__ import annotations

from collections.abc import Callable

from sartor import rounding
from sartor.catalog.contracts import Situation
from sartor.catalog.planners.parts.distil import COSTS
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Workshop
from sartor.metrics import COST_METRICS
from sartor.types import Network

Suits = Callable[[Network], bool]


class Costly:
    """Looks through the trained networks of one plan. ``suits`` says which can be made cheaper at all."""

    def __init__(self, situation: Situation, shop: Workshop, trainer: Trainer) -> None:
        self.now, self.shop, self.trainer = situation, shop, trainer

    def too_costly(self, suits: Suits) -> tuple[Network, str, str] | None:
        """The best trained network that only its cost rules out, with its weights, where it is worth the effort."""
        openings = self.now.open_candidates()
        costly = {fate.candidate.split("/")[0] for fate in self.now.decision().fates if fate.code in COSTS}
        fitting = {name.split("/")[0] for name in openings}
        own = [entry for entry in self.trained(lambda n: suits(n) or rounding.is_rounded(n)) if entry[2].id in fitting]
        out = [entry for entry in self.trained(suits) if entry[2].id in costly - fitting]
        if not out:
            return None
        error, _, whole, weights, score = min(out, key=lambda entry: entry[:2])
        best = min((entry[0] for entry in own), default=None)
        if best is not None and best - error <= self.trainer.standard_error(score):
            return None
        return whole, weights, ""

    def best_where_less_is_better(self, suits: Suits) -> tuple[Network, str, str] | None:
        """The best trained network that fits, where an objective is a cost, with that metric's name."""
        costs = {metric.name for metric in COST_METRICS}
        wishes = [(-wish.weight, wish.metric) for wish in self.now.requirement.objectives if wish.metric in costs]
        found = self.best(suits) if wishes else None
        return (*found[:2], min(wishes)[1]) if found else None

    def best(self, suits: Suits) -> tuple[Network, str, str] | None:
        """The best trained network that fits; no metric asks for less of it."""
        fitting = {name.split("/")[0] for name in self.now.open_candidates()}
        own = [entry for entry in self.trained(suits) if entry[2].id in fitting]
        if not own:
            return None
        _, _, whole, weights, _ = min(own, key=lambda entry: entry[:2])
        return whole, weights, ""

    def trained(self, suits: Suits) -> list[tuple[float, str, Network, str, float]]:
        """Error, id, network, weights and score of every whole training of the networks that suit."""
        return [
            (self.trainer.promised(result.score, 1.0), network.id, network, result.weights.sha256, result.score)
            for network in self.shop.networks()
            if suits(network)
            for job, result in self.now.trained(network.id)
            if not result.stopped and (result.epochs or job.recipe.epochs) >= self.trainer.fewest(network)
        ]
