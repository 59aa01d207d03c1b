"""What every child process of this stage does: die with its parent, keep its words apart, answer in one file.

Kept small: it is part of the process whose memory and start are measured.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sartor.errors import SartorError, Unsupported

Say = Callable[[str], None]
Work = Callable[[Path, Mapping[str, Any], Say], Mapping[str, Any]]

_SHARE_OF_MEMORY = 0.9  # a model that wants more gets an error instead of taking the machine down
_PR_SET_PDEATHSIG = 1


def answer(work: Work) -> None:
    """Run ``work(folder, request, say)`` on the folder named on the command line and write ``result.json`` there.

    ``say`` sends the parent a line and with it a sign of life.
    """
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    _die_with(request["parent"])
    _bound_memory()
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is not part of the conversation

    def say(line: str) -> None:
        out.write(line + "\n")

    try:
        result = work(folder, request, say)
    except Unsupported as refusal:
        result = {"refusal": {"code": refusal.code, "detail": refusal.detail}}
    except SartorError as error:
        result = {"error": str(error), "kind": type(error).__name__}
    except MemoryError:
        result = {"refusal": {"code": "OOM", "detail": "the process that ran the model ran out of memory"}}
    temporary = folder / "result.json.part"
    temporary.write_text(json.dumps(result), encoding="utf-8")
    temporary.replace(folder / "result.json")


def _die_with(parent: int) -> None:
    """Ask Linux to end this process with its parent, even when that is ended by kill -9."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


def _bound_memory() -> None:
    """Let an allocation beyond what the machine has free fail here, and let the kernel end this process first."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    available = _available_bytes()
    if available:
        limit = int(available * _SHARE_OF_MEMORY)
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def peak_memory_bytes() -> int:
    """Most memory this process ever held (resident, the whole process)."""
    if sys.platform.startswith("linux"):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
