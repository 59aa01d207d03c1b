"""Batches from prepared samples on disk, in an order that is a pure function of seed, epoch and step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sartor.catalog.contracts import Task
from sartor.prepared import Array

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


class Feed:
    """Shuffled training batches by step number; nothing to save for a resume.

    Args:
        samples: (n, …) prepared, memory-mapped; only the rows of a batch are read.
        targets: (n, …), as the task's ``target`` makes them.
        batch_size: of every batch; the remainder of an epoch is left out, a new one each epoch.
    """

    def __init__(self, samples: Array, targets: Array, batch_size: int, seed: int, device: torch.device) -> None:
        self.samples, self.targets, self.device = samples, targets, device
        self.batch_size = min(batch_size, len(targets))
        self.steps_per_epoch = max(1, len(targets) // self.batch_size)
        self._seed = seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Samples (batch, …) and targets (batch, …) of a step, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = np.random.default_rng(seed_of(self._seed, 1, epoch))
            self._epoch, self._order = epoch, generator.permutation(len(self.targets))
        chosen = np.sort(self._order[position * self.batch_size : (position + 1) * self.batch_size])
        return to_device(self.samples[chosen], self.device), to_device(self.targets[chosen], self.device)

    @property
    def row_bytes(self) -> int:
        """Bytes of a batch as it is stored."""
        return self.batch_size * (self.samples[:1].nbytes + self.targets[:1].nbytes)

    def generator(self, step: int) -> torch.Generator:
        """Randomness of a step's augmentation, on the CPU."""
        return torch.Generator().manual_seed(seed_of(self._seed, 2, step))

    def layer_seed(self, step: int, part: int = 0) -> int:
        """Seed of what the network itself draws in a part of a step (dropout)."""
        return seed_of(self._seed, 3, step, part) if part else seed_of(self._seed, 3, step)


def in_sequence(
    samples: Array, targets: Array, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples once, in stored order."""
    for start in range(0, len(targets), batch_size):
        rows = slice(start, start + batch_size)
        yield to_device(np.array(samples[rows]), device), to_device(np.array(targets[rows]), device)


def scaled(task: Task, targets: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
    """Targets as the loss takes them: brought to scale by tasks of numbers."""
    scale = getattr(task, "scale", None)
    return targets if scale is None else scale(targets, statistics)


def channels_last(batch: Tensor) -> Tensor:
    """Pictures (n, c, h, w) with channels last in memory, which convolutions like best; anything else as it is."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def to_device(rows: Array, device: torch.device) -> Tensor:
    """An array as a tensor on the device, copied asynchronously where that exists; doubles become floats."""
    if rows.dtype == np.float64:
        rows = rows.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(rows))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
