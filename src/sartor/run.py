"""The loop, top to bottom: requirement → data → device → candidates → (plan, do, learn)* → decide → package."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import sartor
from sartor import registry
from sartor.calibration import speeds_of
from sartor.catalog.contracts import Action, Outcome, Planner, Task
from sartor.cluster import executor_of
from sartor.codec import digest, from_plain
from sartor.devices import device_of
from sartor.energy import USUAL, counters
from sartor.errors import DeviceError, SartorError
from sartor.evidence import Evidence, Workspace, sole_holder, write_json
from sartor.execute import Executor
from sartor.findings import Findings
from sartor.jobs import PrepareJob, TrainJob, TrainResult, TranslateJob
from sartor.metrics import COST_METRICS, Metric, quality_derivatives
from sartor.other_runs import finished_trainings, looks_of_others
from sartor.prepared import open_data
from sartor.stages.candidates import candidates
from sartor.stages.data import stamp
from sartor.stages.measure import margins
from sartor.stages.package import build_package
from sartor.stages.translate import job_of, placed
from sartor.storage import write_text
from sartor.thread_counts import earlier_facts
from sartor.types import DataCard, DataProblem, Device, Pipeline, Record, Requirement, RunFile, Step

FORMAT = 1
GOLDEN_SAMPLES = 8
COMPARISONS = (
    Metric("latency_vs_parent", "×", "lower", "cost", "latency against its uncompressed parent"),
    Metric("latency_vs_reference", "×", "lower", "cost", "latency against torch, eager, fp32"),
)


class Observer(Protocol):
    """Hears of every turn of a run; the command line prints, a test counts."""

    def prepared(self, card: DataCard) -> None:
        """The data is checked and split."""

    def device(self, device: Device) -> None:
        """The target is known."""

    def searching(self, records: Sequence[Record]) -> None:
        """The candidates are known."""

    def recalling(self, trained: Sequence[tuple[TrainJob, TrainResult]]) -> None:
        """Trainings of candidates that other runs have finished on the same data; they serve again."""

    def doing(self, action: Action) -> None:
        """An action begins that was not done before."""

    def tell(self, text: str, share: float | None = None) -> None:
        """Progress within an action."""

    def learned(self, action: Action, outcome: Outcome, findings: Findings) -> None:
        """An action has ended; the findings know."""


class Silence:
    """An observer that says nothing."""

    def prepared(self, card: DataCard) -> None: ...

    def device(self, device: Device) -> None: ...

    def searching(self, records: Sequence[Record]) -> None: ...

    def recalling(self, trained: Sequence[tuple[TrainJob, TrainResult]]) -> None: ...

    def doing(self, action: Action) -> None: ...

    def tell(self, text: str, share: float | None = None) -> None: ...

    def learned(self, action: Action, outcome: Outcome, findings: Findings) -> None: ...


@dataclass(frozen=True)
class Place:
    """Where a run keeps things. ``folder`` is the run's own; the workspace is shared by all runs."""

    workspace: Workspace
    folder: Path
    id: str


def place_of(requirement: Requirement, workspace: Path, runs: Path) -> Place:
    """The same requirement always has the same place, so that the same command continues, on whatever cluster."""
    mark = digest(replace(requirement, name="", budget=replace(requirement.budget, cluster="")))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", requirement.name).strip("-.") or "run"
    return Place(Workspace(workspace), runs / f"{name}-{mark[:6]}", mark)


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """Every metric that may occur for a task: its own first, then derived ones, costs and comparisons."""
    derived = (metric for own in task.metrics for metric in quality_derivatives(own))
    return (*task.metrics, *derived, *COST_METRICS, *COMPARISONS)


def run(
    requirement: Requirement,
    place: Place | None = None,
    observer: Observer | None = None,
    *,
    render: Callable[[RunFile], str] | None = None,
    retry: bool = False,
) -> RunFile:
    """Find the model that meets a requirement, or show that none does.

    Killed anywhere and called again it continues: whatever is in the evidence is not done again. The run folder
    receives ``decision.json``, ``report.html`` and, when everything is met, ``package/``.

    Args:
        requirement: what is asked.
        place: from :func:`place_of`; ``.sartor`` and ``runs`` in the current folder by default.
        observer: hears of every turn; nobody by default.
        render: makes the report's page (``sartor.report.render``); without it there is no ``report.html``.
        retry: try actions again that crashed before.

    Raises:
        SartorError: the user's problem, in one sentence; evidence gathered so far is kept.

    Example:
        >>> from sartor.stages.requirement import read_requirement
        >>> run(read_requirement("req.yaml")).decision.status  # doctest: +SKIP
        'met'
    """
    place = place or place_of(requirement, Path(".sartor"), Path("runs"))
    observer = observer or Silence()
    _refuse_unmeasurable(requirement)
    with sole_holder(place.folder):
        evidence = place.workspace.evidence()
        started = _started(place.folder)
        try:
            with executor_of(
                requirement.budget.cluster,
                place.workspace,
                evidence,
                place.id,
                retry=retry,
                remeasure=_was_inconclusive(place.folder),
                processes=requirement.budget.processes,
            ) as executor:
                findings = survey(requirement, place, executor, observer, started)
                _refuse_other_machine(findings.device, requirement)
                _work(findings, executor, observer)
                file = _write_up(findings, evidence, place, started)
                return _deliver(file, findings, place, render)
        finally:
            evidence.close()


