"""In which order samples come, and how their rows are read: pure functions of seed, epoch and position.

Data that fits into memory is shuffled whole, and its rows are read where they lie: the system keeps the file in memory.
A file larger than that would be read from the disk at every step, a few kilobytes here and there. So its order is drawn
in two stages: blocks of neighbouring rows are shuffled, then the rows within a window of many blocks; a window is read
block by block and held while its batches are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import RawIOBase
from pathlib import Path

import numpy as np

from sartor.errors import DataError
from sartor.prepared import Array
from sartor.stages.train._ahead import Ahead

BLOCK_BYTES = 256 << 10
"""Rows that are read together: from here on a solid-state disk reads random pieces about as fast as whole files."""

WINDOW_BYTES = 256 << 20
"""Rows that are shuffled among each other, at most; as much again is read while they are learnt from."""

WINDOW_PARTS = 128  # of the memory there is, a window is one at most; up to three are held, by every rank of a machine
LARGE_SHARE = 0.5  # of the memory there is: what a file may take of it and still stay in it, beside the training


def window_for(rows: int, row_bytes: int, memory: int) -> int:
    """How many rows are shuffled among each other; 0 for all, where the data fits into memory.

    Args:
        rows: of the split that is learnt from.
        row_bytes: of a sample and its target, as stored.
        memory: of the machine, or what of it this process may take; bytes.
    """
    if rows * row_bytes <= LARGE_SHARE * memory:
        return 0
    block = block_rows(row_bytes)
    return block * max(1, min(WINDOW_BYTES, memory // WINDOW_PARTS) // (block * row_bytes))


def block_rows(row_bytes: int) -> int:
    """Neighbouring rows that are read together."""
    return max(1, BLOCK_BYTES // max(1, row_bytes))


def shuffled_in_windows(generator: np.random.Generator, rows: int, block: int, window: int) -> tuple[Array, Array]:
    """Every row once: blocks in any order, and within a window of blocks rows in any order.

    Args:
        generator: of the epoch.
        rows: how many there are.
        block: rows of one.
        window: rows of one, which holds whole blocks.

    Returns:
        (rows,) the order, and (windows + 1,) the positions in it between which each window lies.
    """
    blocks = generator.permutation(-(-rows // block))
    per_window = max(1, window // block)
    order, bounds = np.empty(rows, np.int64), [0]
    for first in range(0, len(blocks), per_window):
        starts = blocks[first : first + per_window, None] * block + np.arange(block)
        members = starts[starts < rows]
        order[bounds[-1] : bounds[-1] + len(members)] = generator.permutation(members)
        bounds.append(bounds[-1] + len(members))
    return order, np.array(bounds, np.int64)


class Windows:
    """Rows of arrays on disk by window, each read in whole blocks by a thread, one window ahead.

    Args:
        arrays: of equal length; those that are no files are read where they are.
        order: an epoch's order of the rows, and the bounds of its windows (see :func:`shuffled_in_windows`).
    """

    def __init__(self, arrays: tuple[Array, ...], order: Callable[[int], tuple[Array, Array]]) -> None:
        self._arrays, self._order = arrays, lru_cache(2)(order)  # that of the epoch, and of the next one's first window
        self._windows = len(self._order(0)[1]) - 1  # of every epoch
        self._held: dict[int, tuple[Array, tuple[Array, ...]]] = {}  # window -> its rows, sorted, and their contents
        self._ahead: Ahead[tuple[Array, tuple[Array, ...]]] = Ahead(self._read, 1)

    def rows(self, epoch: int, start: int, end: int) -> tuple[Array, ...]:
        """Of each array, what lies at these positions of an epoch's order, sorted by row."""
        order, bounds = self._order(epoch)
        earlier = epoch * self._windows  # windows are numbered on from epoch to epoch
        first, last = (int(place) for place in np.searchsorted(bounds, (start, end - 1), side="right") - 1)
        self._held = {number: held for number, held in self._held.items() if first <= number - earlier <= last}
        found: list[tuple[Array, tuple[Array, ...]]] = []
        for window in range(first, last + 1):
            if earlier + window not in self._held:
                self._held[earlier + window] = self._ahead.take(earlier + window)
            members, contents = self._held[earlier + window]
            chosen = np.sort(order[max(start, bounds[window]) : min(end, bounds[window + 1])])
            places = np.searchsorted(members, chosen)
            found.append((chosen, tuple(content[places] for content in contents)))
        if len(found) == 1:
            return found[0][1]
        by_row = np.argsort(np.concatenate([chosen for chosen, _ in found]))
        return tuple(np.concatenate(parts)[by_row] for parts in zip(*(parts for _, parts in found), strict=True))

    def close(self) -> None:
        """End the thread."""
        self._ahead.close()

    def _read(self, number: int) -> tuple[Array, tuple[Array, ...]]:
        epoch, window = divmod(number, self._windows)
        order, bounds = self._order(epoch)
        members = np.sort(order[bounds[window] : bounds[window + 1]])
        return members, tuple(read_rows(array, members) for array in self._arrays)


def read_rows(array: Array, rows: Array) -> Array:
    """Rows of an array; those of a file are read from it, neighbours at once, and not through its map.

    Pages of a map come one fault at a time, and count as this process's memory until the system takes them away.

    Args:
        array: (n, …).
        rows: sorted, each once.

    Raises:
        DataError: the file cannot be read any more.
    """
    if not isinstance(array, np.memmap) or array.filename is None or not array.flags.c_contiguous or not array.nbytes:
        return array[rows]
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    content, size = found.reshape(-1).data.cast("B"), array.strides[0]
    path = Path(array.filename)
    try:
        with path.open("rb", buffering=0) as file:
            begin = 0
            for end in (np.flatnonzero(np.diff(rows, append=-1) != 1) + 1).tolist():
                file.seek(array.offset + int(rows[begin]) * size)
                _fill(file, content[begin * size : end * size])
                begin = end
    except OSError as error:
        raise DataError(
            f"{path} cannot be read any more ({error.strerror or error}); prepare the data again"
        ) from error
    return found


def _fill(file: RawIOBase, target: memoryview) -> None:
    while target:
        count = file.readinto(target)
        if not count:
            raise OSError("it ends too early")
        target = target[count:]
