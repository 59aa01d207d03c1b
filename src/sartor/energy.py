"""What the processor packages of this machine have drawn: the counters that Linux shows where the hardware has them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PLACE = "SARTOR_POWERCAP"
"""Environment variable: the folder of the counters where it is not the usual one, as in a container."""

USUAL = "/sys/class/powercap"


@dataclass(frozen=True)
class Counter:
    """One package's counter of microjoules, which begins again at ``wraps``."""

    path: Path
    wraps: int

    def read(self) -> int:
        """Microjoules since some time.

        Raises:
            OSError: it cannot be read.
        """
        return int(self.path.read_text())


def counters() -> tuple[Counter, ...]:
    """The counters of all processor packages that can be read; empty where there is none.

    Intel's and AMD's processors have them (RAPL, "running average power limit"), most virtual machines do not, and
    since 2020 only root may read them unless the administrator allows it (CVE-2020-8694).

    Source: Linux kernel documentation, power/powercap.
    """
    found = []
    for zone in sorted(Path(os.environ.get(PLACE) or USUAL).glob("intel-rapl:*")):
        if zone.name.count(":") > 1:  # a part of a package: its cores, its memory
            continue
        try:
            if (zone / "name").read_text().strip().startswith("package"):
                counter = Counter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text()))
                counter.read()
                found.append(counter)
        except (OSError, ValueError):
            continue
    return tuple(found)


class Meter:
    """Joules drawn between two moments, by all packages together, whatever ran on them."""

    def __init__(self) -> None:
        self._counters = counters()
        self._since = self._read()

    def __bool__(self) -> bool:
        return bool(self._counters)

    def restart(self) -> None:
        """What is told next is counted from now on."""
        self._since = self._read()

    def joules(self) -> float:
        """Since the start, or the last restart."""
        pairs = zip(self._counters, self._since, self._read(), strict=True)
        return sum((now - then) % (counter.wraps + 1) for counter, then, now in pairs) / 1e6

    def _read(self) -> Sequence[int]:
        return [counter.read() for counter in self._counters]
