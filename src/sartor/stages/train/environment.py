"""What has to be in the environment before a training process starts; no torch here."""

from __future__ import annotations

import platform

_ALLOCATOR = (
    "glibc.malloc.hugetlb=1",  # huge pages where the kernel allows them by madvise
    "glibc.malloc.mmap_threshold=4294967296",  # no mapping, and no page faults, per activation tensor
    "glibc.malloc.trim_threshold=8589934592",  # keep memory between steps
    "glibc.malloc.top_pad=268435456",
)


def training_environment() -> dict[str, str]:
    """Variables for the process that trains: allocator settings that were measured to give 14 to 45 percent.

    The gain comes from not handing activations back to the kernel after every step (measured on two cores with
    AMX, bf16 and channels last). Empty where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return {}
    return {"GLIBC_TUNABLES": ":".join(_ALLOCATOR)}
