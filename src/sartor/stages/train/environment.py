"""What has to be in the environment before a training process starts; no torch here."""

from __future__ import annotations

import platform

_ALLOCATOR = (
    "glibc.malloc.hugetlb=1",  # huge pages where the kernel allows them by madvise
    "glibc.malloc.mmap_threshold=4294967296",  # no mapping, and no page faults, per activation tensor
    "glibc.malloc.trim_threshold=8589934592",  # keep memory between steps
    "glibc.malloc.top_pad=268435456",
)


_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}  # threads sleep at a barrier and do not spin


def training_environment() -> dict[str, str]:
    """Variables for the process that trains: how its threads wait, and with glibc how memory is kept.

    Threads that spin at the end of every layer take the cores from those they wait for as soon as anything else runs:
    on two cores beside one busy process small networks of texts trained 8 times as fast without it (111, 92, 73
    against 731, 917, 916 samples per second), and no slower where little else ran (956 against 1,120). Not handing
    activations back to the kernel after every step gave 14 to 45 percent (two cores with AMX, bf16, channels last).
    """
    if platform.libc_ver()[0] != "glibc":
        return dict(_WAITING)
    return {**_WAITING, "GLIBC_TUNABLES": ":".join(_ALLOCATOR)}
