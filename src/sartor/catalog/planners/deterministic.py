"""The default planner: cost before training, then successive halving over what fits, then confirmation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sartor import registry
from sartor.catalog.contracts import Action, Plan, Situation
from sartor.catalog.planners._schedule import EFFORTS, Effort, is_computed, largest_first, on_ladder, probing_order
from sartor.catalog.planners._threads import Threads
from sartor.catalog.planners._trainer import START_S, Trainer
from sartor.catalog.planners._workshop import UNCOMPRESSED, Step, Workshop, value_of
from sartor.jobs import DescribeJob, ExplainJob
from sartor.registry import register
from sartor.types import Candidate, Network, Record

CONFIRM_SECONDS = 4.0  # timed window per process, or …
CONFIRM_SHARE = 0.01  # … this share of a small budget, but …
CONFIRM_LEAST_S = 0.6  # … never less than this
CONFIRM_PROCESSES = 3
CONFIRM_ATTEMPTS = 3
FEWEST_FIRST_EPOCHS = 0.5  # a shorter first training says little
FIRST_RUNG_SHARE = 0.25  # of the training time
COMPUTED_SHARE = 0.3  # of the training time
GAIN_EXPONENT = 0.2  # error rates fell at least so with epochs, as a power, for every family we tried
EXPLAINED = 6  # answers of the chosen candidate that are explained
BASELINE_EPOCHS = 10.0
BASELINE_SAMPLES = 200_000  # seen in all, at most: a baseline must stay cheap


@register("planners", "deterministic")
class Deterministic:
    """Estimate, measure untrained, train what fits by successive halving, confirm the finalists.

    Source: successive halving, Jamieson and Talwalkar 2016, arXiv:1502.07943.
    """

    def plan(self, situation: Situation) -> Plan:
        yield from _Course(situation).run()


class _Course:
    """One plan over one situation."""

    def __init__(self, situation: Situation) -> None:
        self.now = situation
        self.requirement = situation.requirement
        self.effort: Effort = EFFORTS[situation.requirement.budget.effort]
        self.samples = situation.card.splits["train"].samples
        self.shop = Workshop(situation)
        self.threads = Threads(situation, self.shop)
        self.trainer = Trainer(situation, self.effort.throughput_seconds)
        self._first_epochs = 0.0

    def run(self) -> Plan:
        yield from self._describe()
        yield from self._probe()
        yield from self._train_baselines()
        fitting = self._fitting()
        if fitting:
            left = yield from self._fit_computed(fitting)
            if left:
                yield from self._train_by_halving(left)
        else:
            yield from self._train_nearest()
        yield from self._confirm()

    # --------------------------------------------------------------------------------------- cost before training

    def _describe(self) -> Step[None]:
        networks = {r.candidate.network.id: r.candidate.network for r in self.now.records() if not r.refusals}
        job = DescribeJob(self.requirement.task, tuple(networks.values()))
        yield Action("describe", job, f"{len(networks)} networks", "estimate")

    def _probe(self) -> Step[None]:
        """Measure untrained networks on the target until the share of the budget is spent.

        The smallest of what is computed in one pass come first: on a short budget they are what there is time for.
        """
        start = self.now.left_s()
        allowance = self.requirement.budget.seconds * self.effort.probe_share
        for network in probing_order((n, self.shop.size(n)) for n in self.shop.networks()):
            for record in self._worth_probing(network):
                if start - self.now.left_s() > allowance and self._fitting():
                    return
                yield from self._probe_candidate(record.candidate)
            yield from self.threads.try_fewer(network, self._probe_candidate)

    def _worth_probing(self, network: Network) -> Iterator[Record]:
        """Its candidates that nothing speaks against, as things stand when each has its turn."""
        for record in self.shop.of(network):
            measured = value_of(record, "latency_p50_ms")
            if not measured and record.candidate.id in self.now.open_candidates() and not self._can_wait(record):
                yield record

    def _can_wait(self, record: Record) -> bool:
        """What only stores its weights smaller costs about what its parent does: it is tried once that is trained.

        Unless its parent is too large, or not to be trained for itself.
        """
        if not record.notes.get("stores_less"):
            return False
        codes = {fate.candidate: fate.code for fate in self.now.decision().fates}
        return codes.get(record.parent) not in ("TOO_LARGE", "TOO_MUCH_MEMORY", "REFERENCE")

    def _probe_candidate(self, candidate: Candidate) -> Step[None]:
        file = yield from self.shop.file(candidate, "")
        if file:
            job = self.shop.measure_job(candidate, file, self.effort.probe_seconds, trained=False)
            yield Action("measure", job, candidate.id, "probe")

    # --------------------------------------------------------------------------------------- training

    def _train_baselines(self) -> Step[None]:
        for network in self.shop.networks():
            records = [r for r in self.shop.of(network) if r.notes.get("baseline")]
            measured = [r for r in records if value_of(r, "latency_p50_ms")]
            if measured and self.now.left_s() > 0:
                epochs = on_ladder(max(1.0, min(BASELINE_EPOCHS, BASELINE_SAMPLES / self.samples)))
                weights = yield from self.trainer.train(network, epochs, floor=0.0)
                if weights:
                    fastest = min(measured, key=lambda r: (value_of(r, "latency_p50_ms"), r.candidate.id))
                    yield from self.shop.evaluate(fastest.candidate, weights, "validation")

    def _fit_computed(self, fitting: Sequence[Network]) -> Step[list[Network]]:
        """Fit what is computed in one pass, in a share of the time; what is left is returned.

        The smallest of every family comes first, then the next larger one of the family that does best. There is
        nothing to halve or to try first: an attempt costs as much as the whole. What was not measured yet is measured
        before it is fitted.
        """
        waiting: dict[str, list[Network]] = {}
        probed = {network.id for network in fitting}
        for network in sorted(self._possible(), key=lambda n: (self.shop.size(n), n.id)):
            if is_computed(network):
                waiting.setdefault(network.model, []).append(network)
        start, allowance = self.now.left_s(), COMPUTED_SHARE * self.trainer.training_time()
        errors: dict[str, float] = {}
        done: set[str] = set()
        while waiting and start - self.now.left_s() <= allowance and self.trainer.training_time() >= START_S:
            family = next((name for name in waiting if name not in errors), "") or min(waiting, key=errors.__getitem__)
            network = waiting[family].pop(0)
            if not waiting[family]:
                del waiting[family]
            done.add(network.id)
            if network.id not in probed:
                for record in self._worth_probing(network):
                    yield from self._probe_candidate(record.candidate)
                if network.id not in {n.id for n in self._fitting()}:
                    continue
            weights = yield from self.trainer.train(network, 1.0, floor=0.0)
            error = math.inf
            if weights:
                yield from self._deploy(network, weights)
                error = self.trainer.promised(self.trainer.score(network, weights), 1.0)
            errors[family] = min(error, errors.get(family, math.inf))
        return [network for network in fitting if network.id not in done]

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
            ranked, scores = yield from self._first_rung(bracket, rates, survivors)
            for network in ranked[:survivors]:
                epochs = min(self._first_epochs, self.trainer.enough(network))
                yield from self.trainer.try_plain(network, epochs, scores[network.id])
        halved, reached = bool(scores), dict[str, float]()
        begun: dict[str, float] = {}  # network -> epochs of its long training
        for network in ranked:
            if halved and len(begun) >= survivors and self._is_met_on_validation() and self._may_stop():
                break
            waiting = max(1, (survivors if halved else len(ranked)) - len(begun))
            epochs = self.trainer.epochs(network, rates[network.id], self.trainer.training_time() / waiting)
            if epochs < self.trainer.fewest(network) and (begun or self.trainer.training_time() < START_S):
                continue
            begun[network.id] = epochs
            weights = yield from self.trainer.train(network, epochs, floor=self.trainer.floor())
            if weights:
                yield from self._deploy(network, weights)
                scores.pop(network.id, None)
                reached[network.id] = self.trainer.score(network, weights)
        if reached and not halved:
            yield from self._try_plain_at_length(ranked, rates, reached, begun)
        for network in ranked:
            if network.id in scores:
                why = f"{scores[network.id]:.3f} after a short training; {ranked[0].id} promised more"
                self.now.stop(network.id, "HALVED", why)

    def _may_stop(self) -> bool:
        """A search ends with the first that will do, but a thorough one uses the time it was given."""
        return self.requirement.budget.effort != "thorough" or self.trainer.training_time() < START_S

    def _try_plain_at_length(
        self, networks: Sequence[Network], rates: dict[str, float], scores: dict[str, float], epochs: dict[str, float]
    ) -> Step[None]:
        """The best of fully trained networks once more without augmentation, where time is left for it."""
        best = min((n for n in networks if n.id in scores), key=lambda n: self.trainer.promised(scores[n.id], 1.0))
        if self.trainer.seconds(rates[best.id], epochs[best.id]) < self.trainer.training_time():
            weights = yield from self.trainer.try_plain(best, epochs[best.id], scores[best.id])
            if weights:
                yield from self._deploy(best, weights)

    def _bracket(self, fitting: Sequence[Network]) -> Step[tuple[list[Network], dict[str, float]]]:
        """Networks that get a first training, largest first, with the rate each trains at."""
        rates: dict[str, float] = {}
        bracket: list[Network] = []
        survivors = min(self.effort.survivors, len(fitting))
        families = len({network.model for network in fitting})
        for network in largest_first((n, self.shop.size(n)) for n in fitting):
            if len(bracket) == max(self.effort.bracket, families):  # every family has its turn
                break
            long = max(0.0, self.trainer.training_time() * (1 - FIRST_RUNG_SHARE) / survivors - START_S)
            fewest = self.trainer.fewest(network)
            rate = yield from self.trainer.rate(network, fewest * self.samples / max(long, START_S))
            if rate is None:
                continue
            epochs = long * rate / self.samples
            if epochs < fewest and self.trainer.is_unsure(network):
                self.now.stop(network.id, "NOT_TRIED", "the machine was too busy to tell how fast it trains")
                continue
            if epochs < fewest:
                why = f"it would see the data {epochs:.1f} times within the budget; {fewest:g} is the least"
                self.now.stop(network.id, "TOO_LONG_TO_TRAIN", why)
                continue
            rates[network.id] = rate
            bracket.append(network)
        return bracket, rates

    def _first_rung(
        self, bracket: Sequence[Network], rates: dict[str, float], survivors: int
    ) -> Step[tuple[list[Network], dict[str, float]]]:
        """The same few epochs for each network; ranked by the error rate each promises for its long training.

        Equal epochs rather than equal time: in equal time small networks always lead at first. What a network may
        still gain grows slowly with the epochs it has left, so that fast ones get their due.

        Returns:
            Networks, most promising first, and their scores after the short training.
        """
        time = self.trainer.training_time() * FIRST_RUNG_SHARE
        entrants = list(bracket)
        while len(entrants) > survivors and self.trainer.common_epochs(entrants, rates, time) < FEWEST_FIRST_EPOCHS:
            # What is computed in one pass is done then: it stays as long as there is something else to leave out.
            trained = [n for n in entrants if self.trainer.enough(n) > 1] or entrants
            entrants.remove(min(trained, key=lambda n: (rates[n.id], n.id)))
        common = max(FEWEST_FIRST_EPOCHS, on_ladder(self.trainer.common_epochs(entrants, rates, time)))
        self._first_epochs = common
        scores: dict[str, float] = {}
        for network in entrants:
            epochs = min(common, self.trainer.enough(network))
            weights = yield from self.trainer.train(network, epochs, floor=0.0, short=True)
            if weights:
                scores[network.id] = self.trainer.score(network, weights)
                # both are bounds from below: a probe may meet a busy second, a training stops to be judged
                rates[network.id] = max(rates[network.id], self.now.trained(network.id)[-1][1].samples_per_s)
        long = self.trainer.training_time() / survivors

        def promise(network: Network) -> tuple[float, float, str]:
            more = self.trainer.epochs(network, rates[network.id], long) / min(common, self.trainer.enough(network))
            gain = max(1.0, more) ** -GAIN_EXPONENT
            return self.trainer.promised(scores[network.id], gain), self.shop.size(network), network.id

        return sorted((n for n in entrants if n.id in scores), key=promise), dict(scores)

    def _is_met_on_validation(self) -> bool:
        """True when some candidate has no limit left in doubt but for final evidence."""
        return any(
            fate.code in ("INCONCLUSIVE", "NOT_FINALIST", "CHOSEN") and all(v.outcome == "met" for v in fate.verdicts)
            for fate in self.now.decision().fates
        )

    def _train_nearest(self) -> Step[None]:
        """Nothing fits: judge what other runs trained, and train the network nearest to fitting.

        So the certificate names measured changes of the limits, and a second question about the same data gets the
        answer of the first in seconds.
        """
        for network, weights in self._best_known():
            for record in self.shop.of(network):
                if not value_of(record, "latency_p50_ms"):
                    yield from self._probe_candidate(record.candidate)
            yield from self._deploy(network, weights, even_if_ruled_out=True)
        probed = [
            (latency, r.candidate.network)
            for r in self.now.records()
            if not r.notes.get("baseline") and (latency := value_of(r, "latency_p95_ms"))
        ]
        time = min(self.trainer.training_time(), 0.3 * self.requirement.budget.seconds, 150.0)
        if not probed or time < START_S:
            return
        fastest = min(latency for latency, _ in probed)
        near = {network.id: network for latency, network in probed if latency <= 2 * fastest}
        for network in sorted(near.values(), key=lambda n: (-self.shop.size(n), n.id)):
            rate = yield from self.trainer.rate(network, self.samples / time)
            if rate is not None and rate * time / self.samples >= 1:
                weights = yield from self.trainer.train(network, self.trainer.epochs(network, rate, time), floor=0.0)
                if weights:
                    yield from self._deploy(network, weights, even_if_ruled_out=True)
                return

    def _best_known(self) -> list[tuple[Network, str]]:
        """Networks that other runs trained to their end, with their weights; the best few by score."""
        known = [
            (-self.trainer.promised(result.score, 1.0), network.id, network, result.weights.sha256)
            for network in self.shop.networks()
            for job, result in self.now.trained(network.id)[-1:]
            if job.recipe.epochs >= self.trainer.fewest(network) and not result.stopped
        ]
        return [
            (network, weights) for _, _, network, weights in sorted(known, reverse=True)[: self.effort.survivors + 1]
        ]

    # --------------------------------------------------------------------------------------- files and their quality

    def _deploy(self, network: Network, weights: str, *, even_if_ruled_out: bool = False) -> Step[None]:
        """Evaluate a trained network on validation in its fastest deployments, each parent before its child."""
        openings = self.now.open_candidates()
        records = [r for r in self.shop.of(network) if even_if_ruled_out or r.candidate.id in openings]
        records = self.threads.one_of_each_way([r for r in records if value_of(r, "latency_p50_ms")])
        fastest = sorted(records, key=lambda r: (value_of(r, "latency_p50_ms"), r.candidate.id))
        chosen = fastest[: self.effort.deployments]
        parents = {r.parent for r in chosen if r.parent}
        chosen += [r for r in self.shop.of(network) if r.candidate.id in parents and r not in chosen]
        for record in sorted(chosen, key=lambda r: (bool(r.parent), r.candidate.id)):
            yield from self.shop.evaluate(record.candidate, weights, "validation")
        yield from self._store_smaller(network, weights, {record.candidate.id for record in chosen})

    def _store_smaller(self, network: Network, weights: str, deployed: set[str]) -> Step[None]:
        """The fastest deployment that may have smaller weights with these, unless a compressed one does as well."""
        openings = deployed & self.now.open_candidates()
        records = {r.candidate.id: r for r in self.shop.of(network)}
        children = {r.parent: r for r in records.values() if r.notes.get("stores_less") and r.parent in openings}
        if not children or self.now.left_s() <= 0:
            return
        root = records[min(children, key=lambda name: (value_of(records[name], "latency_p50_ms"), name))]
        if any(records[name].parent and self.trainer.as_good(records[name], root) for name in openings):
            return
        child = children[root.candidate.id]
        if not value_of(child, "latency_p50_ms"):
            yield from self._probe_candidate(child.candidate)
        yield from self.shop.evaluate(child.candidate, weights, "validation")

    # --------------------------------------------------------------------------------------- confirmation

    def _confirm(self) -> Step[None]:
        """Test split, trained timing and the comparison with the parent, for the one the decision asks for."""
        confirmed: set[str] = set()
        while (name := self.now.decision().next) and name not in confirmed:
            confirmed.add(name)
            record = self.shop.record(name)
            assert record.artifact is not None
            weights = self.shop.weights_of(record)
            yield from self.shop.evaluate(record.candidate, weights, "test")
            yield from self._confirm_cost(record.candidate, record.artifact.sha256)
            if record.parent:
                yield from self._compare(record, self.shop.record(record.parent).candidate, weights)
        chosen = self.now.decision().chosen
        if chosen:
            yield from self._measure_reference(self.shop.record(chosen))
            yield from self._explain(self.shop.record(chosen))

    def _confirm_cost(self, candidate: Candidate, file: str) -> Step[None]:
        """Time the trained file in several fresh processes; again, a little longer, while the machine is noisy."""
        for attempt in range(CONFIRM_ATTEMPTS):
            seconds = self._confirm_seconds() + attempt
            job = self.shop.measure_job(candidate, file, seconds, trained=True, processes=CONFIRM_PROCESSES)
            outcome = yield Action("measure", job, candidate.id, "confirm")
            if outcome.refusal or not any(m.noisy for m in outcome.result.measurements) or self.now.left_s() < 0:
                return

    def _confirm_seconds(self) -> float:
        return min(CONFIRM_SECONDS, max(CONFIRM_LEAST_S, CONFIRM_SHARE * self.requirement.budget.seconds))

    def _compare(self, record: Record, other: Candidate, weights: str) -> Step[None]:
        file = yield from self.shop.file(record.candidate, weights)
        other_file = yield from self.shop.file(other, weights)
        if file and other_file:
            yield self.shop.comparison(record.candidate, file, other, other_file, "latency_vs_parent")

    def _measure_reference(self, record: Record) -> Step[None]:
        """The same network in torch, eager, fp32: what one would have run without the search."""
        if hasattr(registry.get("models", record.candidate.network.model), "cost"):
            return  # a graph that torch does not see: it would only hand it on to another runtime
        reference = Candidate(record.candidate.network, UNCOMPRESSED, "torch", "fp32", self.requirement.target.threads)
        weights = self.shop.weights_of(record)
        file = yield from self.shop.exported(reference.network, weights, "torch")
        if file:
            job = self.shop.measure_job(reference, file, self._confirm_seconds(), trained=True)
            yield Action("measure", job, reference.id, "confirm")
            ours = yield from self.shop.file(record.candidate, weights)
            yield self.shop.comparison(record.candidate, ours, reference, file, "latency_vs_reference")

    # --------------------------------------------------------------------------------------- views

    def _fitting(self) -> list[Network]:
        """Networks, no baselines, with a candidate that was measured and that no limit on cost rules out."""
        openings = self.now.open_candidates()
        found = {
            r.candidate.network.id: r.candidate.network
            for r in self.now.records()
            if r.candidate.id in openings and not r.notes.get("baseline") and value_of(r, "latency_p50_ms")
        }
        return list(found.values())

    def _possible(self) -> list[Network]:
        """Networks, no baselines, with a candidate that nothing rules out, measured or not."""
        openings = self.now.open_candidates()
        found = {
            r.candidate.network.id: r.candidate.network
            for r in self.now.records()
            if r.candidate.id in openings and not r.notes.get("baseline")
        }
        return list(found.values())

    def _explain(self, record: Record) -> Step[None]:
        """Why the chosen file answers a few test samples, spread evenly, as it does."""
        assert record.artifact is not None
        file, n = record.artifact.sha256, self.now.card.splits["test"].samples
        chosen = sorted({round(place * (n - 1) / max(1, EXPLAINED - 1)) for place in range(min(n, EXPLAINED))})
        pipeline = self.shop.pipeline(record.candidate, file)
        job = ExplainJob(file, pipeline, self.now.card.fingerprint, "test", tuple(chosen))
        yield Action("explain", job, record.candidate.id, "confirm")
