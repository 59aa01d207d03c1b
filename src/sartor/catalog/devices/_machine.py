"""What this machine is, read and not measured: processor, usable cores and memory, instruction sets, accelerators."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")

KNOWN_SETS = (
    *("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "amx_int8", "neon", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2"),
)
"""Instruction sets that change how fast a network runs, in the kernel's names (``neon`` for ``asimd``)."""

APPLE_FEATURES = {
    "hw.optional.neon": "neon",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}
UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2^63


def processor() -> tuple[str, tuple[str, ...]]:
    """Name of the processor, and its instruction sets among ``KNOWN_SETS``."""
    text = _read(PROC / "cpuinfo")
    if text:
        return parse_cpuinfo(text)
    if platform.system() == "Darwin":
        name = _sysctl("machdep.cpu.brand_string")
        sets = tuple(sorted(known for key, known in APPLE_FEATURES.items() if _sysctl(key) == "1"))
        return name or "Apple processor", sets
    return _plain_name(), _least_sets()


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Name and instruction sets from the text of ``/proc/cpuinfo``; the first processor speaks for all."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    flags = set(fields.get("flags", fields.get("features", "")).lower().split())
    if flags & {"asimd", "neon"}:
        flags.add("neon")
    name = fields.get("model name") or fields.get("hardware") or ""
    if not name and "cpu part" in fields:
        name = f"ARM {fields.get('cpu implementer', '?')}/{fields['cpu part']}"
    return name or _plain_name(), tuple(sorted(flags & set(KNOWN_SETS))) or _least_sets()


def _plain_name() -> str:
    return platform.processor() or platform.machine() or "unknown processor"


def _least_sets() -> tuple[str, ...]:
    """What every processor of this architecture has; 64-bit ARM always has NEON."""
    return ("neon",) if platform.machine().lower() in ("arm64", "aarch64") else ()


def usable_cores() -> int:
    """Logical processors this process may use: the smaller of its affinity and its control group's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = math.inf
    for folder in _groups(""):
        limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if limit.isdigit() and period.isdigit():
            quota = min(quota, int(limit) / int(period))
    for folder in _groups("cpu"):
        limit, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
        if limit.isdigit() and period.isdigit():
            quota = min(quota, int(limit) / int(period))
    return max(1, min(affinity, int(quota) if quota < affinity else affinity))


def usable_memory_bytes() -> int:
    """The smaller of physical memory and the control group's limit."""
    import psutil

    found = int(psutil.virtual_memory().total)
    for controller, file in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in _groups(controller):
            limit = _read(folder / file).strip()
            if limit.isdigit() and 0 < int(limit) < UNLIMITED:
                found = min(found, int(limit))
    return found


def accelerators() -> tuple[str, ...]:
    """Names of NVIDIA devices, by the driver's own tool; empty where there is none."""
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    if found.returncode != 0:
        return ()
    return tuple(line.strip() for line in found.stdout.splitlines() if line.strip())


def _groups(controller: str) -> list[Path]:
    """Folders of this process's control group and its parents; ``""`` is the unified hierarchy (v2)."""
    folders = []
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if controller not in names.split(","):
            continue
        root = CGROUP / names if controller else CGROUP
        inside = Path(path.lstrip("/"))
        folders += [root / inside, *(root / parent for parent in inside.parents)]
        folders.append(CGROUP / controller if controller else CGROUP)  # inside a container the path may not resolve
    return folders


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _sysctl(key: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
