"""Runs actions in worker processes and keeps their results as evidence; the parent never loads a model."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from sartor.catalog.contracts import Outcome
from sartor.codec import canonical_json, digest, from_plain, to_plain
from sartor.errors import StorageError, rebuild
from sartor.evidence import Entry, Evidence, Workspace
from sartor.progress import Tell, silent
from sartor.stages.train.environment import training_environment
from sartor.types import Refusal
from sartor.worker import load_stage

VERSIONS: Mapping[str, int] = {"describe": 4, "compress": 3}
"""Stage name to the version of what it does; raise it when old evidence of the stage no longer holds (default 1)."""

TRANSIENT = {"CRASHED", "OOM", "TIMEOUT", "FAILED"}
"""Refusals that are tried once more before they count."""

TRAINING = ("train", "throughput")
"""Stages whose results do not hang on the target device: they may run on another machine."""


def key_of(stage: str, job: object, processes: int = 0) -> str:
    """The name of a job's evidence; trainings on several processes are others, and so is how fast they are."""
    apart = {"processes": processes} if processes > 1 and stage in TRAINING else {}
    return digest({"stage": stage, "version": VERSIONS.get(stage, 1), "job": to_plain(job), **apart})


class Executor:
    """Runs one action at a time in a process that may crash without harm.

    ``sartor.cluster`` has another, which lets other machines train.

    There are two: one for training, with the allocator settings it wants, and one for the other stages. Each starts
    when it is first needed and is replaced when it dies.
    """

    def __init__(
        self,
        workspace: Workspace,
        evidence: Evidence,
        run: str,
        *,
        retry: bool = False,
        remeasure: bool = False,
        processes: int = 0,
    ) -> None:
        """Run actions for one run.

        Args:
            workspace: where files go.
            evidence: where results go.
            run: id of the run.
            retry: do again what crashed in an earlier process.
            remeasure: do again the confirmations that a noisy machine spoilt in an earlier process.
            processes: that train one network together; 0 for one per CUDA device, or one.
        """
        self.workspace, self.evidence, self.run = workspace, evidence, run
        self._retry, self._remeasure, self._processes = retry, remeasure, processes
        self._began = time.time()
        self._workers: dict[str, WorkerProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.end()

    def find(self, stage: str, job: object) -> Outcome | None:
        """The outcome of a job that was done before, by this run or another."""
        _, entry = self._newest(stage, job)
        if entry is None or self._wanted_again(entry):
            return None
        self.evidence.use(entry.key, self.run)
        cost = self.evidence.cost(entry.key, self.run)
        if entry.refusal:
            return Outcome(entry.key, None, Refusal(entry.refusal["code"], entry.refusal["detail"]), cost, True)
        _, _, result_type = load_stage(stage)
        return Outcome(entry.key, from_plain(result_type, entry.result), None, cost, True)

    def _newest(self, stage: str, job: object) -> tuple[str, Entry | None]:
        """The newest entry of a job, and the key that the next attempt at it gets."""
        first = key = key_of(stage, job, self._processes)
        newest, attempt = None, 0
        while (entry := self.evidence.get(key)) is not None:
            newest, attempt = entry, attempt + 1
            key = f"{first}-{attempt}"
        return key, newest

    def _wanted_again(self, entry: Entry) -> bool:
        if entry.created >= self._began:
            return False
        if entry.refusal:
            return self._retry and entry.refusal["code"] in TRANSIENT
        confirmation = entry.stage == "compare" or (entry.stage == "measure" and entry.job["trained"])
        return self._remeasure and confirmation and '"noisy":true' in canonical_json(entry.result)

    def begin(self, stage: str, job: object) -> None:
        """Begin what will be asked for soon, where there is room for it; on one machine it waits for its turn."""

    def do(self, stage: str, job: object, tell: Tell = silent) -> Outcome:
        """The outcome of a job: from the evidence, or by running it now and recording it.

        Raises:
            SartorError: the user's problem (bad data, full disk …); nothing is recorded then.
        """
        known = self.find(stage, job)
        if known is not None:
            return known
        key, _ = self._newest(stage, job)
        started = time.monotonic()
        reply = self._attempt(stage, job, tell)
        if is_transient(reply):
            reply = self._attempt(stage, job, tell)
        seconds = time.monotonic() - started
        return self._record(key, stage, job, reply, seconds, seconds)

    def _record(
        self, key: str, stage: str, job: object, reply: Mapping[str, Any], seconds: float, cost: float
    ) -> Outcome:
        """Make a reply evidence; it took so many seconds, and cost this run ``cost`` of its time."""
        if "error" in reply:
            raise rebuild(reply["kind"], reply["error"])
        refusal = reply.get("refusal")
        self.evidence.add(
            key=key,
            stage=stage,
            job=to_plain(job),
            result=reply.get("result") or {},
            seconds=seconds,
            cost=cost,
            run=self.run,
            refusal=refusal,
        )
        self.workspace.clear_scratch(digest(job))
        _, _, result_type = load_stage(stage)
        if refusal:
            return Outcome(key, None, Refusal(refusal["code"], refusal["detail"]), cost, False)
        return Outcome(key, from_plain(result_type, reply["result"]), None, cost, False)

    def _attempt(self, stage: str, job: object, tell: Tell) -> dict[str, Any]:
        kind = "train" if stage in TRAINING else "other"
        worker = self._workers.get(kind)
        if worker is None or not worker.alive():
            worker = self._workers[kind] = WorkerProcess(
                self.workspace, training_environment(self._processes) if kind == "train" else {}
            )
        return worker.run(stage, job, tell)


def is_transient(reply: Mapping[str, Any]) -> bool:
    """True for what may go better the next time."""
    return reply.get("refusal", {}).get("code") in TRANSIENT


class WorkerProcess:
    """One child process that runs stages (``sartor.worker``), and its protocol."""

    def __init__(self, workspace: Workspace, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sartor.worker", str(workspace.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **QUIET, **environment},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._last_words: deque[str] = deque(maxlen=50)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._overhear)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _overhear(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._last_words.append(line.rstrip())

    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, stage: str, job: object, tell: Tell) -> dict[str, Any]:
        """The reply to a job: a ``result``, a ``refusal`` or an ``error``."""
        for message in self.messages(stage, job):
            if "progress" not in message:
                return message
            tell(message["progress"], message.get("share"))
        raise AssertionError("a worker says last what came of a job")

    def messages(self, stage: str, job: object) -> Iterator[dict[str, Any]]:
        """What it says on the way (``progress``), then its reply.

        Raises:
            StorageError: it died as the disk was full.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"stage": stage, "job": to_plain(job)}) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            yield self._death(stage)
            return
        while True:
            line = self._lines.get()
            message: dict[str, Any] = json.loads(line) if line is not None else self._death(stage)
            if "ready" not in message:
                yield message
                if "progress" not in message:
                    return

    def _death(self, stage: str) -> dict[str, Any]:
        code = self._process.wait()
        words = next((line for line in reversed(self._last_words) if line.strip()), "")
        if any("No space left" in line for line in self._last_words):
            raise StorageError("no space left on the disk of the workspace; free some, then run the same again")
        killed = code == -signal.SIGKILL
        detail = f"{stage}: its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
        if killed:
            detail += " (out of memory, or killed by somebody)"
        return {"refusal": {"code": "CRASHED", "detail": f"{detail}{': ' + words[:200] if words else ''}"}}

    def end(self) -> None:
        """Close the worker with everything it started."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=5)  # they end with the pipes of the dead process
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):  # what was not flushed to the dead goes nowhere
                if pipe is not None:
                    pipe.close()


QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
"""Libraries in workers send nothing and say nothing."""
