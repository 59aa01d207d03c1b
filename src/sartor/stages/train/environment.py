"""What has to be in the environment before a training process starts; no torch here."""

from __future__ import annotations

import platform

_ALLOCATOR = (
    "glibc.malloc.hugetlb=1",  # huge pages where the kernel allows them by madvise
    "glibc.malloc.mmap_threshold=4294967296",  # no mapping, and no page faults, per activation tensor
    "glibc.malloc.trim_threshold=8589934592",  # keep memory between steps
    "glibc.malloc.top_pad=268435456",
)


_WAITING = {"GOMP_SPINCOUNT": "10000"}  # turns a thread spins at a barrier, some tens of microseconds; then it sleeps


CUT = "SARTOR_CUT"
"""1 where the ranks of a training are to share the network's memory, whether it fits whole or not."""

PROCESSES = "SARTOR_PROCESSES"
"""On how many processes a training runs; one per CUDA device, or one, where absent or 0."""


def training_environment(processes: int = 0) -> dict[str, str]:
    """Variables for the process that trains: how its threads wait, with glibc how memory is kept, how many share a job.

    Threads that spin at the end of every layer take the cores from those they wait for when other work runs; threads
    that sleep at once wake up too late for small layers. Samples per second on two quiet cores, usual against short
    spinning against none: 13,000, 10,300 and 4,600 (ResNet-9, 8 × 8 pixels), 3,100, 4,100 and 3,300 (32 × 32), 3,330,
    3,280 and 2,570 (convolutions over texts); beside a busy process it makes no difference to the usual. Not handing
    activations back to the kernel after every step gave 14 to 45 percent (two cores with AMX, bf16, channels last).
    """
    shared = {PROCESSES: str(processes)} if processes else {}
    if platform.libc_ver()[0] != "glibc":
        return _WAITING | shared
    return {**_WAITING, **shared, "GLIBC_TUNABLES": ":".join(_ALLOCATOR)}
