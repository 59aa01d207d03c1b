"""A contest: package and peers learn from the same files, answer the same inputs, and are judged by one referee.

Every peer gets the wall time that the package's run took, its process's start and imports included, and all cores of
the machine. The referee scores the outputs of all sides for every row of test by the task's own rules, so that a
difference is of the same samples. Costs are of fresh processes in turn (``_answering.py``).

A claim holds where the best peer on test is not better than the package beyond noise, and takes at least five times the
p95 or five times the bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _answering import Answerer, Lost, blocks_of, hand_over, in_turns, learn, outputs_of
from _child import write_bytes
from _entry import Entry, parser, run, wanted
from _environments import Environment
from _protocol import CONFIDENCE, Block, Row, busyness, compare, conditions_line, plain, table, write_rows
from _subject import Subject, few, package_label
from _verdict import difference, verdict

from sartor import registry
from sartor.prepared import open_data

INPUTS = 1000  # that are timed in turn
OURS = "package"


@dataclass(frozen=True)
class Peer:
    """Another way to the same; see ``_answering.Answerer``. ``environment``: its own, where it cannot share ours."""

    name: str
    file: str
    side: str
    environment: Environment | None = None


@dataclass(frozen=True)
class Contest:
    """What a script declares.

    Args:
        document: claim, protocol and examples of use; the claim is its first line.
        tasks: that a run may be of.
        example: the requirement that is run where no package is named.
        quality: metrics shown beside the primary one.
        facts: what else sides are told of the data (plain values).
    """

    document: str
    tasks: tuple[str, ...]
    example: str
    quality: tuple[str, ...]
    peers: Sequence[Peer]
    facts: Callable[[Subject], Mapping[str, Any]] = lambda subject: {}

    def main(self, words: Sequence[str] | None = None) -> int:
        """Everything; the exit status."""
        asked = parser(self.document, self.example).parse_args(words)
        return run(asked, self.document.splitlines()[0].removeprefix("Claim: "), self.tasks, self._work)

    def _work(self, asked: Namespace, entry: Entry, folder: Path) -> None:
        subject, threads = entry.subject, entry.subject.side.pipeline.threads
        say = lambda line: print(f"… {line}", flush=True)  # noqa: E731
        print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
        print(f"MACHINE {conditions_line()}")
        print(f"LEARNS  {entry.seconds:.0f} s each, as the package's run; answers on {threads} threads", flush=True)
        referee = Referee.of(subject, folder, self.facts(subject))
        package = Answerer(OURS, "package", "package", _answering_files(subject, folder))
        sides, found, learnt = [package], {OURS: referee.scores(package, threads)}, {}
        for peer in self.peers:
            if not wanted(peer.name, asked):
                continue
            try:
                side = _made(peer, asked.keep or folder, smoke=asked.smoke, say=say)
                facts = _learnt(side, referee.files, entry.seconds)
                found[side.name] = referee.scores(side, threads)
            except (Lost, OSError) as error:
                say(f"{peer.name} is left out: {error}")
                continue
            sides.append(side)
            learnt[side.name] = facts
            say(f"{side.name}: {facts['note']}, {facts['seconds']:.0f} s, {referee.words(found[side.name])}")
        say(f"{OURS}: {referee.words(found[OURS])}")
        turns = in_turns(sides, referee.inputs, blocks=asked.blocks, seconds=asked.timed, threads=threads, say=say)
        rows: list[Row] = []
        blocks: list[Block] = []
        for side in sides[1:]:
            between = blocks_of(turns, OURS, side.name)
            blocks += between
            shown = referee.rows(self.quality, found[OURS], found[side.name])
            shown += [
                *(compare(between, name, title, unit) for name, title, unit in COSTS),
                plain("size", "MB", package.size_mb, side.size_mb),
                plain("learning, all processes", "s", entry.seconds, float(learnt[side.name]["seconds"])),
            ]
            print(table(shown, OURS, side.name))
            against = f"{side.name} ({learnt[side.name]['note']})"
            rows += [replace(row, against=against) for row in shown]
        if not rows:
            print("OPEN    no peer was there to compare with")
            return
        task = subject.side.pipeline.task
        stem = f"{task}-{subject.conditions}-{entry.seconds:.0f}s-{asked.blocks}blocks"
        conditions = entry.conditions(referee.n)
        best = max(sides[1:], key=lambda side: referee.value(found[side.name]))
        word, why = verdict([row for row in rows if row.against.startswith(f"{best.name} (")])
        conditions |= {"verdict": f"{word} against {best.name}", **busyness(blocks)}
        print(f"WRITTEN {write_rows(asked.results, stem, rows, conditions)}")
        print(f"{word:7} against {best.name}, the best peer on test: {why}")


COSTS = (
    ("latency_p50_ms", "latency p50", "ms"),
    ("latency_p95_ms", "latency p95", "ms"),
    ("memory_peak_mb", "peak memory", "MB"),
    ("cold_start_ms", "cold start", "ms"),
)


@dataclass(frozen=True)
class Referee:
    """Hands out the files and scores all sides on every row of test."""

    task: Any
    labels: tuple[str, ...]
    truths: Any
    files: Path
    every: Path
    inputs: Path
    scratch: Path

    @staticmethod
    def of(subject: Subject, folder: Path, facts: Mapping[str, Any]) -> Referee:
        """From the run's own splits."""
        data, task = open_data(subject.data, subject.workspace), registry.get("tasks", subject.side.pipeline.task)
        parts = {name: data.split(name) for name in ("train", "validation", "test")}
        raws = {name: [part.raw(number) for number in range(len(part))] for name, part in parts.items()}
        told = {"labels": list(data.card.labels), "truth": task.truth, "media": task.media, **facts}
        learning = {name: (raws[name], parts[name].truths) for name in ("train", "validation")}
        files = hand_over(folder / "files", learning, told)
        write_bytes(folder / "every.npz", raws["test"])
        write_bytes(folder / "inputs.npz", [raws["test"][number] for number in few(len(raws["test"]), INPUTS, 0)])
        truths, places = parts["test"].truths, (folder / "every.npz", folder / "inputs.npz")
        return Referee(task, tuple(data.card.labels), truths, files, *places, folder)

    @property
    def n(self) -> int:
        """Rows of test."""
        return len(self.truths)

    @property
    def primary(self) -> Any:
        """The metric that decides."""
        return self.task.metrics[0]

    def scores(self, side: Answerer, threads: int) -> Any:
        """What the task makes of a side's outputs."""
        outputs = outputs_of(side, self.every, self.scratch, threads)
        return self.task.score(outputs, self.truths, self.labels, CONFIDENCE)

    def value(self, scores: Any) -> float:
        """Of the primary metric, higher better."""
        found = float(scores.values[self.primary.name][0])
        return found if self.primary.direction == "higher" else -found

    def words(self, scores: Any) -> str:
        """The primary metric with its interval."""
        value, low, high = scores.values[self.primary.name]
        return f"{self.primary.title} {value:.4g} ({low:.4g} … {high:.4g})"

    def rows(self, quality: Sequence[str], ours: Any, theirs: Any) -> list[Row]:
        """Values side by side (the interval is ours), and the paired difference of the primary metric."""
        shown = [
            metric
            for metric in self.task.metrics
            if metric.name in (self.primary.name, *quality) and metric.name in ours.values
        ]
        made = [
            Row(metric.title, metric.unit, *(float(side.values[metric.name][0]) for side in (ours, theirs)),
                low=float(ours.values[metric.name][1]), high=float(ours.values[metric.name][2]), n=self.n)
            for metric in shown
        ]  # fmt: skip
        return [*made, difference(self.primary, ours, theirs)]


