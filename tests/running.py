"""The main job through the command line, as its tests start it and look at it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import psutil

from sartor.catalog.devices.local import identify
from sartor.evidence import write_json
from sartor.types import Ceiling

COMMAND = [sys.executable, "-m", "sartor.cli", "run"]
FAST = ["search.models=[linear-pixels, majority-class]", "budget.time=2m", "budget.effort=quick"]
ONE_RUNTIME = "search.runtimes=[onnxruntime]"  # where what is asked does not depend on how many there are
ONE_CANDIDATE = [ONE_RUNTIME, "search.precisions=[fp32]", "search.models=[linear-pixels]"]  # nor on a choice


def count_as_probed(workspace):
    """Spare a run ten seconds of looking at this machine: invented ceilings, which only estimates look at."""
    ceilings = {precision: Ceiling(1e11, "onnxruntime") for precision in ("fp32", "bf16", "int8")}
    device = replace(identify(), ceilings=ceilings, bandwidth_bytes_per_s=1e10)
    write_json(workspace / "devices" / f"{device.id}.json", device)


def arguments(digits, home, *more):
    return [
        *COMMAND,
        str(digits / "req.yaml"),
        *FAST,
        *more,
        "--workspace",
        str(home / "ws"),
        "--runs",
        str(home / "runs"),
    ]


def run(digits, home, *more, **options):
    return subprocess.run(
        arguments(digits, home, *more), capture_output=True, text=True, timeout=280, cwd=digits, check=False, **options
    )


def wait_until(condition, seconds=120):
    """Wait for something to happen, however slow the machine is; its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return found


def workers_of(process):
    return wait_until(lambda: psutil.Process(process.pid).children())


def the_run(home):
    return next(path for path in (home / "runs").iterdir() if path.is_dir())


def finished_work(home):
    with sqlite3.connect(f"file:{home / 'ws' / 'evidence.db'}?mode=ro", uri=True) as database:
        return dict(database.execute("SELECT key, created FROM evidence").fetchall())
