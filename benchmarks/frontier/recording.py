"""Measures the forms of a subject: what each answers, once, and its calls, in turn with all others."""

from __future__ import annotations

import contextlib
import json
import math
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _protocol import slug

from frontier import peers, subjects
from frontier.verdict import OURS, Case, Form
from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.cpu_load import load_between, read_cpu_times

HERE = Path(__file__).resolve().parent
FEWEST = 100  # calls of a turn: fewer say little of a 95th percentile
LONGEST_S = 300.0  # for loading (torch.compile on a busy machine), or for all test rows
QUIET_S = 0.3
PARENT, AGAIN = "none, onnxruntime", "again"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """A form before it is measured; ``error`` where there is none.

    Args:
        file, inputs: relative to the subject's folder.
        python: interpreter of the process that runs it.
    """

    side: str
    name: str
    runtime: str
    precision: str
    file: str
    python: str
    error: str = ""
    note: str = ""
    made_s: float | None = None
    inputs: str = "test.npy"

    @property
    def key(self) -> str:
        """Names it within its subject."""
        return f"{self.side}: {self.name}"


def entries(folder: Path, kind: str, chosen: Sequence[peers.Peer], say: Say, *, again: bool = False) -> Iterator[Entry]:
    """All forms of a subject, ours first; peers make what they did not make yet."""
    for told in json.loads((folder / "ours.json").read_text(encoding="utf-8")):
        one = subjects.Ours(**told)
        yield Entry(
            OURS, one.name, one.runtime, one.precision, one.file, sys.executable, one.error, one.note, inputs=one.inputs
        )
    for peer in chosen:
        made = peers.make(peer, folder, kind, say, again=again)
        for runtime in peer.runtimes:
            python = peer.python if runtime.startswith("torch") else sys.executable
            name = f"{peer.name}, {runtime}"
            # asked for as int8, a runtime tells whether a file's products truly are
            yield Entry(
                peer.side, name, runtime, "int8", made.file, python, made.error, made.note, made.seconds or None
            )


class Process:
    """A form, loaded.

    Raises:
        Refused: it cannot be loaded or run.
    """

    def __init__(self, entry: Entry, folder: Path, threads: int, work: Path) -> None:
        job = {
            "folder": str(folder), "file": entry.file, "runtime": entry.runtime, "precision": entry.precision,
            "threads": threads, "inputs": entry.inputs,
        }  # fmt: skip
        own = {
            "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        }  # fmt: skip
        command = [entry.python, "-W", "ignore", str(HERE / "child.py"), json.dumps(job)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**peers.environment(), **own},
        )  # fmt: skip
        self._hear()

    def ask(self, **order: Any) -> Mapping[str, Any]:
        """Its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Refused("its process ended") from None
        return self._hear()

    def _hear(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LONGEST_S)[0]:
            self._process.kill()
            raise Refused(f"it gave no answer within {LONGEST_S:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise Refused(f"its process ended with {self._process.wait()}")
        found: Mapping[str, Any] = json.loads(line)
        if "error" in found:
            self.end()
            raise Refused(found["error"])
        return found

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(60)


class Refused(Exception):
    """A form cannot be run; why."""


def record(folder: Path, found: Sequence[Entry], threads: int, rounds: int, seconds: float, work: Path) -> Any:
    """What all forms that run answer, and their calls: every process once a round, forth and back.

    The rounds begin at different forms. The parent has two processes, so that one file is compared with itself.
    """
    running: dict[str, Process] = {}
    refused: dict[str, str] = {}
    ran: dict[str, str] = {}
    (folder / "answers").mkdir(exist_ok=True)
    before = _others()
    parent = next(entry for entry in found if entry.side == OURS and entry.name == PARENT)
    for key, entry in [*((entry.key, entry) for entry in found), (AGAIN, parent)]:
        if entry.error:
            continue
        try:
            process = Process(entry, folder, threads, work)
            if key != AGAIN:
                ran[key] = str(process.ask(do="answer", target=str(_answers(entry, folder)))["ran"])
        except Refused as why:
            refused[key] = str(why)
        else:
            running[key] = process
    keys = list(running)
    turns: dict[str, list[Mapping[str, Any]]] = {key: [] for key in keys}
    for number in range(rounds):
        shift = (number // 2) * len(keys) // max(1, rounds // 2)
        order = keys[shift:] + keys[:shift]
        for key in reversed(order) if number % 2 else order:
            if key in refused:
                continue
            try:
                turns[key].append(running[key].ask(do="turn", seconds=seconds, fewest=FEWEST))
            except Refused as why:
                refused[key] = str(why)
    for process in running.values():
        process.end()
    return {
        "threads": threads, "turns": turns, "refused": refused, "ran": ran,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"), "foreign_load": max(before, _others()),
    }  # fmt: skip


def case_of(folder: Path, found: Sequence[Entry], recorded: Mapping[str, Any]) -> Case:
    """The subject as the verdict takes it."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    truths = np.load(folder / "truths.npy")
    forms: dict[str, Form] = {}
    why: dict[str, str] = {}
    for entry in found:
        problem = entry.error or recorded["refused"].get(entry.key, "")
        if not problem and entry.key not in recorded["turns"]:
            problem = "it was not there when the others were timed (--again)"
        if problem:
            why.setdefault(entry.side, f"{entry.name}: {problem}")
            continue
        outputs = np.load(_answers(entry, folder), allow_pickle=False)
        turns = recorded["turns"][entry.key]
        forms[entry.key] = Form(
            entry.side,
            entry.name,
            size_of(folder / entry.file),
            correct_of(facts["task"], outputs, truths),
            tuple(turn["p50"] for turn in turns),
            tuple(turn["p95"] for turn in turns),
        )
    parent = forms[f"{OURS}: {PARENT}"]
    turns = recorded["turns"][AGAIN]
    again = Form(
        OURS, PARENT, parent.bytes, parent.correct, tuple(t["p50"] for t in turns), tuple(t["p95"] for t in turns)
    )
    missing = {side: reason for side, reason in why.items() if not any(f.side == side for f in forms.values())}
    return Case(folder.name, facts["kind"], parent, again, tuple(forms.values()), missing)


def size_of(file: Path) -> int:
    """Bytes of a model file and of the data that lie beside it under its name (``model.onnx_data``)."""
    return sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))


def correct_of(task: str, outputs: Any, truths: Any) -> tuple[float, ...]:
    """Contribution of each row to the task's primary metric.

    Raises:
        ValueError: the metric is no mean over rows.
    """
    plugin = registry.get("tasks", task)
    labels = [str(number) for number in range(outputs.shape[1])]
    scores = plugin.score(outputs, truths, labels, 0.95)
    value = scores.values[plugin.metrics[0].name][0]
    correct = np.asarray(scores.correct, float)
    if not math.isclose(value, correct.mean(), abs_tol=1e-9):
        raise ValueError(f"{plugin.metrics[0].name} of {task} is no mean over rows; the paired loss needs one")
    return tuple(correct.tolist())


def _others() -> float:
    """Share of the cores that others use while nothing of ours runs."""
    before = read_cpu_times()
    time.sleep(QUIET_S)
    return load_between(before, read_cpu_times(), identify().cores).share


def _answers(entry: Entry, folder: Path) -> Path:
    return folder / "answers" / f"{slug(entry.key)}.npy"
