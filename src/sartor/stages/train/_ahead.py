"""Makes numbered things on a thread of its own before they are asked for. Needs torch only where a device is CUDA."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """What ``make`` gives for a number, with the next numbers under way while the caller works.

    A number out of turn is as right as any other: what was made in vain is dropped. What ``make`` raises is raised to
    whoever asks for that number. One thread does it all, in the order of the numbers, so ``make`` may keep a state.

    Args:
        make: what is made; a function of the number alone.
        ahead: the most that wait, or are being made, beside the one asked for; 0 for no thread at all.
        device: of which pinned memory is taken.
    """

    def __init__(self, make: Callable[[int], Made], ahead: int, device: torch.device | None = None) -> None:
        self._make, self._ahead, self._device = make, ahead, device
        self._pending: deque[tuple[int, Future[Made]]] = deque()
        self._thread: ThreadPoolExecutor | None = None

    def take(self, number: int, end: int | None = None) -> Made:
        """The thing of a number; nothing from ``end`` on is made ahead."""
        if self._ahead == 0:
            return self._make(number)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "sartor-ahead", self._begin)
        if self._pending and self._pending[0][0] != number:
            self._drop()
        last = number + self._ahead
        if end is not None:
            last = max(number, min(last, end - 1))
        for next_one in range(number + len(self._pending), last + 1):
            self._pending.append((next_one, self._thread.submit(self._make, next_one)))
        return self._pending.popleft()[1].result()

    def close(self) -> None:
        """End the thread; asked again, another one begins."""
        self._drop()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None

    def _drop(self) -> None:
        for _, future in self._pending:
            future.cancel()
        self._pending.clear()

    def _begin(self) -> None:
        if self._device is not None and self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # a thread begins on the first device, and would take memory there


def all_ahead(make: Callable[[int], Made], count: int, ahead: int) -> Iterator[Made]:
    """``make`` of 0, 1, … in order, the next ones under way."""
    reader = Ahead(make, ahead)
    try:
        for number in range(count):
            yield reader.take(number, count)
    finally:
        reader.close()
