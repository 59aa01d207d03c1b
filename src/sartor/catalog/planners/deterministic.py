"""The default planner: cost before training, then successive halving over what fits, then confirmation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from sartor.catalog.contracts import Action, Plan, Situation
from sartor.catalog.planners.parts.confirmation import Confirmation
from sartor.catalog.planners.parts.costly import Costly
from sartor.catalog.planners.parts.deployment import Deployment
from sartor.catalog.planners.parts.distil import Distil
from sartor.catalog.planners.parts.factor import Factor
from sartor.catalog.planners.parts.forecast import Forecast
from sartor.catalog.planners.parts.leftover import Leftover
from sartor.catalog.planners.parts.prospect import GAIN_EXPONENT, falling, prospect
from sartor.catalog.planners.parts.prune import Prune
from sartor.catalog.planners.parts.quantise_aware import QuantiseAware
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.rungs import SLACK, Rungs
from sartor.catalog.planners.parts.schedule import EFFORTS, Effort, is_computed, largest_first, on_ladder
from sartor.catalog.planners.parts.scout import Scout
from sartor.catalog.planners.parts.trainer import Trainer
from sartor.catalog.planners.parts.workshop import Step, Workshop, value_of
from sartor.intervals import expected_maximum
from sartor.jobs import DescribeJob
from sartor.registry import register
from sartor.types import Candidate, Fate, Network, Verdict

COMPUTED_SHARE = 0.3  # of the training time goes into computing networks …
JUDGED_SHARE = 0.6  # … and no more than this into that and their scores
DUEL_SHARE = 0.12  # of the time for training, at most, goes into a short training without augmentation
BASELINE_EPOCHS = 10.0
BASELINE_SAMPLES = 200_000  # seen in all, at most: a baseline must stay cheap
FIRST_SHARE = 0.15  # of the time for training: where the first baseline takes more, it comes after the networks
BASELINE_SHARE = 0.25  # of the budget: a further baseline is not begun beyond it
NEXT_LARGER = 2.0  # times what it took to compute a network, the next larger one of its family is expected to take
LONGER = 1.7  # times the epochs it had: the best network is trained once more where time for so many is left


@register("planners", "deterministic")
class Deterministic:
    """Estimate, measure untrained, train what fits by successive halving, confirm the finalists.

    Source: successive halving, Jamieson and Talwalkar 2016, arXiv:1502.07943.
    """

    def plan(self, situation: Situation) -> Plan:
        course = _Course(situation)
        steps = course.run()
        try:
            action = next(steps)
            while True:
                outcome = yield action
                course.forecast.note(action, outcome)
                action = steps.send(outcome)
        except StopIteration:
            return


class _Course:
    """One plan over one situation."""

    def __init__(self, situation: Situation) -> None:
        self.now = situation
        self.requirement = situation.requirement
        self.effort: Effort = EFFORTS[situation.requirement.budget.effort]
        self.samples = situation.card.splits["train"].samples
        self.shop = Workshop(situation)
        self.forecast = Forecast(situation)
        self.reserve = Reserve(situation, self.shop, self.forecast, self.effort)
        self.trainer = Trainer(situation, self.effort, self.forecast, self.reserve)
        self.scout = Scout(situation, self.shop, self.forecast, self.reserve, self.trainer, self.effort)
        self.distil = Distil(situation, self.shop, self.trainer)
        self.deployment = Deployment(situation, self.shop, self.forecast, self.reserve, self.trainer, self.scout)
        self.quantise_aware = QuantiseAware(situation, self.shop, self.trainer, self.scout, self.deployment)
        costly = Costly(situation, self.shop, self.trainer)
        self.prune = Prune(situation, self.shop, self.trainer, self.scout, self.deployment, costly)
        self.factor = Factor(situation, self.shop, self.forecast, self.reserve, self.scout, self.deployment, costly)

    def run(self) -> Plan:
        yield from self._describe()
        yield from self.scout.run()
        waiting = self._baselines_can_wait()
        if not waiting:
            yield from self._train_baselines()
        fitting = self.reserve.fitting()
        if fitting:
            left = yield from self._fit_computed(fitting)
            if left:
                yield from self._train_by_halving(left)
        else:
            yield from self._train_nearest()
        if waiting:
            yield from self._train_baselines(late=True)
        yield from self.quantise_aware.run()
        yield from self.prune.run()
        yield from self.factor.run()
        leftover = Leftover(self.now, self.shop, self.forecast, self.reserve, self.trainer, self.scout)
        yield from leftover.run(self._is_met_on_validation)
        yield from Confirmation(self.now, self.shop, self.reserve).run()
        self.now.foresee(prospect(self.now, self.trainer))

    # --------------------------------------------------------------------------------------- cost before training

    def _describe(self) -> Step[None]:
        networks = {r.candidate.network.id: r.candidate.network for r in self.now.records() if not r.refusals}
        job = DescribeJob(self.requirement.task, tuple(networks.values()))
        yield Action("describe", job, f"{len(networks)} networks", "estimate")

    # --------------------------------------------------------------------------------------- training

    def _baselines_can_wait(self) -> bool:
        """True where the first baseline would take too much of the time from networks that may do better."""
        network = next(iter(self.reserve.fitting()), None)
        if network is None:
            return False
        taken = self.forecast.training() + self.reserve.judging(network) - self.forecast.delivering()
        return taken > FIRST_SHARE * self.trainer.training_time()

    def _train_baselines(self, *, late: bool = False) -> Step[None]:
        """Baselines that were measured, the fastest first: one in any case, further ones in a share of the budget.

        In all of it where there is nothing else to train. Where they come ``late``, only what can be seen through.
        """
        share = BASELINE_SHARE if self.reserve.possible() else 1.0
        start, allowance = self.now.left_s(), share * self.requirement.budget.seconds
        measured = [
            (value_of(r, "latency_p50_ms"), r.candidate.id, r.candidate)
            for r in self.now.records()
            if r.notes.get("baseline") and not r.refusals and value_of(r, "latency_p50_ms")
        ]
        fastest: dict[str, Candidate] = {}
        for _, _, candidate in sorted(measured, key=lambda entry: entry[:2]):
            fastest.setdefault(candidate.network.id, candidate)
        epochs = on_ladder(max(1.0, min(BASELINE_EPOCHS, BASELINE_SAMPLES / self.samples)))
        longest = 0.0
        for candidate in fastest.values():
            before = self.now.left_s()
            room = min(allowance - (start - before), self.trainer.training_time())
            judged = self.forecast.training() + self.reserve.judging(candidate.network)
            if late and not self.reserve.has_time_for(
                judged + self.reserve.least_confirming(self.shop.record(candidate.id))
            ):
                return
            if longest > room if longest else before <= 0:
                return
            weights = yield from self.trainer.train(
                candidate.network, epochs, max(room, self.forecast.training()), floor=0.0
            )
            if weights:
                yield from self.shop.evaluate(candidate, weights, "validation")
            longest = max(longest, before - self.now.left_s())

    def _fit_computed(self, fitting: Sequence[Network]) -> Step[list[Network]]:
        """Fit what is computed in one pass, in a share of the time or of what is left; what is trained is returned.

        The smallest of every family comes first, then the next larger one of the family that does best. There is
        nothing to halve or to try first: an attempt costs as much as the whole. What is not known to fit yet is
        measured before it is fitted.
        """
        waiting: dict[str, list[Network]] = {}
        for network in sorted(self.reserve.possible(), key=lambda n: (self.shop.size(n), n.id)):
            if is_computed(network):
                waiting.setdefault(network.model, []).append(network)
        others = any(not is_computed(network) for network in self.reserve.possible())
        share = COMPUTED_SHARE if others else 1.0
        start, time, fitted = self.now.left_s(), self.trainer.training_time(), 0.0
        errors: dict[str, float] = {}
        took: dict[str, float] = {}
        while waiting and start - self.now.left_s() <= max(share, JUDGED_SHARE) * time:
            family = next((name for name in waiting if name not in errors), "") or min(waiting, key=errors.__getitem__)
            beside, left = self.forecast.training(), self.trainer.training_time()
            expected = beside + NEXT_LARGER * max(0.0, took.get(family, 0.0) - beside)
            if left < expected or (fitted > share * time and expected > share * left):
                break
            network = waiting[family].pop(0)
            if not waiting[family]:
                del waiting[family]
            if not self._is_fitting(network):
                way = self.scout.best_way(network)
                if way is not None:
                    yield from self.scout.probe(way)
                if not self._is_fitting(network):
                    continue
            before = self.now.left_s()
            weights = yield from self.trainer.train(network, 1.0, 0.0, floor=0.0)
            took[family] = before - self.now.left_s()
            fitted += max(0.0, took[family] - beside)  # what any training takes, the first of a run most, is no fitting
            error = math.inf
            if weights:
                yield from self.deployment.run(network, weights)
                error = self.trainer.promised(self.trainer.score(network, weights), 1.0)
            errors[family] = min(error, errors.get(family, math.inf))
        return [network for network in fitting if not is_computed(network)]

    def _is_fitting(self, network: Network) -> bool:
        return any(network.id == other.id for other in self.reserve.fitting())

    def _train_by_halving(self, fitting: Sequence[Network]) -> Step[None]:
        """Train all of a bracket fully where there is time; else a short training each, a long one for survivors.

        While nothing meets the limits on validation and time is left, the next in rank gets a long training too.
        """
        bracket, rates = yield from self._bracket(fitting)
        plenty = sum(self.trainer.seconds(rates[n.id], self.trainer.enough(n)) for n in bracket)
        survivors = min(self.effort.survivors, len(bracket))
        scores: dict[str, float] = {}
        ranked = bracket
        if len(bracket) > survivors and plenty > self.trainer.training_time():
            rungs = Rungs(self.trainer, self.shop, survivors)
            ranked = yield from rungs.run(bracket, rates)
            scores = {name: short.score for name, short in rungs.last.items()}
            for network in ranked[:survivors]:
                short = rungs.first[network.id]
                seconds = self.trainer.seconds(rates[network.id], short.epochs)
                if seconds <= DUEL_SHARE * self.trainer.training_time(network):
                    yield from self.trainer.try_plain(network, short.epochs, SLACK * seconds, short.score)
        spare = [network for network in bracket if network not in ranked]  # there was no time to try them
        ranked = yield from self.scout.assure(ranked, survivors if scores else len(ranked), spare)
        halved, reached = bool(scores), dict[str, float]()
        begun: dict[str, float] = {}  # network -> epochs of its long training
        for network in ranked:
            enough = halved and len(begun) >= survivors and self._is_met_on_validation()
            if enough and self._may_stop(network, rates[network.id], reached):
                break
            waiting = max(1, survivors - len(begun)) if halved else 1  # there is time for all of them
            time = self.trainer.training_time(network)
            epochs = self.trainer.epochs(network, rates[network.id], time / waiting)
            if epochs < self.trainer.fewest(network) and (begun or time < self.forecast.training()):
                continue
            begun[network.id] = epochs
            seconds = max(time / waiting, self.forecast.training())
            start = self.trainer.so_far(network, epochs)
            weights = yield from self.trainer.train(network, epochs, seconds, floor=self.trainer.floor(), start=start)
            if weights:
                yield from self.deployment.run(network, weights)
                scores.pop(network.id, None)
                reached[network.id] = self.trainer.score(network, weights)
        if scores and not reached:  # there was no time for a long training: the best of the short ones must do
            best = min((n for n in ranked if n.id in scores), key=lambda n: self.trainer.promised(scores[n.id], 1.0))
            yield from self.deployment.run(best, self.trainer.latest(best))
            scores.pop(best.id)
        if reached and not halved:
            yield from self._try_plain_at_length(ranked, rates, reached, begun)
        if reached and self.requirement.budget.effort != "quick":
            yield from self._train_longer(ranked, rates, reached, begun)
            taught = yield from self.distil.run([n for n in ranked if n.id in reached], rates)
            if taught is not None:
                yield from self.deployment.run(*taught)
        for network in ranked:
            if network.id in scores:
                why = f"{scores[network.id]:.3f} after a short training; {ranked[0].id} promised more"
                self.now.stop(network.id, "HALVED", why)

    def _may_stop(self, rival: Network, rate: float, reached: Mapping[str, float]) -> bool:
        """What meets the limits is there: a quick search ends, a thorough one when its time does.

        A balanced one ends when the best cannot be beaten beyond noise by the next in rank in the time left.
        """
        time, effort = self.trainer.training_time(rival), self.requirement.budget.effort
        epochs = self.trainer.epochs(rival, rate, time)
        if effort == "quick" or time < self.forecast.training() or epochs < self.trainer.fewest(rival):
            return True
        trained = [(result.epochs, result.score) for _, result in self.now.trained(rival.id) if result.epochs]
        if effort == "thorough" or not trained or not reached:
            return False
        few, score = trained[0]
        slopes = [falling(self.now, self.trainer, n) for n in self.reserve.fitting() if n.id in reached]
        gain = max(1.0, epochs / few) ** -max(slopes, default=GAIN_EXPONENT)
        best = min(reached.values(), key=lambda value: self.trainer.promised(value, 1.0))
        margin = self.trainer.standard_error(best)
        return self.trainer.promised(score, gain) >= self.trainer.promised(best, 1.0) - margin

    def _try_plain_at_length(
        self, networks: Sequence[Network], rates: dict[str, float], scores: dict[str, float], epochs: dict[str, float]
    ) -> Step[None]:
        """The best of fully trained networks once more without augmentation, where time is left for it."""
        best = min((n for n in networks if n.id in scores), key=lambda n: self.trainer.promised(scores[n.id], 1.0))
        time = self.trainer.training_time()
        if self.trainer.seconds(rates[best.id], epochs[best.id]) < time:
            weights = yield from self.trainer.try_plain(best, epochs[best.id], time, scores[best.id])
            if weights:
                yield from self.deployment.run(best, weights)

    def _train_longer(
        self, networks: Sequence[Network], rates: dict[str, float], scores: dict[str, float], epochs: dict[str, float]
    ) -> Step[None]:
        """The best network once more, where the time left is long enough for it to gain."""
        best = min((n for n in networks if n.id in scores), key=lambda n: self.trainer.promised(scores[n.id], 1.0))
        time = self.trainer.training_time(best)
        longer = self.trainer.epochs(best, rates[best.id], time)
        if longer >= LONGER * epochs[best.id]:
            start = self.trainer.so_far(best, longer)
            weights = yield from self.trainer.train(best, longer, time, floor=0.0, again=True, start=start)
            score = self.trainer.score(best, weights) if weights else scores[best.id]
            if self.trainer.promised(score, 1.0) < self.trainer.promised(scores[best.id], 1.0):
                yield from self.deployment.run(best, weights)

    def _bracket(self, fitting: Sequence[Network]) -> Step[tuple[list[Network], dict[str, float]]]:
        """Networks that get a first training, largest first, with the rate each trains at."""
        rates: dict[str, float] = {}
        bracket: list[Network] = []
        doubted: list[tuple[float, str, Network]] = []
        families = len({network.model for network in fitting})
        for network in largest_first((n, self.shop.size(n)) for n in fitting):
            if len(bracket) == max(self.effort.bracket, families):  # every family has its turn
                break
            fewest = self.trainer.fewest(network)
            rate = yield from self.trainer.rate(network, self.trainer.needed_rate(network), self.shop.size)
            if rate is None:
                continue
            epochs = fewest * rate / self.trainer.needed_rate(network)
            if epochs < fewest and self.trainer.doubt(network):
                doubted.append((rate, network.id, network))
                continue
            if epochs < fewest:
                why = f"it would see the data {epochs:.1f} times within the budget; {fewest:g} is the least"
                self.now.stop(network.id, "TOO_LONG_TO_TRAIN", why)
                continue
            rates[network.id] = rate
            bracket.append(network)
        if not bracket and doubted:  # all but one: the fastest may prove faster, and its time is bounded
            rate, name, network = doubted.pop(doubted.index(max(doubted)))
            rates[name] = rate
            bracket.append(network)
        for _, name, network in doubted:
            self.now.stop(name, "NOT_TRIED", self.trainer.doubt(network))
        return bracket, rates

    def _is_met_on_validation(self) -> bool:
        """True when some candidate has no limit left in doubt but for final evidence.

        The best of many networks looks better on validation than it is; what is expected of that is taken off first.
        """
        scored = {fate.candidate.split("/")[0] for fate in self.now.decision().fates if _is_scored(fate)}
        excess = expected_maximum(len(scored))
        return any(
            fate.code in ("INCONCLUSIVE", "NOT_FINALIST", "CHOSEN")
            and all(v.outcome == "met" and _holds_without(v, excess) for v in fate.verdicts)
            for fate in self.now.decision().fates
        )

    def _train_nearest(self) -> Step[None]:
        """Nothing fits: judge what other runs trained, and train the network nearest to fitting.

        So the certificate names measured changes of the limits, and a second question about the same data gets the
        answer of the first in seconds.
        """
        for network, weights in self._best_known():
            for record in self.shop.of(network):
                probing = self.scout.probing(record.candidate) + self.reserve.judging(network)
                if not value_of(record, "latency_p50_ms") and self.reserve.has_time_for(probing):
                    yield from self.scout.probe(record.candidate)
            yield from self.deployment.run(network, weights, even_if_ruled_out=True)
        probed = [
            (latency, r.candidate.network)
            for r in self.now.records()
            if not r.notes.get("baseline") and (latency := value_of(r, "latency_p95_ms"))
        ]
        fastest = min((latency for latency, _ in probed), default=0.0)
        near = {network.id: network for latency, network in probed if latency <= 2 * fastest}
        judged = max((self.reserve.judging(network) for network in near.values()), default=0.0)
        time = min(self.now.left_s() - judged, 0.3 * self.requirement.budget.seconds, 150.0)
        if time < self.forecast.training():
            return
        for network in sorted(near.values(), key=lambda n: (-self.shop.size(n), n.id)):
            epochs = 1.0
            if not is_computed(network):
                rate = yield from self.trainer.rate(network, self.samples / time, self.shop.size)
                if rate is None or rate * time / self.samples < 1:
                    continue
                epochs = self.trainer.epochs(network, rate, time)
            weights = yield from self.trainer.train(network, epochs, time, floor=0.0)
            if weights:
                yield from self.deployment.run(network, weights, even_if_ruled_out=True)
            return

    def _best_known(self) -> list[tuple[Network, str]]:
        """Networks that other runs trained to their end, with their weights; the best few by score."""
        known = [
            (-self.trainer.promised(result.score, 1.0), network.id, network, result.weights.sha256)
            for network in self.shop.networks()
            for job, result in self.now.trained(network.id)[-1:]
            if (result.epochs or job.recipe.epochs) >= self.trainer.fewest(network) and not result.stopped
        ]
        return [
            (network, weights) for _, _, network, weights in sorted(known, reverse=True)[: self.effort.survivors + 1]
        ]


def _is_scored(fate: Fate) -> bool:
    """True when its quality was measured on validation."""
    return any(v.measurement is not None and v.measurement.split == "validation" for v in fate.verdicts)


def _holds_without(verdict: Verdict, excess: float) -> bool:
    """True when a verdict on validation is met even with so many standard errors taken off."""
    value = verdict.measurement
    if value is None or value.split != "validation":
        return True
    taken = excess * (value.high - value.low) / (2 * NormalDist().inv_cdf(0.5 + value.confidence / 2))
    return verdict.limit.holds(value.low - taken if verdict.limit.bound == "min" else value.high + taken)
