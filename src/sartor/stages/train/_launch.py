"""Starts a training on several processes of this machine, by torchrun, and waits for its result; no torch here."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sartor.codec import canonical_json
from sartor.errors import Unsupported, rebuild
from sartor.jobs import ThroughputJob, TrainJob
from sartor.progress import Tell
from sartor.stages.train.environment import PROCESSES

RESTARTS = 4  # of all ranks from the checkpoint, after one of them died
RANK = "sartor.stages.train.rank"  # what torchrun starts
_ANSWER = "answer.json"  # of the ranks, in the scratch folder


def wanted_processes() -> int:
    """How many processes a training is to run on, as the environment says, or one per CUDA device."""
    asked = os.environ.get(PROCESSES, "").strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    import torch

    return max(1, torch.cuda.device_count())


def is_rank() -> bool:
    """True in a process that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launch(
    job: TrainJob | ThroughputJob, root: Path, scratch: Path, processes: int, tell: Tell, threads: int
) -> Mapping[str, Any]:
    """Run a job on so many ranks; the plain result of the leading one.

    torchrun starts all of them again from the newest checkpoint where one dies, a few times.

    Args:
        job: what is to be done.
        root: the workspace's folder.
        scratch: of the job; ranks leave their answer there.
        processes: at least 2.
        tell: hears the leading rank's progress.
        threads: of the CPU, for all ranks together.

    Raises:
        Unsupported: what the ranks declined with, or ``CRASHED`` with their last words.
        SartorError: the user's problem, as one of them raised it.
    """
    answer, asked = scratch / _ANSWER, scratch / "job.json"
    answer.unlink(missing_ok=True)
    write_job(job, asked)
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(processes)]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--max-restarts", str(RESTARTS)]
    command += ["--module", RANK, str(root), str(asked)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, threads // processes))}
    agent = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        preexec_fn=die_with_parent,
    )
    words: deque[str] = deque(maxlen=50)
    try:
        assert agent.stdout is not None
        for line in agent.stdout:
            message = _progress(line)
            if message is None:
                words.append(line.rstrip())
            else:
                tell(message["progress"], message.get("share"))
        agent.wait()
    finally:
        if agent.poll() is None:
            agent.terminate()  # torchrun then ends its ranks
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(timeout=10)
            agent.kill()
        if agent.stdout is not None:
            agent.stdout.close()
        agent.wait()
    return _read(answer, words, processes)


def write_job(job: TrainJob | ThroughputJob, path: Path) -> None:
    """Write a job as ranks read it (``sartor.stages.train.rank``), for a torchrun that is started by hand."""
    path.write_text(canonical_json({"kind": type(job).__name__, "job": job}))


def write_answer(scratch: Path, answer: Mapping[str, Any]) -> None:
    """Leave what came of a job for the process that launched the ranks."""
    path = scratch / f"{_ANSWER}.{os.getpid()}"
    path.write_text(canonical_json(answer))
    path.replace(scratch / _ANSWER)


def has_answer(scratch: Path) -> bool:
    """True when a rank has answered."""
    return (scratch / _ANSWER).exists()


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, even by kill -9."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def _progress(line: str) -> dict[str, Any] | None:
    begins = max(0, line.find('{"progress"'))  # what libraries write piece by piece may stand before it
    with contextlib.suppress(ValueError):
        found, _ = json.JSONDecoder().raw_decode(line[begins:])
        if isinstance(found, dict) and "progress" in found:
            return found
    return None


def _read(path: Path, words: deque[str], processes: int) -> Mapping[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        telling = [line for line in words if "Error" in line]
        last = (telling or [line for line in words if line.strip()] or [""])[-1].strip()
        raise Unsupported("CRASHED", f"a training on {processes} processes ended early: {last[:300]}") from None
    if "refusal" in answer:
        raise Unsupported(answer["refusal"]["code"], answer["refusal"]["detail"])
    if "error" in answer:
        raise rebuild(answer["kind"], answer["error"])
    result: dict[str, Any] = answer["result"]
    return result
