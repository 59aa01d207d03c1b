"""What the machine offers for training: the device, and whether bf16 pays on it."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from sartor.cpu_load import CpuTimes, load_between, read_cpu_times

NOISY_LOAD = 0.15
"""Share of the cores taken by others beyond which a rate says little: threads that wait for each other all wait for the
one that was put aside."""


def training_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it natively, else fp32.

    Decided by capability and not by a stopwatch, so that the same job gives the same weights on the same machine.
    torch names no AMX capability itself, therefore the CPU's flags are read.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if {"amx_bf16", "avx512_bf16"} & _cpu_flags() else torch.float32


def foreign_load(before: CpuTimes) -> float:
    """The share of the machine's cores that others have taken since a reading."""
    return load_between(before, read_cpu_times(), os.cpu_count() or 1).share


@cache
def _cpu_flags() -> frozenset[str]:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def settle(threads: int) -> None:
    """Pin the number of CPU threads; a second pool for independent operators would only compete with it."""
    torch.set_num_threads(max(1, threads))
    with suppress(RuntimeError):  # can be set once per process, before any parallel work
        torch.set_num_interop_threads(1)
