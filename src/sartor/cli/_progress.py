"""What a run says while it works: one line per phase when it is done, one living line for what is being done."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from sartor import registry
from sartor.catalog.contracts import Action, Outcome
from sartor.cli._console import console
from sartor.findings import Findings
from sartor.jobs import TrainJob, TrainResult
from sartor.language import say
from sartor.language.layout import cut, labelled, padded
from sartor.metrics import COST_METRICS, Metric, index
from sartor.report.figures import duration, number
from sartor.report.words import action_name
from sartor.run import Silence, metrics_of
from sartor.types import DataCard, Device, Record, Refusal, Requirement

WIDTH = 14
BAR = 24
TOLD, NAMED = 8, 3  # kinds of problems in the data, and examples of each
PHASES = {"estimate": "estimated", "probe": "measured", "train": "trained", "select": "trained", "confirm": "confirmed"}
COURSE = ("", "estimate", "probe", "train", "confirm")  # a run goes back and forth; what it says only goes on


class Progress(Silence):
    """Prints a run as it goes; a terminal sees a living line, a pipe only finished lines."""

    def __init__(self, requirement: Requirement) -> None:
        self._out = console()
        self._live = sys.stdout.isatty()
        self._requirement = requirement
        self._began = self._phase_began = time.monotonic()
        self._phase, self._summary = "", ""
        self._action = ""
        self._best: tuple[str, float] | None = None
        self._trained = self._measured = 0
        self._refused: set[tuple[str, str]] = set()
        self._augmented: set[str] = set()
        self._primary: Metric = registry.get("tasks", requirement.task).metrics[0]

    def __enter__(self) -> Self:
        from sartor import registry

        metrics = index(metrics_of(registry.get("tasks", self._requirement.task)))
        limits = " · ".join(
            f"{say(metrics[x.metric].title)} {'≥' if x.bound == 'min' else '≤'} {metrics[x.metric].format(x.value)}"
            for x in self._requirement.limits
        )
        target = self._requirement.target
        where = "this machine" if target.device == "local" else target.device
        self._line(
            "Requirement",
            f"{self._requirement.task} on {where} with {target.threads} thread{'s' if target.threads > 1 else ''}",
        )
        budget = f"{say('budget')} {duration(self._requirement.budget.seconds)}"
        self._line("", f"{limits or say('no limits')}        {budget}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_phase()
        if kind is not None:
            self._erase()
        else:
            self._out.print()

    def prepared(self, card: DataCard) -> None:
        named = sorted(card.splits.items(), key=lambda item: ("train", "validation", "test").index(item[0]))
        splits = " / ".join(say(f"{split.samples:,} {name}") for name, split in named)
        total = sum(split.samples for split in card.splits.values())
        noun = card.facts.get("labels_are", "classes")
        classes = f", {len(card.labels):,} {noun}" if card.labels else ""
        self._line("Data", f"{total:,} samples{classes}: {splits}" + ("" if card.problems else "; no problems found"))
        for problem in card.problems[:TOLD]:
            shown = ", ".join(problem.examples[:NAMED]) + (" …" if len(problem.examples) > NAMED else "")
            self._line("", f"{say(problem.sentence)}{f' ({shown})' if shown else ''}")
        if len(card.problems) > TOLD:
            self._line("", say(f"{len(card.problems) - TOLD} more kinds of problems (sartor data inspect)"))

    def device(self, device: Device) -> None:
        rates = ", ".join(f"{name} {c.operations_per_s / 1e12:.2f}" for name, c in device.ceilings.items())
        what = f"{device.cores} cores" if device.kind == "cpu" else device.kind.upper()
        moved = f"{device.bandwidth_bytes_per_s / 1e9:.0f} GB/s" if device.bandwidth_bytes_per_s else ""
        whose = "This machine" if self._requirement.target.device == "local" else device.name
        self._line(
            whose,
            " · ".join(part for part in (what, rates and f"{rates} Tops/s", moved) if part) + f" ({device.basis})",
        )

    def searching(self, records: Sequence[Record]) -> None:
        networks = {r.candidate.network.id for r in records}
        baselines = {r.candidate.network.id for r in records if r.notes.get("baseline")}
        declined = networks - {r.candidate.network.id for r in records if not r.refusals}
        others = len(networks - baselines - declined)
        ways = sorted({f"{r.candidate.precision} {r.candidate.runtime}" for r in records})
        self._line(
            "Candidates",
            say(f"{len(records)}: {len(baselines - declined)} baselines, {others} networks in up to {len(ways)} ways")
            + f" ({', '.join(ways)})"
            + (say("; ") + say(f"{len(declined)} declined at once") if declined else "")
            + "".join(say("; ") + say(f"{model} in {names} alone") for model, names in _in_few_ways(records).items()),
        )

    def recalling(self, trained: Sequence[tuple[TrainJob, TrainResult]]) -> None:
        if not trained:
            return
        job, best = trained[0]
        for other, result in trained[1:]:
            if self._primary.better(result.score, best.score):
                job, best = other, result
        title = f"{job.network.id} {number(self._primary, best.score)}"
        text = say(f"{len(trained)} trainings of earlier runs on the same data are at hand, best {title} on validation")
        self._line("", text)

    def doing(self, action: Action) -> None:
        self._turn(action)
        self._action = f"{action_name(action.stage)} {action.subject}"
        self.tell("")

    def tell(self, text: str, share: float | None = None) -> None:
        if not self._live:
            return
        bar = "" if share is None else "█" * round(share * BAR) + "░" * (BAR - round(share * BAR)) + " "
        elapsed = f"{duration(time.monotonic() - self._began)} / {duration(self._requirement.budget.seconds)}"
        line = f"{padded(self._phase_name(), WIDTH)}{bar}{self._action} {say(text)}"
        room = self._out.width - 1 - len(elapsed) - 2
        print(f"\r\x1b[2K{cut(line, room)}  {elapsed}", end="", flush=True)

    def learned(self, action: Action, outcome: Outcome, findings: Findings) -> None:
        self._turn(action)
        if isinstance(outcome.result, TrainResult):
            self._trained += 1
            if not outcome.reused:
                epochs, teacher = action.job.recipe.epochs, action.job.recipe.teacher
                took = duration(max(outcome.seconds, outcome.result.seconds))  # beside others it costs less
                score = number(self._primary, outcome.result.score)
                said = f"{score} on validation after {epochs:.3g} epoch{'' if epochs == 1 else 's'}"
                how = "" if teacher is None else say(f", taught by {teacher.network.id}")
                if action.job.recipe.augment:
                    self._augmented.add(action.subject)
                elif action.subject in self._augmented:
                    how += say(", without augmentation")
                self._line("", f"{action.subject:<24} {say(said)}{how}, {took}")
            for remark in outcome.result.remarks:
                self._line("", f"{action.subject}: {say(remark)}")
            if self._best is None or self._primary.better(outcome.result.score, self._best[1]):
                self._best = (action.subject, outcome.result.score)
        if self._phase == "train":
            best = f", best {self._best[0]} {number(self._primary, self._best[1])} on validation" if self._best else ""
            also = _measured(findings) - self._measured
            more = f"; {also} more measured on the target" if also else ""
            self._summary = f"{self._trained} training{'' if self._trained == 1 else 's'}{best}{more}"
        elif action.purpose in ("estimate", "probe"):
            codes = Counter(fate.code for fate in findings.decision().fates)
            cost = {metric.name for metric in COST_METRICS}
            ruled_out = sum(
                any(v.outcome == "missed" and v.limit.metric in cost for v in fate.verdicts)
                for fate in findings.decision().fates
            )
            total = sum(codes.values())
            pointless = f", {codes['NO_PRODUCTS']} gain nothing from fewer bits" if codes["NO_PRODUCTS"] else ""
            self._measured = _measured(findings)
            self._summary = (
                f"{ruled_out} of {total} cannot fit{pointless}"
                if action.purpose == "estimate"
                else f"{self._measured} untrained, on the target; {ruled_out} of {total} candidates cannot fit"
            )
        elif self._phase == "confirm":
            self._summary = "test split and trained timing of the finalists"
        if outcome.refusal is not None and not outcome.reused:
            self._tell_refusal(action.subject, outcome.refusal)

    def _tell_refusal(self, subject: str, refusal: Refusal) -> None:
        """Once for all ways to run a network."""
        what = subject.split("/")[0], refusal.code
        if what not in self._refused:
            self._refused.add(what)
            self._line("", f"{subject}: {refusal.code} {say(refusal.detail)}")

    def _turn(self, action: Action) -> None:
        phase = "train" if action.purpose == "select" else action.purpose
        if phase == "train" and action.stage == "throughput":  # how fast it trains is a cost, measured before
            phase = "probe"
        if COURSE.index(phase) > COURSE.index(self._phase):
            self._close_phase()
            self._phase, self._phase_began = phase, time.monotonic()

    def _close_phase(self) -> None:
        if self._phase and self._summary:
            took = duration(time.monotonic() - self._phase_began)
            self._line(self._phase_name(), f"{padded(say(self._summary), 76)}{took:>8}")
        self._summary = ""

    def _phase_name(self) -> str:
        return f"  {say(PHASES[self._phase])}" if self._phase else ""

    def _line(self, title: str, text: str) -> None:
        self._erase()
        self._out.print(labelled(title, text, WIDTH), soft_wrap=True)

    def _erase(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", flush=True)


def _measured(findings: Findings) -> int:
    """Candidates whose latency was measured on the target."""
    return sum(
        any(m.basis == "measured" and m.metric.name == "latency_p50_ms" for m in r.measurements)
        for r in findings.records()
    )


def _in_few_ways(records: Sequence[Record]) -> dict[str, str]:
    """Families whose graphs not every runtime has the operators for, with the ways that are left, in words."""
    ways = defaultdict(set)
    for record in records:
        ways[record.candidate.network.model].add(f"{record.candidate.precision} {record.candidate.runtime}")
    return {
        model: ", ".join(sorted(found))
        for model, found in ways.items()
        if getattr(registry.get("models", model), "domains", None)
    }
