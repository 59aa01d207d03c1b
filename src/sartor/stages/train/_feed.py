"""Batches from prepared samples on disk, in an order that is a pure function of seed, epoch and step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sartor.catalog.contracts import Task
from sartor.prepared import Array
from sartor.stages.train._ahead import Ahead, all_ahead
from sartor.stages.train._order import Windows, block_rows, shuffled_in_windows

_MIX = 0x9E3779B97F4A7C15  # keeps seeds of neighbouring epochs and steps apart


def seed_of(*parts: int) -> int:
    """One 63-bit seed from several numbers, by SplitMix64's finaliser."""
    value = 0
    for part in parts:
        value = (value ^ (part + _MIX)) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1


AHEAD, AHEAD_BYTES = 4, 256 << 20  # batches that are read before they are asked for, and what they take at most
SMALL_BYTES = 64 << 20
"""Data that a CPU learns from without a thread that reads ahead: it stays in memory, and steps may be short."""


class Feed:
    """Shuffled training batches by step number; nothing to save for a resume but ``window``.

    The batches of the next steps are read by a thread meanwhile, and for CUDA pinned. Which rows a batch has, and in
    which order, hangs on seed, epoch, step and ``window`` alone.

    Args:
        samples: (n, …) prepared, memory-mapped; only the rows of a batch are read.
        targets: (n, …), as the task's ``target`` makes them.
        batch_size: of every batch; the remainder of an epoch is left out, a new one each epoch.
        window: rows that are shuffled among each other; 0 for all (see :mod:`sartor.stages.train._order`).
    """

    def __init__(
        self, samples: Array, targets: Array, batch_size: int, seed: int, device: torch.device, window: int = 0
    ) -> None:
        self.samples, self.targets, self.device, self.window = samples, targets, device, window
        self.batch_size = min(batch_size, len(targets))
        self.steps_per_epoch = max(1, len(targets) // self.batch_size)
        self._seed = seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)
        self._windows = Windows((samples, targets), self._in_windows) if window else None
        small = samples.nbytes + targets.nbytes <= SMALL_BYTES and device.type != "cuda" and not window
        self.ahead = 0 if small else max(1, min(AHEAD, AHEAD_BYTES // max(1, self.row_bytes)))
        self._reader: Ahead[tuple[Tensor, Tensor]] = Ahead(self._read, self.ahead, device)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Samples (batch, …) and targets (batch, …) of a step, on the device.

        Raises:
            DataError: the data cannot be read any more.
        """
        try:
            samples, targets = self._reader.take(step)
        except BaseException:
            self.close()
            raise
        return moved(samples, self.device), moved(targets, self.device)

    def close(self) -> None:
        """End the threads that read ahead."""
        self._reader.close()
        if self._windows is not None:
            self._windows.close()

    def _read(self, step: int) -> tuple[Tensor, Tensor]:
        epoch, position = divmod(step, self.steps_per_epoch)
        start, end = position * self.batch_size, (position + 1) * self.batch_size
        if self._windows is not None:
            samples, targets = self._windows.rows(epoch, start, end)
        else:
            if epoch != self._epoch:
                self._epoch, self._order = epoch, self._generator(epoch).permutation(len(self.targets))
            chosen = np.sort(self._order[start:end])
            samples, targets = self.samples[chosen], self.targets[chosen]
        return as_tensor(samples, self.device), as_tensor(targets, self.device)

    def _in_windows(self, epoch: int) -> tuple[Array, Array]:
        return shuffled_in_windows(self._generator(epoch), len(self.targets), block_rows(self._each), self.window)

    def _generator(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng(seed_of(self._seed, 1, epoch))

    @property
    def _each(self) -> int:
        return int(self.samples[:1].nbytes + self.targets[:1].nbytes)

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that batches take before they are learnt from: that of a step, those ahead, and windows."""
        return (1 + self.ahead) * self.row_bytes + 3 * self.window * self._each

    @property
    def order(self) -> str:
        """How samples are shuffled, for people."""
        if not self.window:
            return "all rows"
        return f"blocks of {block_rows(self._each)} rows, then the rows of {self.window} among each other"

    @property
    def row_bytes(self) -> int:
        """Bytes of a batch as it is stored."""
        return self.batch_size * self._each

    def generator(self, step: int) -> torch.Generator:
        """Randomness of a step's augmentation, on the CPU."""
        return torch.Generator().manual_seed(seed_of(self._seed, 2, step))

    def layer_seed(self, step: int, part: int = 0) -> int:
        """Seed of what the network itself draws in a part of a step (dropout)."""
        return seed_of(self._seed, 3, step, part) if part else seed_of(self._seed, 3, step)


def in_sequence(
    samples: Array, targets: Array, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples once, in stored order, the next batch read meanwhile."""

    def read(number: int) -> tuple[Tensor, Tensor]:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        return as_tensor(np.array(samples[rows]), device), as_tensor(np.array(targets[rows]), device)

    for inputs, truths in all_ahead(read, -(-len(targets) // batch_size), reads_ahead(samples, device)):
        yield moved(inputs, device), moved(truths, device)


def reads_ahead(samples: Array, device: torch.device) -> int:
    """How many batches are read ahead where each sample is read once, in stored order."""
    return 0 if samples.nbytes <= SMALL_BYTES and device.type != "cuda" else 1


def scaled(task: Task, targets: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
    """Targets as the loss takes them: brought to scale by tasks of numbers."""
    scale = getattr(task, "scale", None)
    return targets if scale is None else scale(targets, statistics)


def channels_last(batch: Tensor) -> Tensor:
    """Pictures (n, c, h, w) with channels last in memory, which convolutions like best; anything else as it is."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def as_tensor(rows: Array, device: torch.device) -> Tensor:
    """An array as a tensor in memory, pinned where it goes to CUDA; doubles become floats."""
    if rows.dtype == np.float64:
        rows = rows.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(rows))
    return tensor.pin_memory() if device.type == "cuda" else tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of :func:`as_tensor` on the device, copied asynchronously where that exists."""
    return tensor.to(device, non_blocking=device.type == "cuda")
