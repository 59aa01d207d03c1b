"""The end of a plan: final evidence for the finalist, then what is nice to know of it."""

from __future__ import annotations

from sartor import registry
from sartor.catalog.contracts import Action, Situation
from sartor.catalog.planners.parts.reserve import Reserve
from sartor.catalog.planners.parts.workshop import UNCOMPRESSED, Step, Workshop
from sartor.jobs import ExplainJob
from sartor.types import Candidate, Record

ATTEMPTS = 3  # at a trained timing, on a noisy machine
EXPLAINED = 6  # answers of the chosen candidate that are explained


class Confirmation:
    """Confirms finalists of one plan."""

    def __init__(self, situation: Situation, shop: Workshop, reserve: Reserve) -> None:
        self.now, self.shop, self.reserve = situation, shop, reserve
        self.quick = situation.requirement.budget.effort == "quick"

    def run(self) -> Step[None]:
        """Test split, trained timing and the comparison with the parent, for the one the decision asks for.

        The first is confirmed in any case, a second where the time for it is left.
        """
        confirmed: set[str] = set()
        while (name := self.now.decision().next) and name not in confirmed:
            record = self.shop.record(name)
            if confirmed and not self.reserve.has_time_for(self.reserve.least_confirming(record)):
                break
            confirmed.add(name)
            assert record.artifact is not None
            weights = self.shop.weights_of(record)
            yield from self.shop.evaluate(record.candidate, weights, "test")
            yield from self._cost(record.candidate, record.artifact.sha256)
            if record.parent:
                yield from self._compare(record, self.shop.record(record.parent).candidate, weights)
        chosen = self.now.decision().chosen
        if chosen:
            yield from self._reference(self.shop.record(chosen))
            yield from self._explain(self.shop.record(chosen))

    def _cost(self, candidate: Candidate, file: str) -> Step[None]:
        """Time the trained file in several fresh processes; again, a little longer, while the machine is noisy.

        Noise can meet a limit: where it did, a quick search leaves it at that.
        """
        processes = self.reserve.processes(candidate)
        for attempt in range(ATTEMPTS):
            seconds = self.reserve.confirm_seconds() + attempt
            if attempt and not self.reserve.has_time_for(self.reserve.forecast.timing(candidate, seconds, processes)):
                return
            job = self.shop.measure_job(candidate, file, seconds, trained=True, processes=processes)
            outcome = yield Action("measure", job, candidate.id, "confirm")
            if outcome.refusal or not any(m.noisy for m in outcome.result.measurements):
                return
            if self.quick and self.now.decision().chosen:
                return

    def _compare(self, record: Record, other: Candidate, weights: str) -> Step[None]:
        """The comparison with the parent; without the time for it the medians of both, measured apart, must do."""
        if not self.reserve.has_time_for(self.reserve.forecast.comparing(record.candidate, other.runtime)):
            return
        file = yield from self.shop.file(record.candidate, weights)
        other_file = yield from self.shop.file(other, self.shop.origin(record.candidate.network, weights)[1])
        if file and other_file:
            yield self.shop.comparison(record.candidate, file, other, other_file, "latency_vs_parent")

    def _reference(self, record: Record) -> Step[None]:
        """The same network in torch, eager, fp32: what one would have run without the search.

        A quick search spends nothing on what changes no answer.
        """
        if self.quick or hasattr(registry.get("models", record.candidate.network.model), "cost"):
            return  # a graph that torch does not see: it would only hand it on to another runtime
        if not self.reserve.has_time_for(self.reserve.reference(record.candidate)):
            return
        threads = self.now.requirement.target.threads
        weights = self.shop.weights_of(record)
        whole, whole_weights = self.shop.origin(record.candidate.network, weights)
        reference = Candidate(whole, UNCOMPRESSED, "torch", "fp32", threads)
        file = yield from self.shop.exported(whole, whole_weights, "torch")
        if file:
            job = self.shop.measure_job(reference, file, self.reserve.confirm_seconds(), trained=True)
            yield Action("measure", job, reference.id, "confirm")
            if self.reserve.has_time_for(self.reserve.forecast.comparing(record.candidate, "torch")):
                ours = yield from self.shop.file(record.candidate, weights)
                yield self.shop.comparison(record.candidate, ours, reference, file, "latency_vs_reference")

    def _explain(self, record: Record) -> Step[None]:
        """Why the chosen file answers a few test samples, spread evenly, as it does."""
        if not self.reserve.has_time_for(self.reserve.explaining(record.candidate)):
            return
        assert record.artifact is not None
        file, n = record.artifact.sha256, self.now.card.splits["test"].samples
        chosen = sorted({round(place * (n - 1) / max(1, EXPLAINED - 1)) for place in range(min(n, EXPLAINED))})
        pipeline = self.shop.pipeline(record.candidate, file)
        job = ExplainJob(file, pipeline, self.now.card.fingerprint, "test", tuple(chosen))
        yield Action("explain", job, record.candidate.id, "confirm")
