"""How busy others kept the machine while something was timed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since an arbitrary start: wall, and processor time of all cores, of this process, and stolen."""

    wall: float
    busy: float
    own: float
    stolen: float


@dataclass(frozen=True)
class Load:
    """What others took between two readings, in cores, and the share of the machine's cores that is."""

    foreign_cores: float
    stolen_cores: float
    share: float


def read_cpu_times() -> CpuTimes:
    """Read the counters; on Linux without loading psutil, because the reader is weighed too."""
    own = time.process_time()
    if _STAT.is_file():
        with _STAT.open(encoding="ascii") as file:
            fields = [int(word) for word in file.readline().split()[1:9]]
        user, nice, system, _, _, interrupts, soft_interrupts, steal = fields
        tick = os.sysconf("SC_CLK_TCK")
        busy = (user + nice + system + interrupts + soft_interrupts) / tick
        return CpuTimes(time.monotonic(), busy, own, steal / tick)
    import psutil

    times = psutil.cpu_times()
    return CpuTimes(time.monotonic(), times.user + times.system, own, 0.0)


def load_between(before: CpuTimes, after: CpuTimes, cores: int) -> Load:
    """What others took between two readings; what a hypervisor stole counts as others'."""
    wall = max(after.wall - before.wall, 1e-9)
    stolen = max(0.0, after.stolen - before.stolen) / wall
    foreign = max(0.0, (after.busy - before.busy) - (after.own - before.own)) / wall
    return Load(foreign, stolen, (foreign + stolen) / cores)


def autogroups() -> bool:
    """True where Linux shares processors per session, so that a low priority of other sessions does not help."""
    try:
        return _AUTOGROUP.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False
