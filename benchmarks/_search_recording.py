"""Record an exhaustive grid once: every network trained to every rung, every deployment's cost, what each step took.

A piece of a recording is a few minutes; the same command goes on where the last one ended, as everything done is in the
evidence of its workspace.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor import registry
from sartor.catalog.planners.parts.workshop import Workshop
from sartor.codec import from_plain, to_plain
from sartor.execute import Executor
from sartor.findings import Findings
from sartor.jobs import DescribeJob, TrainJob
from sartor.run import Silence, place_of, survey
from sartor.stages.requirement import read_requirement
from sartor.types import DataSource, Network, Record

RUNGS = (0.5, 2.0, 8.0, 32.0, 128.0)
"""Epochs of the grid's trainings; what lies between two is interpolated where it is replayed."""
FEW = 2.0  # epochs whose rate says how long more of them take; of fewer the first steps take most
PROBE_SECONDS = 0.5


def _named(source: DataSource) -> DataSource:
    """The source by the names of its files: where they lay is nobody's business."""
    names = {
        side: Path(getattr(source, side)).name for side in ("train", "validation", "test") if getattr(source, side)
    }
    return replace(source, **names)


class OutOfTime(Exception):
    """This piece is over."""


class Recorder:
    """Does every action of the grid that the evidence lacks, until its time is over."""

    def __init__(self, requirement: Path, workspace: Path, overrides: list[str], seconds: float, longest: float):
        asked = read_requirement(requirement, overrides)
        self.asked = replace(asked, limits=(), budget=replace(asked.budget, effort="balanced"))
        self.place = place_of(self.asked, workspace, workspace / "runs")
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self.longest, self._end = longest, time.monotonic() + seconds

    def record(self) -> dict[str, Any]:
        """The whole recording; raises :class:`OutOfTime` where a further piece is needed."""
        evidence = self.place.workspace.evidence()
        try:
            with Executor(self.place.workspace, evidence, self.place.id) as executor:
                self._executor = executor
                self._findings = survey(self.asked, self.place, executor, Silence(), time.time())
                return self._grid()
        finally:
            evidence.close()

    def _grid(self) -> dict[str, Any]:
        findings, shop = self._findings, Workshop(self._findings)
        networks = shop.networks()
        described = self._do("describe", DescribeJob(self.asked.task, tuple(networks)))
        findings.learn(*described)
        recording: dict[str, Any] = {
            "task": self.asked.task,
            "requirement": to_plain(replace(self.asked, data=_named(self.asked.data))),
            "card": to_plain(replace(findings.card, problems=())),
            "device": to_plain(findings.device),
            "costs": to_plain(described[1].result.costs),
            "candidates": [
                to_plain(replace(r, measurements=())) for r in findings.records() if r.candidate.network in networks
            ],
            "describe_s": round(described[1].seconds, 3),
            "made": {}, "probed": {}, "trained": {}, "deployed": {}, "refused": {},
        }  # fmt: skip
        for network in networks:
            self._probe(network, shop, recording)
        self.recording = recording
        for network in networks:
            recording["trained"][network.id] = list(self._trainings(network))
            self._deploy(network, shop, recording)
        return recording

    def _do(self, stage: str, job: Any, subject: str = "", purpose: str = "probe") -> Any:
        from sartor.catalog.contracts import Action

        action = Action(stage, job, subject, purpose)  # type: ignore[arg-type]
        outcome = self._executor.find(stage, job)
        if outcome is None:
            if time.monotonic() > self._end:
                raise OutOfTime
            print(f"  {stage:10} {subject}", flush=True)
            outcome = self._executor.do(stage, job)
        return action, outcome

    def _walk(self, steps: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        """Run a workshop's step; its value, and what was done."""
        done = []
        try:
            action = next(steps)
            while True:
                _, outcome = self._do(action.stage, action.job, action.subject, action.purpose)
                self._findings.learn(action, outcome)
                done.append((action, outcome))
                action = steps.send(outcome)
        except StopIteration as end:
            return end.value, done

    def _probe(self, network: Network, shop: Workshop, recording: dict[str, Any]) -> None:
        """Cost of every deployment, untrained, and how long its files take to make."""
        made = recording["made"].setdefault(network.id, {})
        for record in shop.of(network):
            candidate = record.candidate
            file, done = self._walk(shop.file(candidate, ""))
            made |= {a.job.compressor if a.stage == "compress" else "export": round(o.seconds, 3) for a, o in done}
            if not file:
                recording["refused"][candidate.id] = "not made"
                continue
            job = shop.measure_job(candidate, file, PROBE_SECONDS, trained=False)
            _, outcome = self._do("measure", job, candidate.id)
            if outcome.refusal:
                recording["refused"][candidate.id] = outcome.refusal.code
                continue
            recording["probed"][candidate.id] = {
                "seconds": round(outcome.seconds, 3),
                "values": {
                    m.metric.name: [round(x, 6) for x in (m.value, m.low, m.high)] + [m.n]
                    for m in outcome.result.measurements
                },
            }

    def _jobs(self, network: Network) -> Iterator[TrainJob]:
        family, card = registry.get("models", network.model), self._findings.card
        samples = card.splits["train"].samples
        one_pass = family.fitting == "closed-form"
        most = getattr(family, "most_epochs", 1e9)
        for epochs in (1.0,) if one_pass else [rung for rung in RUNGS if rung <= most]:
            recipe = family.recipe(network, samples, epochs)
            threads = self.asked.target.threads
            yield TrainJob(self.asked.task, network, card.fingerprint, recipe, self.asked.seed, threads)

    def _trainings(self, network: Network) -> Iterator[dict[str, Any]]:
        """A network at every rung that takes no longer than ``longest`` seconds, by the rung before."""
        rate = 0.0
        for job in self._jobs(network):
            passes = job.recipe.epochs * self._findings.card.splits["train"].samples
            if job.recipe.epochs > FEW and passes / rate > self.longest:
                return
            action, outcome = self._do("train", job, f"{network.id} {job.recipe.epochs:g}", "train")
            if outcome.refusal:
                return
            self._findings.learn(action, outcome)
            result = outcome.result
            rate = max(rate, result.samples_per_s)
            yield {
                "epochs": job.recipe.epochs,
                "score": round(result.score, 6),
                "seconds": round(outcome.seconds, 3),
                "samples_per_s": round(result.samples_per_s, 1),
                "curve": [[round(row.epoch, 3), round(row.score or 0.0, 5)] for row in result.curve],
                "weights": result.weights.sha256,
            }

    def _deploy(self, network: Network, shop: Workshop, recording: dict[str, Any]) -> None:
        """Scores of the deployed files: every way after the longest training; uncompressed on test after every one."""
        trained = recording["trained"][network.id]
        records = [r for r in shop.of(network) if r.candidate.id in recording["probed"]]
        plain = next((r for r in records if not r.parent), None)
        for training in trained:
            last = training is trained[-1]
            for record in records if last else [plain] if plain else []:
                for split in ("validation", "test") if last else ("test",):
                    self._evaluate(record, training, split, shop, recording)
        for training in trained:
            del training["weights"]

    def _evaluate(self, record: Record, training: dict[str, Any], split: str, shop: Workshop, into: dict[str, Any]):
        result, done = self._walk(shop.evaluate(record.candidate, training["weights"], split))
        if result is None:
            return
        primary = registry.get("tasks", self.asked.task).metrics[0].name
        value = next(m for m in result.measurements if m.metric.name == primary)
        kept = into["deployed"].setdefault(record.candidate.id, {}).setdefault(f"{training['epochs']:g}", {})
        kept[split] = {
            "value": round(value.value, 6), "low": round(value.low, 6), "high": round(value.high, 6), "n": value.n,
            "seconds": round(next((o.seconds for a, o in reversed(done) if a.stage == "evaluate"), 0.0), 3),
        }  # fmt: skip


def record(
    requirement: Path, workspace: Path, target: Path, overrides: list[str], seconds: float, longest: float
) -> bool:
    """One piece of a recording; True when the whole lies in ``target``."""
    try:
        recording = Recorder(requirement, workspace, overrides, seconds, longest).record()
    except OutOfTime:
        return False
    target.write_text(json.dumps(recording, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")
    return True


def findings_of(recording: dict[str, Any], requirement: Any) -> Findings:
    """The situation of a run over a recording, before anything is done."""
    from sartor.run import metrics_of
    from sartor.types import DataCard, Device

    return Findings(
        requirement,
        from_plain(DataCard, recording["card"]),
        from_plain(Device, recording["device"]),
        metrics_of(registry.get("tasks", recording["task"])),
        [from_plain(Record, plain) for plain in recording["candidates"]],
    )
