"""Work done in order on two threads, and work done by one process while others wait."""

from __future__ import annotations

import fcntl
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sartor.storage import telling_disk_errors

THREADS = 2


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
    """``make`` of every item, in order, on two threads, never more than ``ahead`` results waiting.

    Threads suffice: Pillow's decoders and resampling and the digests release the interpreter's lock, and there is
    nothing to start, to pickle or to be left behind by a kill.
    """
    pending: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
