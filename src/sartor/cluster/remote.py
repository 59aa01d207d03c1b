"""What runs on a machine of the cluster: one training in a process of its own, in the workspace or in a copy of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sartor
from sartor.cluster.files import Sent, mentioned, place
from sartor.errors import SartorError
from sartor.evidence import Workspace
from sartor.execute import WorkerProcess
from sartor.prepared.streams import alone
from sartor.stages.train.environment import training_environment

WORKSPACE = "SARTOR_CLUSTER_WORKSPACE"
"""Where a machine that does not see the workspace keeps what it was sent; ``~/.cache/sartor/cluster`` where absent."""


@dataclass(frozen=True)
class Request:
    """One job for a machine of the cluster.

    Args:
        root: the workspace.
        mark: path of a file in it, by which a machine knows that it sees the same one.
        stage: of ``sartor.worker.STAGES``.
        job: in its plain form.
        scratch: the job's digest.
        processes: as of the requirement.
        files: what a machine needs that does not see the workspace; None before one asked for them.
    """

    root: str
    mark: str
    stage: str
    job: Mapping[str, Any]
    scratch: str
    processes: int
    files: tuple[Sent, ...] | None = None


def version() -> str:
    """Of this package, on the machine that is asked."""
    return sartor.__version__


def serve(request: Request) -> Iterator[dict[str, Any]]:
    """Run a job; what it says on the way, then its ``reply``, with the contents of files made away from the workspace.

    Says ``begun`` first, or ``away`` where the machine does not see the workspace and was sent no files.
    """
    shared = (Path(request.root) / request.mark).is_file()
    if not shared and request.files is None:
        yield {"away": True}
        return
    workspace = Workspace(Path(request.root) if shared else _own_workspace())
    yield {"begun": True}
    try:
        if request.files is not None and not shared:
            place(request.files, workspace, _get)
        # One that was taken for lost may still be at work: both would write the same checkpoints.
        with alone(workspace.scratch(request.scratch) / "cluster"):
            yield from _replies(request, workspace, shared)
    except SartorError as error:
        yield {"reply": {"error": str(error), "kind": type(error).__name__}, "shared": shared}
    if not shared:
        workspace.clear_scratch(request.scratch)


def _replies(request: Request, workspace: Workspace, shared: bool) -> Iterator[dict[str, Any]]:
    process = WorkerProcess(workspace, training_environment(request.processes))
    try:
        for message in process.messages(request.stage, request.job):
            if "progress" in message:
                yield message
                continue
            made = [] if shared else mentioned(message.get("result"), workspace.objects)
            yield {
                "reply": message,
                "shared": shared,
                "files": {sha256: workspace.objects.path(sha256).read_bytes() for sha256 in made},
            }
            for sha256 in made:  # it is the head's now
                workspace.objects.path(sha256).unlink()
    finally:
        process.end()


def _own_workspace() -> Path:
    return Path(os.environ.get(WORKSPACE, "").strip() or Path.home() / ".cache" / "sartor" / "cluster")


def _get(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content
