"""Claim: as multiples of an empty Python, import takes at most 3 ×, --help 25 ×, the first answer of a package 60 ×.

Every command is a fresh process with its files in the page cache, run in turn forwards and backwards; a ratio is taken
within one such pair against ``python -c pass``. Where torch is installed, importing it stands beside as the price that
an answer from eager PyTorch pays before it begins.

    python benchmarks/startup.py
    python benchmarks/startup.py runs/cifar10-1a2b3c
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from _protocol import RESULTS, Row, conditions_line, slug, spread, surroundings, table, write_rows

from sartor.errors import SartorError
from sartor.stages.package import open_package
from sartor.testing.tiny_package import LABELS, build_tiny_package, picture

BOUNDS = {"import sartor": 3.0, "sartor --help": 25.0, "sartor predict": 60.0}
EMPTY = "python -c pass"
PAIRS = 15


def commands(package: Path, sample: Path) -> dict[str, Sequence[str]]:
    """Name to command line."""
    python, sartor = sys.executable, [sys.executable, "-c", "import sartor.cli; sartor.cli.main()"]
    made = {
        EMPTY: [python, "-c", "pass"],
        "import sartor": [python, "-c", "import sartor"],
        "sartor --help": [*sartor, "--help"],
        "sartor predict": [*sartor, "predict", str(package), str(sample)],
    }
    if importlib.util.find_spec("torch") is not None:
        made["import torch"] = [python, "-c", "import torch"]
    return made


def clock(command: Sequence[str]) -> tuple[float, float]:
    """Wall and processor milliseconds of one process.

    Raises:
        SartorError: it failed, so its time says nothing.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SartorError(f"{' '.join(command)} ended with exit code {process.returncode}; its time says nothing")
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def work(package: Path, sample: Path, pairs: int) -> list[Row]:
    """Time every command in turn and relate it to the empty one of the same turn."""
    lines = commands(package, sample)
    for command in lines.values():
        clock(command)  # files into the page cache, bytecode onto the disk
    walls: dict[str, list[float]] = {name: [] for name in lines}
    cpus: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(pairs):
        for name in (*lines, *reversed(lines)):
            wall, cpu = clock(lines[name])
            walls[name].append(wall)
            cpus[name].append(cpu)
    rows = []
    for name in lines:
        ratios = [
            (mine + again) / (empty + empty_again)
            for mine, again, empty, empty_again in zip(
                walls[name][::2], walls[name][1::2], walls[EMPTY][::2], walls[EMPTY][1::2], strict=True
            )
        ]
        apart = [abs(a / b - 1) for a, b in zip(walls[name][::2], walls[name][1::2], strict=True)]
        bound = BOUNDS.get(name)
        low, high = spread(ratios)
        word = "" if bound is None else f"≤ {bound:g} × {'holds' if high <= bound else 'FAILS'}"
        rows.append(
            Row(
                name,
                "ms",
                median(walls[name]),
                median(cpus[name]),
                median(ratios),
                low,
                high,
                median(apart),
                word,
                pairs,
            )
        )
    return rows


def main() -> int:
    """Parse, measure, print, keep."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "run", nargs="?", type=Path, metavar="RUN_FOLDER", help="predict with its package; else a tiny one"
    )
    made.add_argument("--pairs", type=int, default=PAIRS, help="turns forwards and backwards (%(default)s)")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV (%(default)s)")
    made.add_argument("--smoke", action="store_true", help="one turn; proves nothing")
    asked = made.parse_args()
    claim, title = __doc__.splitlines()[0].removeprefix("Claim: "), asked.run.name if asked.run else "tiny"
    print(f"CLAIM   {claim}")
    with tempfile.TemporaryDirectory(prefix="sartor-benchmark-") as name:
        folder = Path(name)
        try:
            if asked.run:
                package = asked.run / "package"
                sample = next((open_package(package).folder / "golden").glob("[0-9]*"), None) or _picture(folder)
            else:
                build_tiny_package(folder)
                package, sample = folder / "package", _picture(folder)
            pairs = 1 if asked.smoke else asked.pairs
            print(f"MACHINE {conditions_line()}")
            rows = work(package, sample, pairs)
        except SartorError as error:
            print(error, file=sys.stderr)
            return 1
        print(table(rows, "wall", "processor"))
        results = folder if asked.smoke and asked.results == RESULTS else asked.results
        stem = f"startup-{slug(title)}-{surroundings()['processor']}-{pairs}pairs"
        print(f"WRITTEN {write_rows(results, stem, rows, {'ours': 'wall', 'other': 'processor'})}")
    return 0


def _picture(folder: Path) -> Path:
    path = folder / "picture.png"
    path.write_bytes(picture(LABELS[0]))
    return path


if __name__ == "__main__":
    sys.exit(main())
