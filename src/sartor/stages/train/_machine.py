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
    """A CUDA device where there is one (each rank of a machine has its own), else Apple's GPU, else the CPU.

    AMD's GPUs are CUDA devices to torch built for ROCm: the same names, the same code.
    """
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % max(1, torch.cuda.device_count()))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def training_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it natively; on a CUDA device without it fp16, with scaled losses; else fp32.

    Decided by capability and not by a stopwatch, so that the same job gives the same weights on the same machine.
    torch names no AMX capability itself, therefore the CPU's flags are read. Apple's GPUs stay with fp32: nobody
    measured here that less pays on them.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float32
    return torch.bfloat16 if {"amx_bf16", "avx512_bf16"} & _cpu_flags() else torch.float32


def multiply_fast() -> None:
    """Products of fp32 in TF32 on CUDA devices that have it, while training; CPUs keep to fp32."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def multiply_exactly() -> None:
    """Products of fp32 as they are, for the last look at what is exported in fp32."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False


def sum_dtype(device: torch.device) -> torch.dtype:
    """In which losses are added up: doubles, where the device has any."""
    return torch.float32 if device.type == "mps" else torch.float64


def free_memory(device: torch.device) -> int:
    """Bytes that a training may still take on its device: none of others is pushed out for it.

    On the CPU, and where CPU and GPU share their memory: what the system calls available, within the limit of this
    process's control group.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    left = whole_memory() - psutil.Process().memory_info().rss
    return max(0, min(int(psutil.virtual_memory().available), left))


def whole_memory() -> int:
    """Bytes of the machine's memory, or of what its control group lets this process take."""
    from sartor.catalog.devices import _machine

    return _machine.usable_memory_bytes()


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


def ranks_here() -> int:
    """How many processes of this training share the machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def settle(threads: int) -> None:
    """Pin the number of CPU threads; a second pool for independent operators would only compete with it."""
    torch.set_num_threads(max(1, threads))
    with suppress(RuntimeError):  # can be set once per process, before any parallel work
        torch.set_num_interop_threads(1)
