"""Short trainings that tell which networks deserve a long one: successive halving by what each promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sartor.catalog.planners.parts.prospect import GAIN_EXPONENT, falling
from sartor.catalog.planners.parts.schedule import on_ladder
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop
from sartor.types import Network

FEWEST_EPOCHS = 0.5  # a shorter first training says little
ONLY_SHARE = 0.25  # of the training time, for the rung where there is one
RUNG_SHARE = 0.17  # of the training time left, for each of two
KEPT = 3  # one network in so many is kept for the second rung, and one more
SLACK = 1.5  # times its planned time a short training may take before it ends with fewer epochs
FARTHEST = 10.0  # times the epochs of its rung, a network promises no more: where its curve ends, no rung shows
FURTHER = 2.0  # times the epochs of the first rung, the second has at least, or it is left out


@dataclass
class Short:
    """The last short training of a network."""

    score: float
    epochs: float


class Rungs:
    """One or two rungs of short trainings.

    Equal epochs rather than equal time: in equal time small networks always lead at first. Networks are ranked by the
    error that each promises for its long training, which falls as a power of the epochs: slowly after one training,
    halfway to what two of its own show after the second, as the two are noisy. Fast networks get more epochs.
    """

    def __init__(self, trainer: Trainer, shop: Workshop, survivors: int) -> None:
        self.trainer, self.shop, self.survivors = trainer, shop, survivors
        self.first: dict[str, Short] = {}
        self.last: dict[str, Short] = {}

    def run(self, bracket: Sequence[Network], rates: dict[str, float]) -> Step[list[Network]]:
        """Networks that were trained, most promising first; ``rates`` learns from every training."""
        two = len(bracket) > self.survivors + 1
        time = self.trainer.training_time() * (RUNG_SHARE if two else ONLY_SHARE)
        entrants = list(bracket)
        while len(entrants) > self.survivors and self.trainer.common_epochs(entrants, rates, time) < FEWEST_EPOCHS:
            # What is computed in one pass is done then: it stays as long as there is something else to leave out.
            trained = [n for n in entrants if self.trainer.enough(n) > 1] or entrants
            entrants.remove(min(trained, key=lambda n: (rates[n.id], n.id)))
        common = max(FEWEST_EPOCHS, on_ladder(self.trainer.common_epochs(entrants, rates, time)))
        yield from self._climb(entrants, rates, common)
        self.first = dict(self.last)
        ranked = self._ranked(entrants, rates)
        kept = ranked[: self.survivors + max(1, len(ranked) // KEPT)]
        time = self.trainer.training_time() * RUNG_SHARE
        further = on_ladder(self.trainer.common_epochs(kept, rates, time)) if kept else 0.0
        if not two or len(kept) == len(self.last) <= self.survivors or further < FURTHER * common:
            return ranked
        yield from self._climb(kept, rates, further)
        return self._ranked(kept, rates) + [network for network in ranked if network not in kept]

    def _climb(self, networks: Sequence[Network], rates: dict[str, float], epochs: float) -> Step[None]:
        """A training of so many epochs for each."""
        wanted = []
        for network in networks:
            own = min(epochs, self.trainer.enough(network))
            wanted.append((network, own, SLACK * self.trainer.seconds(rates[network.id], own)))
        made = yield from self.trainer.train_each(wanted)
        for network, weights in zip(networks, made, strict=True):
            if weights:
                self.last[network.id] = Short(*self.trainer.reached(network, weights))
                # both are bounds from below: a probe may meet a busy second, a training stops to be judged
                rates[network.id] = max(rates[network.id], self.trainer.fastest(network))

    def _ranked(self, networks: Sequence[Network], rates: dict[str, float]) -> list[Network]:
        long = self.trainer.training_time() / self.survivors

        def promise(network: Network) -> tuple[float, float, str]:
            short = self.last[network.id]
            more = self.trainer.epochs(network, rates[network.id], long) / short.epochs
            more = min(FARTHEST, max(1.0, more))
            power = (GAIN_EXPONENT + falling(self.trainer.now, self.trainer, network)) / 2
            return self.trainer.promised(short.score, more**-power), self.shop.size(network), network.id

        return sorted((n for n in networks if n.id in self.last), key=promise)
