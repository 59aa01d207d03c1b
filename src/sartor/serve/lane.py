"""One lane to one model: bounded, with a deadline, watched.

A session serves one call at a time, so requests queue; beyond the bound they are turned away at once, which keeps the
accepted ones fast. A call that never ends cannot be stopped inside a process, so the process ends and is replaced.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from sartor.errors import DataError
from sartor.serve.guard import Problem

_Answer = TypeVar("_Answer")
_EXIT_HUNG, _EXIT_ORPHANED = 70, 71


class Lane:
    """Runs calls on the model one after the other in a thread of their own."""

    def __init__(self, max_waiting: int, deadline_s: float, hang_s: float) -> None:
        self.max_waiting, self.deadline_s, self.hang_s = max_waiting, deadline_s, hang_s
        self.admitted = 0
        self.outcomes: Counter[str] = Counter()
        self.seconds = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._since: float | None = None

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, held from before the body is read until the answer is made.

        Raises:
            Problem: 503, no place is free.
        """
        if self.admitted >= self.max_waiting:
            self.outcomes["turned away"] += 1
            raise Problem(503, "the server is busy; try again in a second", {"retry-after": "1"})
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def call(self, work: Callable[[], _Answer]) -> _Answer:
        """Run ``work`` in turn.

        Raises:
            Problem: 422 for input that cannot be used, 504 when the deadline passes.
        """
        future = self._thread.submit(self._watched, work)
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(future), self.deadline_s)
        except TimeoutError:
            future.cancel()  # if it has not begun, it never will
            self.outcomes["late"] += 1
            raise Problem(504, f"no answer within {self.deadline_s:g} s; try again later") from None
        except DataError as error:
            self.outcomes["bad input"] += 1
            raise Problem(422, str(error)) from None
        except Exception:
            self.outcomes["failed"] += 1
            raise
        self.outcomes["answered"] += 1
        return answer

    def _watched(self, work: Callable[[], _Answer]) -> _Answer:
        self._since = time.monotonic()
        try:
            return work()
        finally:
            self.seconds += time.monotonic() - self._since
            self._since = None

    def hung(self) -> bool:
        """True when the running call has been at it far too long."""
        since = self._since
        return since is not None and time.monotonic() - since > self.hang_s

    async def watch(self) -> None:
        """End this process when a call hangs, or when the process that watches over it is gone."""
        parent = os.getppid()
        while True:
            await asyncio.sleep(min(1.0, self.hang_s / 2))
            if self.hung():
                print(f"a call to the model did not end within {self.hang_s:g} s; restarting", file=sys.stderr)
                sys.stderr.flush()
                os._exit(_EXIT_HUNG)
            if os.getppid() != parent:
                os._exit(_EXIT_ORPHANED)