def _learnt(side: Answerer, files: Path, seconds: float) -> Mapping[str, Any]:
    """What ``learn`` tells, once: in a folder that is kept it is not learnt again."""
    told = side.model.with_suffix(".json")
    if told.is_file():
        facts: Mapping[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        return facts
    shutil.rmtree(side.model, ignore_errors=True)
    facts = learn(side, files, seconds, os.cpu_count() or 1)
    told.write_text(json.dumps(facts), encoding="utf-8")
    return facts


def _made(peer: Peer, folder: Path, *, smoke: bool, say: Callable[[str], None]) -> Answerer:
    python = sys.executable
    if peer.environment is not None:
        if smoke and not peer.environment.ready:
            raise Lost(f"its environment is not there, and a smoke run installs nothing ({peer.environment.folder})")
        peer.environment.make(say)
        python = peer.environment.python
    return Answerer(peer.name, peer.file, peer.side, folder / "models" / peer.name.replace(" ", "-"), python)


def _answering_files(subject: Subject, folder: Path) -> Path:
    """Of the package only what it answers from: its evidence, report and golden samples are not its size."""
    package, place = subject.folder / "package", folder / "answering"
    place.mkdir()
    pipeline = json.loads((package / "pipeline.json").read_text(encoding="utf-8"))
    for name in ("pipeline.json", str(pipeline["model"]), "encoder.bin"):
        if (package / name).is_file():
            (place / name).write_bytes((package / name).read_bytes())
    return place
