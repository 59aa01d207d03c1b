"""Starts a fresh process, listens to it, and ends it: a crash, a hang or a lack of memory is a reason, never ours."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sartor.errors import SartorError, StorageError, Unsupported, rebuild

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_LAST_WORDS_BYTES = 8192
_GRACE_S = 5.0
_NO_MEMORY = re.compile(r"MemoryError|bad_alloc|[Cc]annot allocate memory|[Ff]ailed to allocate|out of memory", re.I)
_NO_SPACE = re.compile(r"No space left on device")


@dataclass(frozen=True)
class Patience:
    """How long a child may take.

    Args:
        silence_s: without a line from it; loading a model and one call must each end within.
        total_s: altogether.
    """

    silence_s: float = 60.0
    total_s: float = 3600.0


def run_child(
    module: str,
    folder: Path,
    request: Mapping[str, Any],
    *,
    threads: int,
    patience: Patience | None = None,
    listen: Callable[[str], None] = lambda line: None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run ``python -m module folder`` and return what it wrote to ``folder/result.json``.

    Args:
        module: calls :func:`sartor.stages.measure.child.answer`.
        folder: for the request, the result and whatever else the child needs.
        request: JSON values; ``parent`` and ``started`` are added.
        threads: for the libraries that read their number of threads from the environment.
        patience: see there.
        listen: told every line the child says.
        variables: of its environment, beside those of this process.

    Raises:
        Unsupported: ``CRASHED``, ``TIMEOUT`` or ``OOM`` with its last words, or what the child itself declined with.
        SartorError: the child's, as it raised it.
    """
    patience = patience or Patience()
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    own = {**dict.fromkeys(THREAD_VARIABLES, str(threads)), "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **own, **(variables or {})}
    started = time.monotonic()
    plain = json.dumps({**request, "parent": os.getpid(), "started": started})
    (folder / "request.json").write_text(plain, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
        start_new_session=True,  # so that whatever it starts can be ended with it
    )
    try:
        last_words = _listen(process, listen, patience, started)
        with contextlib.suppress(subprocess.TimeoutExpired):  # its pipes are closed, so it is about to end
            process.wait(_GRACE_S)
    finally:
        _end(process)
    return _read(result, process.returncode, last_words)


def _listen(
    process: subprocess.Popen[bytes], listen: Callable[[str], None], patience: Patience, started: float
) -> bytes:
    """Pass on the child's lines until both its pipes close; returns the end of its standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    said, last_words, heard = b"", b"", started
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            silent_until, last_moment = heard + patience.silence_s, started + patience.total_s
            ready = selector.select(max(0.0, min(silent_until, last_moment) - time.monotonic()))
            now = time.monotonic()
            if now >= last_moment:
                raise Unsupported("TIMEOUT", f"the model did not come to an end within {patience.total_s:g} s")
            if not ready and now >= silent_until:
                raise Unsupported("TIMEOUT", f"one step of the model did not end within {patience.silence_s:g} s")
            for key, _ in ready:
                pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
                chunk = os.read(pipe.fileno(), 65536)
                if not chunk:
                    selector.unregister(pipe)
                elif pipe is process.stderr:
                    last_words = (last_words + chunk)[-_LAST_WORDS_BYTES:]
                else:
                    heard = time.monotonic()
                    *lines, said = (said + chunk).split(b"\n")
                    for line in lines:
                        listen(line.decode(errors="replace"))
    return last_words


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that the child and all it started are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _read(result: Path, code: int, last_words: bytes) -> dict[str, Any]:
    text = last_words.decode(errors="replace")
    if result.is_file():  # written whole; some runtimes crash only when they are torn down
        answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        if "refusal" in answer:
            raise Unsupported(answer["refusal"]["code"], answer["refusal"]["detail"])
        if "error" in answer:
            raise rebuild(answer["kind"], answer["error"])
        return answer
    raise _cause(code, text)


def _cause(code: int, text: str) -> SartorError:
    """Why a child ended without an answer."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if _NO_SPACE.search(text):
        return StorageError("no space left on the disk of the workspace; free some, then run the same again")
    if _NO_MEMORY.search(text):
        return Unsupported("OOM", f"the process that ran the model ran out of memory{last}")
    if code == -signal.SIGKILL:
        return Unsupported("OOM", "the process that ran the model was killed, as happens when memory runs out")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Unsupported("CRASHED", f"the process that ran the model ended with {how}{last}")
