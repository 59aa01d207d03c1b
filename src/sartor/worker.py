"""A process that runs stages for the executor: one JSON line in per job, JSON lines of progress and one result out.

Run as ``python -m sartor.worker WORKSPACE``. It ends when its standard input closes or its parent dies.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sartor.codec import from_plain, to_plain
from sartor.errors import SartorError, Unsupported
from sartor.evidence import Workspace

STAGES = {
    "prepare": "sartor.stages.data:prepare",
    "translate": "sartor.stages.translate:translate",
    "describe": "sartor.stages.predict:describe",
    "export": "sartor.stages.compress:export",
    "compress": "sartor.stages.compress:compress",
    "measure": "sartor.stages.measure:measure",
    "time_graphs": "sartor.stages.measure:time_graphs",
    "compare": "sartor.stages.measure:compare",
    "evaluate": "sartor.stages.measure:evaluate",
    "explain": "sartor.stages.measure:explain",
    "throughput": "sartor.stages.train:probe_throughput",
    "train": "sartor.stages.train:train",
    "arrange": "sartor.stages.train:arrange",
}
"""Stage name to its public function ``(job, workspace, tell) -> result``."""

PROGRESS_EVERY_S = 0.2


def load_stage(name: str) -> tuple[Callable[..., Any], type, type]:
    """A stage's function with the types of its job and its result."""
    module, _, function = STAGES[name].partition(":")
    stage = getattr(importlib.import_module(module), function)
    hints = typing.get_type_hints(stage)
    return stage, hints["job"], hints["return"]


def main() -> None:
    """Serve jobs until the input ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to stderr, not into the protocol
    workspace = Workspace(Path(sys.argv[1]))
    last = 0.0

    def tell(text: str, share: float | None = None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY_S or share in (0.0, 1.0):
            last = now
            _say(out, {"progress": text, "share": share})

    _say(out, {"ready": os.getpid()})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            stage, job_type, _ = load_stage(request["stage"])
            result = stage(from_plain(job_type, request["job"]), workspace, tell)
            _say(out, {"result": to_plain(result)})
        except Unsupported as refusal:
            _say(out, {"refusal": {"code": refusal.code, "detail": refusal.detail}})
        except SartorError as error:
            _say(out, {"error": str(error), "kind": type(error).__name__})
        except MemoryError:
            _say(out, {"refusal": {"code": "OOM", "detail": f"{request['stage']} ran out of memory"}})
        except Exception as error:
            trace = traceback.format_exc()
            print(trace, file=sys.stderr)
            last_line = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
            _say(out, {"refusal": {"code": "FAILED", "detail": f"{request['stage']}: {last_line}", "trace": trace}})


def _say(out: typing.TextIO, message: object) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, even by kill -9; elsewhere the closed input does it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit(1)


if __name__ == "__main__":
    main()
