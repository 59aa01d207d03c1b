"""What every contest is called with, and the package that it judges: Sartor's own run made here, or one that exists."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _protocol import BLOCKS, RESULTS
from _subject import Skipped, Subject, read_subject

from sartor import registry
from sartor.errors import SartorError
from sartor.metrics import COST_METRICS, index
from sartor.run import load_run
from sartor.stages.requirement import read_requirement
from sartor.stages.requirement.units import parse_duration

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TIMED = 0.5  # seconds per process


class Undelivered(Exception):
    """The run made here delivered no package; the text is its own sentence."""


@dataclass(frozen=True)
class Entry:
    """What is judged, and how long the other sides may learn."""

    subject: Subject
    seconds: float
    command: str

    def conditions(self, test_rows: int) -> dict[str, object]:
        """For every row of a result."""
        return {
            "name": self.subject.file.requirement.name,
            "task": self.subject.side.pipeline.task,
            "network": self.subject.network.id,
            "seconds": round(self.seconds),
            "test_rows": test_rows,
            "command": self.command,
        }


def parser(document: str, example: str) -> argparse.ArgumentParser:
    """What contests have in common; ``example`` is the requirement that is run where no package is named."""
    made = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("package", nargs="?", type=Path, metavar="PACKAGE", help="a run's folder, or the package in it")
    made.add_argument("--package", dest="named", type=Path, metavar="PACKAGE", help="the same")
    made.add_argument("--workspace", type=Path, help="of its run; default: .sartor beside it")
    made.add_argument(
        "--requirement", type=Path, default=EXAMPLES / example, help="run here where no package is named (%(default)s)"
    )
    made.add_argument("--time", type=_seconds, default=120.0, metavar="2m", help="for that run (%(default).0f s)")
    made.add_argument(
        "--objectives",
        default="",
        metavar="{rmse: 1}",
        help="of that run; default: the first metric, near ties cheaper",
    )
    made.add_argument("--seconds", type=float, default=0.0, help="each peer may learn; default: as long as the run did")
    made.add_argument("--peers", default="", help="only those whose names hold one of these words, e.g. lbp,pca")
    made.add_argument("--blocks", type=int, default=BLOCKS, help="in which all take their turns (%(default)s)")
    made.add_argument("--timed", type=float, default=TIMED, metavar="SECONDS", help="per process (%(default)s)")
    made.add_argument(
        "--keep",
        type=Path,
        help="folder for the run made here and what peers learn, taken up where it was cut off; default: none",
    )
    made.add_argument("--results", type=Path, default=RESULTS / "tasks", help="folder of the CSV (%(default)s)")
    made.add_argument("--smoke", action="store_true", help="on tiny made-up data, under a minute; proves nothing")
    return made


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def wanted(name: str, asked: argparse.Namespace) -> bool:
    """One of the peers asked for."""
    words = [word for word in asked.peers.lower().split(",") if word]
    return not words or any(word in name.lower() for word in words)


def run(
    asked: argparse.Namespace,
    claim: str,
    tasks: tuple[str, ...],
    work: Callable[[argparse.Namespace, Entry, Path], None],
) -> int:
    """Find or make the package and let ``work`` judge it; what is missing is said loudly."""
    print(f"CLAIM   {claim}")
    with tempfile.TemporaryDirectory(prefix="sartor-benchmark-") as folder:
        try:
            work(asked, _entry(asked, tasks, Path(folder)), Path(folder))
        except Skipped as reason:
            print(f"SKIPPED, NOTHING WAS MEASURED: {reason}", file=sys.stderr)
        except Undelivered as reason:
            print(f"FAILS   no package within {asked.time:.0f} s: {reason}")
        except SartorError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _entry(asked: argparse.Namespace, tasks: tuple[str, ...], folder: Path) -> Entry:
    package = asked.named or asked.package
    if asked.smoke:
        from _made_up import make_subject

        asked.blocks, asked.timed = 1, 0.05
        if asked.results == RESULTS / "tasks":  # what a smoke run measures is nobody's result
            asked.results = folder / "results"
        return Entry(make_subject(folder / "smoke", tasks[0]), asked.seconds or 0.5, _command(asked))
    if package is None:
        subject, seconds = _own_run(asked, tasks, asked.keep or folder / "own")
    else:
        subject = read_subject(package.parent if (package / "pipeline.json").is_file() else package, asked.workspace)
        seconds = sum(step.seconds for step in subject.file.steps)
    if subject.side.pipeline.task not in tasks:
        raise Skipped(f"{subject.folder} is a run of {subject.side.pipeline.task}; give one of {' or '.join(tasks)}")
    return Entry(subject, asked.seconds or seconds, _command(asked))


def _command(asked: argparse.Namespace) -> str:
    """What makes the numbers again, with paths from the repository's root."""
    script = f"python benchmarks/tasks/{Path(sys.argv[0]).name}"
    if asked.smoke:
        return f"{script} --smoke"
    if package := asked.named or asked.package:
        return f"{script} --package {package} --seconds {asked.seconds:g}"
    path = asked.requirement.resolve()
    shown = path.relative_to(EXAMPLES.parent) if path.is_relative_to(EXAMPLES.parent) else path
    peers = f" --peers {asked.peers}" if asked.peers else ""
    return f"{script} --requirement {shown} --time {asked.time:g}s{peers}"


def _own_run(asked: argparse.Namespace, tasks: tuple[str, ...], folder: Path) -> tuple[Subject, float]:
    """Run the requirement from nothing, with its limits of cost and for the best quality within the time."""
    requirement = read_requirement(asked.requirement)
    if requirement.task not in tasks:
        raise Skipped(f"{asked.requirement} asks for {requirement.task}; give one for {' or '.join(tasks)}")
    primary, costs = registry.get("tasks", requirement.task).metrics[0].name, index(COST_METRICS)
    free = [f"limits.{limit.metric}=null" for limit in requirement.limits if limit.metric not in costs]
    changes = [f"budget.time={asked.time:.0f}s", f"objectives={asked.objectives or f'{{{primary}: 1}}'}", *free]
    command = [sys.executable, "-m", "sartor.cli", "run", str(asked.requirement), *changes, "--quiet"]
    command += ["--workspace", str(folder / ".sartor"), "--runs", str(folder / "runs")]
    kept = sorted((folder / "runs").glob("*/decision.json"))
    if kept and (folder / "seconds").is_file():
        print(f"… taking up {kept[-1].parent}", flush=True)
        return read_subject(kept[-1].parent, folder / ".sartor"), float((folder / "seconds").read_text())
    print(f"… running {asked.requirement.name} for {asked.time:.0f} s: {' '.join(changes)}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    (folder / "run.log").write_text(f"{done.stdout}\n{done.stderr}", encoding="utf-8")
    found = sorted((folder / "runs").glob("*/decision.json"))
    if not found:
        raise Undelivered((done.stderr or done.stdout).strip()[-500:] or f"exit code {done.returncode}")
    file = load_run(found[-1].parent)
    if file.decision.status != "met":
        raise Undelivered(f"{file.decision.status}: {file.decision.sentence}")
    (folder / "seconds").write_text(str(seconds))
    return read_subject(found[-1].parent, folder / ".sartor"), seconds