def survey(requirement: Requirement, place: Place, executor: Executor, observer: Observer, started: float) -> Findings:
    """What is known before anything is built: data, device, candidates, trainings of other runs.

    Raises:
        SartorError: data, device or catalogue do not allow the requirement.
    """
    given = job_of(requirement.model) if requirement.model else None  # a file that is not opened is told at once
    prepare = PrepareJob(requirement.data, requirement.task, requirement.seed, stamp(requirement.data))
    prepared = executor.do("prepare", prepare, observer.tell)
    if prepared.refusal is not None:
        raise SartorError(prepared.refusal.detail)
    card = _with_test_looks(prepared.result.card, executor.evidence, place.id, started)
    observer.prepared(card)
    device = device_of(requirement.target.device, place.workspace, observer.tell)
    observer.device(device)
    model, translating = _model(given, place, executor, observer)
    records = candidates(requirement, card, device, model)
    observer.searching(records)
    task: Task = registry.get("tasks", requirement.task)
    trained = finished_trainings(executor.evidence, card.fingerprint, requirement.seed, place.id, started)
    searched = {record.candidate.network.id for record in records}
    observer.recalling([(job, result) for job, result in trained if job.network.id in searched])
    threads = earlier_facts(executor.evidence, device.id, place.id, started)
    speeds = speeds_of(device, place.workspace)
    findings = Findings(requirement, card, device, metrics_of(task), records, trained, threads, speeds)
    findings.spend(prepared.seconds + translating + _probe_spent(device, started))
    return findings


def _model(job: TranslateJob | None, place: Place, executor: Executor, observer: Observer) -> tuple[Path | None, float]:
    """The ONNX file that a given model of another format becomes, None where none has to, and the seconds it took."""
    if job is None:
        return None, 0.0
    done = executor.do("translate", job, observer.tell)
    if done.refusal is not None:
        raise SartorError(f"model: {done.refusal.detail}")
    return placed(done.result, job, place.workspace), done.seconds


def _probe_spent(device: Device, started: float) -> float:
    """Seconds of the budget that went into probing this machine: all of them where this run was the first here."""
    try:
        ended = datetime.fromisoformat(device.probed_at).timestamp()
    except ValueError:  # a profile may say anything, or nothing
        return 0.0
    return device.probe_seconds if ended >= started else 0.0


def _with_test_looks(card: DataCard, evidence: Evidence, run: str, started: float) -> DataCard:
    """The card, saying how often other runs have used the test split: a run cannot correct for a choice among runs."""
    files, runs = looks_of_others(evidence, card.fingerprint, run, started)
    if not files:
        return card
    sentence = (
        f"other runs ({runs}) had {files} file{'s' if files > 1 else ''} judged by the test split before; "
        "a choice between runs by their test figures is not covered by the confidence"
    )
    return replace(card, problems=(*card.problems, DataProblem("TEST_REUSED", "test", files, sentence)))


def _refuse_other_machine(device: Device, requirement: Requirement) -> None:
    """Evidence is of the machine it was measured on; another machine's profile allows estimates only."""
    here = registry.get("devices", "local").identify()
    if device.id != here.id:
        raise DeviceError(
            f"target.device {requirement.target.device!r} is a profile of another machine ({device.name}); a limit is "
            "judged by measuring there. Run the same command on that machine, or ask for estimates: sartor check"
        )


def _refuse_unmeasurable(requirement: Requirement) -> None:
    """A limit or an objective that this machine has no instrument for would be searched for in vain."""
    named = {limit.metric: limit.key for limit in requirement.limits}
    named |= {objective.metric: f"objectives.{objective.metric}" for objective in requirement.objectives}
    if "energy_mj" in named and requirement.target.device == "local" and not counters():
        raise DeviceError(
            f"{named['energy_mj']} cannot be judged: no energy counter of this machine can be read "
            f"({USUAL}/intel-rapl:*/energy_uj); run as root where the processor has one, or leave it out"
        )


def _work(findings: Findings, executor: Executor, observer: Observer) -> None:
    """The loop itself: the planner proposes, the executor does, the findings learn, the planner hears."""
    planner: Planner = registry.get("planners", "deterministic")
    plan = planner.plan(findings)
    try:
        action = next(plan)
        while True:
            outcome = executor.find(action.stage, action.job)
            if outcome is None:
                observer.doing(action)
                for later in action.ahead:
                    executor.begin(later.stage, later.job)
                outcome = executor.do(action.stage, action.job, observer.tell)
            findings.learn(action, outcome)
            observer.learned(action, outcome, findings)
            action = plan.send(outcome)
    except StopIteration:
        return


