"""Runs requirements by the very command a user types, and re-measures what they deliver, later, in new processes.

Each run has a workspace of its own, so that no training of one answers another and every run pays for what it finds
out. Only the profile of the machine is shared: a machine is probed once. A run that was killed begins anew, as its
time would mean nothing; one that has ended is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from briefs.draw import Brief

PATIENCE = 8  # times the budget, and
PATIENCE_S = 300
COMMAND = [sys.executable, "-c", "from sartor.cli import main; main()"]  # what the script ``sartor`` does
Outcome = dict[str, Any]


class Course:
    """Outcomes of a set of requirements in a folder.

    Args:
        folder: where everything lies.
        profile: folder of the machine's profile.
    """

    def __init__(self, folder: Path, profile: Path) -> None:
        self.folder, self.profile = folder, profile

    def place(self, brief: Brief) -> Path:
        """The folder of a requirement."""
        return self.folder / "briefs" / brief.name

    def kept(self, brief: Brief, what: str) -> Outcome | None:
        """What was found before: ``run``, ``verify`` or ``fresh``."""
        path = self.place(brief) / f"{what}.json"
        found: Outcome | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found

    def keep(self, brief: Brief, what: str, outcome: Outcome) -> Outcome:
        """Write it down, whole or not at all."""
        path = self.place(brief) / f"{what}.json"
        path.with_suffix(".part").write_text(json.dumps(outcome, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(path.with_suffix(".part"), path)
        return outcome

    def run(self, brief: Brief) -> Outcome:
        """One run, timed from the start of its process to its end."""
        place = self.place(brief)
        shutil.rmtree(place, ignore_errors=True)
        (place / ".sartor").mkdir(parents=True)
        shutil.copytree(self.profile, place / ".sartor" / "devices")
        (place / "req.yaml").write_text(json.dumps(brief.document, indent=1, ensure_ascii=False), encoding="utf-8")
        said, status, wall = _command(["run", "req.yaml"], place, PATIENCE * brief.seconds + PATIENCE_S)
        (place / "said.txt").write_text(said, encoding="utf-8")
        outcome: Outcome = {"status": status, "wall_s": wall, "ended": time.time(), "binding": [], "chosen": ""}
        decisions = list(place.glob("runs/*/decision.json"))
        if decisions and status in (0, 2, 3):
            decision = json.loads(decisions[0].read_text(encoding="utf-8"))["decision"]
            outcome["chosen"] = decision["chosen"]
            outcome["binding"] = list((decision["certificate"] or {}).get("binding", ()))
            outcome["sentence"] = (decision["certificate"] or decision)["sentence"]
            outcome["run"] = str(decisions[0].parent.relative_to(place))
        else:
            outcome["sentence"] = (said.strip() or "it said nothing").splitlines()[-1]
        return self.keep(brief, "run", outcome)

    def verify(self, brief: Brief, *, fresh: bool, seconds: float) -> Outcome:
        """``sartor verify`` on what a run delivered: on the recorded test rows, or on rows that no run has seen."""
        run = self.kept(brief, "run")
        assert run is not None
        words = ["verify", f"{run['run']}/package", "--json", "--seconds", f"{seconds:g}"]
        words += ["--data", brief.fresh] if fresh else []
        said, status, wall = _command(words, self.place(brief), 600, apart=True)
        outcome: Outcome = {"status": status, "wall_s": wall, "at": time.time(), "limits": []}
        try:
            told = json.loads(said[said.index("{") :])
            outcome["limits"] = [
                {"limit": one["limit"]["key"], "asked": one["limit"]["value"], "outcome": one["outcome"],
                 "now": (one["now"] or {}).get("value"), "noisy": (one["now"] or {}).get("noisy")}
                for one in told["limits"]
            ]  # fmt: skip
        except (ValueError, KeyError, TypeError):
            outcome["sentence"] = (said.strip() or "it said nothing").splitlines()[-1]
        return self.keep(brief, "fresh" if fresh else "verify", outcome)


def _command(words: list[str], place: Path, patience: float, *, apart: bool = False) -> tuple[str, int, float]:
    """What ``sartor`` printed, its exit code (-1: it did not end), and its wall time; ``apart`` leaves errors out."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*COMMAND, *words], cwd=place, stdout=subprocess.PIPE, text=True, timeout=patience, check=False,
            stderr=subprocess.DEVNULL if apart else subprocess.STDOUT, env=os.environ | {"COLUMNS": "160"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it did not end within {patience:.0f} s", -1, time.monotonic() - started
    return done.stdout, done.returncode, time.monotonic() - started


def probe(folder: Path, say: Callable[[str], None]) -> Path:
    """The profile of this machine, probed once."""
    place = folder / "machine"
    devices = place / ".sartor" / "devices"
    if not devices.is_dir() or not list(devices.glob("*.json")):
        say("probing this machine")
        place.mkdir(parents=True, exist_ok=True)
        code = "from pathlib import Path; from sartor.devices import device_of; from sartor.evidence import Workspace; "
        code += "device_of('local', Workspace(Path('.sartor')))"
        subprocess.run([sys.executable, "-c", code], cwd=place, check=True)
    return devices


def judged(brief: Brief, run: Mapping[str, Any], verify: Mapping[str, Any] | None) -> tuple[str, str]:
    """The verdict on one requirement, and why.

    ``delivered``: every limit was met again. ``unproven``: one was not shown to hold again, nor to be missed.
    ``refused``: rightly, and by the limit that is impossible. ``wrong delivery``, ``wrong refusal``, ``wrong binding``,
    ``inconclusive`` and ``crash`` are what they say.
    """
    status = run["status"]
    if status == 0:
        if brief.binding:
            return "wrong delivery", f"it is impossible: {brief.why}"
        if verify is None:
            return "delivered, not re-measured", ""
        missed = [one["limit"] for one in verify["limits"] if one["outcome"] == "missed"]
        if missed or verify["status"] in (4, 5):
            return (
                "wrong delivery",
                f"re-measured, missed: {', '.join(missed) or verify.get('sentence', 'golden pairs')}",
            )
        open_ones = [f"{one['limit']} {one['outcome']}" for one in verify["limits"] if one["outcome"] != "met"]
        if open_ones or verify["status"] != 0:
            return "unproven", ", ".join(open_ones) or str(verify.get("sentence", f"exit code {verify['status']}"))
        return "delivered", run["chosen"]
    if status == 2:
        named = set(run["binding"])
        if not brief.binding:
            return "wrong refusal", f"{', '.join(run['binding']) or 'nothing'} named; {brief.why}"
        if named and named <= set(brief.binding):
            return "refused", ", ".join(run["binding"])
        return "wrong binding", f"{', '.join(run['binding']) or 'nothing'} named, not {' or '.join(brief.binding)}"
    if status == 3:
        return "inconclusive", run["sentence"]
    return "crash", f"exit code {status}: {run['sentence']}"
