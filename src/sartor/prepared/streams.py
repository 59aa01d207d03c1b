"""Work done in order on several threads, and work done by one process while others wait."""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sartor.storage import telling_disk_errors

MOST_THREADS = 16


def usable_threads() -> int:
    """Threads that decode: one per core this process may use, at least two, as one waits for the disk at times."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(MOST_THREADS, cores))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes ``path``; the lock goes with the process, however it ends."""
    with telling_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


Item = TypeVar("Item")
Made = TypeVar("Made")


def in_order(make: Callable[[Item], Made], items: Iterable[Item], *, ahead: int = 32) -> Iterator[Made]:
    """``make`` of every item, in order, on as many threads as there are cores; never more than ``ahead`` results wait.

    Threads suffice: Pillow's decoders and resampling and the digests release the interpreter's lock, and there is
    nothing to start, to pickle or to be left behind by a kill.
    """
    pending: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(min(ahead, usable_threads()))
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