def _write_up(findings: Findings, evidence: Evidence, place: Place, started: float) -> RunFile:
    return RunFile(
        format=FORMAT,
        sartor=sartor.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        requirement=findings.requirement,
        device=findings.device,
        card=findings.card,
        metrics=findings.metrics,
        records=tuple(sorted(findings.records(), key=lambda record: record.candidate.id)),
        decision=findings.decision(),
        steps=_steps(evidence, place.id, started),
        curves=findings.curves,
        insights=findings.insights,
    )


def _deliver(file: RunFile, findings: Findings, place: Place, render: Callable[[RunFile], str] | None) -> RunFile:
    """Decision, report and, when met, the package, written so that a killed process leaves each whole or absent."""
    package = place.folder / "package"
    if file.decision.status == "met":
        file = replace(file, package="package")
        artifact = findings.shipping(file.decision.chosen)
        assert artifact is not None
        record = next(r for r in file.records if r.candidate.id == file.decision.chosen)
        data = open_data(file.card.fingerprint, place.workspace)
        test = data.split("test")
        golden = [test.raw(i) for i in _spread(len(test), GOLDEN_SAMPLES)]
        page = render(file) if render else ""
        pipeline = _pipeline(record, file)
        build_package(
            file,
            place.workspace.objects.path(artifact.sha256),
            replace(pipeline, options=margins(artifact.sha256, pipeline, file.card.fingerprint, place.workspace)),
            golden,
            package,
            encoder=place.workspace.objects.path(artifact.learnt) if artifact.learnt else None,
            report=page,
        )
    else:
        _set_aside(package)
        page = render(file) if render else ""
    if page:
        write_text(place.folder / "report.html", page)
    write_json(place.folder / "decision.json", file)
    return file


def _set_aside(package: Path) -> None:
    """A package of an earlier decision must not stand beside one that delivers none."""
    if package.exists():
        package.rename(package.with_name(f"package-superseded-{int(time.time())}"))


def _pipeline(record: Record, file: RunFile) -> Pipeline:
    candidate = record.candidate
    assert record.artifact is not None
    return Pipeline(
        file.requirement.task,
        file.card.labels,
        candidate.network.input_size,
        "model.onnx",
        candidate.runtime,
        candidate.precision,
        candidate.threads,
        file.requirement.target.batch,
        encoding=candidate.network.encoding,
        learnt=record.artifact.learnt,
    )


def _spread(n: int, count: int) -> list[int]:
    """Up to ``count`` indices spread evenly over 0..n-1."""
    return sorted({round(place * (n - 1) / max(1, count - 1)) for place in range(min(n, count))})


def _was_inconclusive(folder: Path) -> bool:
    """True when this run ended before without an answer: then what noise spoilt is measured again."""
    path = folder / "decision.json"
    if not path.is_file():
        return False
    try:
        return bool(json.loads(path.read_text())["decision"]["status"] == "inconclusive")
    except (ValueError, KeyError, TypeError):
        return False


def _started(folder: Path) -> float:
    """When this run was first begun (seconds since the epoch), kept in its folder."""
    path = folder / "run.json"
    if path.is_file():
        return float(json.loads(path.read_text())["started"])
    now = time.time()
    write_json(path, {"started": now, "process": os.getpid()})
    return now


def _steps(evidence: Evidence, run: str, started: float) -> tuple[Step, ...]:
    """The run's timeline. A continued run has a gap; ``started`` counts from the first begin."""
    steps = []
    for use in evidence.of_run(run):
        entry = use.entry
        steps.append(
            Step(
                action=entry.stage,
                subject=_subject(entry.job),
                started=max(0.0, use.at - use.seconds - started),
                seconds=use.seconds,
                reused=use.reused,
                outcome="refused" if entry.refusal else "done",
                evidence=entry.key,
            )
        )
    return tuple(steps)


def _subject(job: object) -> str:
    """What a recorded job was about, in a word."""
    if not isinstance(job, dict):
        return ""
    if "network" in job:
        return str(job["network"]["model"]) + (f"-{job['network']['variant']}" if job["network"]["variant"] else "")
    if "job" in job:
        return _subject(job["job"])
    if "pipeline" in job:
        return f"{job['pipeline']['precision']}/{job['pipeline']['runtime']}"
    return str(job.get("compressor", job.get("task", "")))


def load_run(path: Path) -> RunFile:
    """The contents of a run folder's ``decision.json`` (or of the file itself).

    Raises:
        SartorError: there is none, or it is not one of ours.
    """
    file = path / "decision.json" if path.is_dir() else path
    if not file.is_file():
        raise SartorError(f"{path} holds no decision.json; give the folder of a run, e.g. runs/digits-7f3a")
    try:
        return from_plain(RunFile, json.loads(file.read_text()))  # type: ignore[no-any-return]
    except (ValueError, TypeError, KeyError) as error:
        raise SartorError(f"{file} is not a decision of this version of sartor ({error}); run again") from error
