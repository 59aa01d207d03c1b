"""The executor that lets the machines of a Ray cluster train, several networks at a time, and does the rest here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from sartor.catalog.contracts import Outcome
from sartor.cluster.files import Sent, bring, mentioned, send
from sartor.cluster.machines import Machines, Stream
from sartor.cluster.remote import Request
from sartor.codec import digest, from_plain, to_plain
from sartor.errors import StorageError
from sartor.evidence import Evidence, Workspace
from sartor.execute import TRAINING, Executor, is_transient, key_of
from sartor.jobs import ArrangeResult, ThroughputJob, TrainJob
from sartor.progress import Tell, silent

ATTEMPTS = 4  # at a job whose process or machine is lost, as of ranks that die; each goes on from its checkpoint
_HEAR_S = 1.0


@dataclass
class _Flight:
    """A job on its way.

    Args:
        key: of its evidence.
        request: as sent last.
        stream: what it says.
        began: when a machine took it up (monotonic seconds).
        lost, failed: attempts that ended without an answer, or with one that may be better the next time.
        error: the user's problem that it ended with, told when it is asked for.
    """

    key: str
    stage: str
    job: TrainJob | ThroughputJob
    request: Request
    stream: Stream
    began: float = 0.0
    lost: int = 0
    failed: int = 0
    error: Mapping[str, Any] = field(default_factory=dict)


class ClusterExecutor(Executor):
    """Sends trainings to a cluster, brings weights and results home, and records each once; all else runs here.

    What is known is never sent. A job whose machine is lost is sent again: it goes on from its newest checkpoint where
    the machines see the workspace, else from the start. Before anything is measured, what is under way is waited for:
    the cluster may be this machine.
    """

    def __init__(
        self,
        cluster: str,
        workspace: Workspace,
        evidence: Evidence,
        run: str,
        *,
        retry: bool = False,
        remeasure: bool = False,
        processes: int = 0,
    ) -> None:
        """Join the cluster; arguments as of :class:`Executor`, and ``cluster`` as of :class:`Machines`."""
        super().__init__(workspace, evidence, run, retry=retry, remeasure=remeasure, processes=processes)
        self._machines = Machines(cluster)
        self._flights: dict[str, _Flight] = {}
        self._landed: dict[str, Outcome] = {}  # what ended before it was asked for
        self._sent: dict[str, Sent] = {}  # files that machines asked for, by path
        self._arranged: dict[str, tuple[str, ...]] = {}
        self._away = False  # whether some machine does not see the workspace
        self._mark = Path("scratch") / f"cluster-{uuid.uuid4().hex}"
        path = workspace.scratch(self._mark.name) / "seen"
        path.touch()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for flight in self._flights.values():
                self._machines.end(flight.stream)
            self._machines.close()
        finally:
            self.workspace.clear_scratch(self._mark.name)
            super().__exit__(kind, error, trace)

    def find(self, stage: str, job: object) -> Outcome | None:
        """As of :class:`Executor`; what ended beside others is told as done by this run, at the little it cost."""
        landed = self._landed.pop(key_of(stage, job, self._processes), None) if self._landed else None
        return landed or super().find(stage, job)

    def begin(self, stage: str, job: object) -> None:
        """Send a training that will be asked for, unless it is known or on its way."""
        key = key_of(stage, job, self._processes)
        known = stage not in TRAINING or key in self._flights or key in self._landed
        if known or super().find(stage, job) is not None:
            return
        assert isinstance(job, (TrainJob, ThroughputJob))
        request = Request(
            str(self.workspace.root),
            str(self._mark / "seen"),
            stage,
            to_plain(job),
            digest(job),
            self._processes,
            self._files(job) if self._away else None,
        )
        name, _ = self._newest(stage, job)
        self._flights[key] = _Flight(name, stage, job, request, self._machines.send(request, _threads(job)))

    def do(self, stage: str, job: object, tell: Tell = silent) -> Outcome:
        """The outcome of a job: from the evidence, from the cluster, or, where it is no training, from this machine."""
        if stage not in TRAINING:
            for key, other in list(self._flights.items()):
                self._landed[key] = self.do(other.stage, other.job, tell)
            return super().do(stage, job, tell)
        asked = time.monotonic()
        self.begin(stage, job)
        flight = self._flights.get(key_of(stage, job, self._processes))
        while flight is not None and not flight.error:
            outcome = self._hear(flight, tell, asked)
            if outcome is not None:
                return outcome
        if flight is None:
            return super().do(stage, job, tell)  # it is known
        del self._flights[key_of(stage, job, self._processes)]
        return self._record(flight.key, stage, job, flight.error, 0.0, 0.0)

    def _hear(self, awaited: _Flight, tell: Tell, asked: float) -> Outcome | None:
        """Listen for a moment to all that is under way; the outcome of the job that is waited for, once it is there."""
        under_way = {id(flight.stream): flight for flight in self._flights.values() if not flight.error}
        streams = [flight.stream for flight in under_way.values()]
        for stream in self._machines.heard(streams, _HEAR_S):
            flight = under_way[id(stream)]
            said = self._machines.next_of(stream)
            if said is not None and "progress" in said:
                if flight is awaited:
                    tell(said["progress"], said.get("share"))
            elif said is not None and "begun" in said:
                flight.began = flight.began or time.monotonic()
            elif said is not None and "away" in said:
                self._away = True
                self._resend(flight)
            else:
                outcome = self._answered(flight, said, asked if flight is awaited else None)
                if outcome is not None and flight is awaited:
                    return outcome
        return None

    def _answered(self, flight: _Flight, said: Mapping[str, Any] | None, asked: float | None) -> Outcome | None:
        """Record what came of a job; where it was lost, or may go better, send it again."""
        reply = dict(said["reply"]) if said is not None else _LOST
        if said is not None and "error" in reply and not said.get("shared", True):
            # This machine has the sources of the data, and files that options name.
            reply = self._attempt(flight.stage, flight.job, silent)
        if said is not None and "result" in reply and said.get("files"):
            try:
                bring(said["files"], self.workspace, self.workspace.scratch(digest(flight.job)))
            except StorageError as error:
                reply = {"error": str(error), "kind": "StorageError"}
        if said is None:
            flight.lost += 1
        elif is_transient(reply):
            flight.failed += 1
        if (said is None and flight.lost < ATTEMPTS) or (is_transient(reply) and 0 < flight.failed < 2):
            self._resend(flight)
            return None
        if "error" in reply:
            flight.error = reply
            return None
        now = time.monotonic()
        cost = now - asked if asked is not None else 0.0  # beside another it costs the run no time of its own
        outcome = self._record(flight.key, flight.stage, flight.job, reply, now - (flight.began or now), cost)
        key = key_of(flight.stage, flight.job, self._processes)
        del self._flights[key]
        if asked is None:
            self._landed[key] = outcome
        return outcome

    def _resend(self, flight: _Flight) -> None:
        files = self._files(flight.job) if self._away else None
        flight.request = Request(**{**vars(flight.request), "files": files})
        flight.stream = self._machines.send(flight.request, _threads(flight.job))

    def _files(self, job: TrainJob | ThroughputJob) -> tuple[Sent, ...]:
        """All that a machine needs for a job: prepared samples, and weights that the job names."""
        training = job.train if isinstance(job, ThroughputJob) else job
        name = digest([training.data, training.network.input_size, training.network.encoding])
        if name not in self._arranged:
            reply = super()._attempt("arrange", training, silent)
            made = from_plain(ArrangeResult, reply["result"]) if "result" in reply else ArrangeResult(())
            self._arranged[name] = made.files
        objects = mentioned(to_plain(job), self.workspace.objects)
        root = self.workspace.root
        paths = [*self._arranged[name], *(str(self.workspace.objects.path(o).relative_to(root)) for o in objects)]
        for file in send(root, (path for path in paths if path not in self._sent), self._machines.put):
            self._sent[file.path] = file
        return tuple(self._sent[path] for path in paths)


_LOST: Mapping[str, Any] = {
    "refusal": {"code": "CRASHED", "detail": "the process or the machine that trained it was lost, time and again"}
}


def _threads(job: TrainJob | ThroughputJob) -> int:
    return job.train.threads if isinstance(job, ThroughputJob) else job.threads
