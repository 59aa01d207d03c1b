"""``sartor explain``: why this candidate, why not the others, and what if the limits were different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.types import Decision, Requirement, RunFile

CHANGEABLE = ("limits.", "objectives.")
"""What can be decided again from recorded evidence; anything else needs a run."""


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its decision.json.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CANDIDATE] [KEY=VALUE]...",
            help="A candidate's id; limits to try, e.g. limits.latency_p95_ms.max=2, or =none to drop one.",
        ),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write the report beside the decision and say where.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the decision (or one candidate) as JSON.")] = False,
) -> int:
    """Why this candidate, why not the others, and what if the limits were different.

    Nothing is computed: the answer comes from the recorded evidence, at once.
    """
    from sartor.cli._console import EXIT_MET, console, print_json
    from sartor.report import words as say
    from sartor.run import load_run

    recorded = load_run(run)
    candidate, overrides = _sort_out(words or ())
    file = _decided_again(recorded, overrides) if overrides else recorded
    if html:
        print(_write_report(file, run, changed=bool(overrides)))
        return EXIT_MET
    if json:
        print_json(_facts(file, candidate))
        return EXIT_MET
    lines: list[str] = []
    if overrides:
        lines += [*say.change_lines(recorded, file.requirement, file.decision), ""]
    if candidate:
        lines += say.candidate_lines(file, candidate)
    elif overrides:
        lines += say.verdict_lines(replace(file, steps=()))  # no time was spent on this answer
    else:
        lines += say.decision_lines(file, str(run))
    out = console()
    for line in lines:
        out.print(line)
    return EXIT_MET


def _sort_out(words: Sequence[str]) -> tuple[str, list[str]]:
    """One candidate and any number of overrides, in any order."""
    from sartor.errors import SartorError

    overrides = [word for word in words if "=" in word]
    candidates = [word for word in words if "=" not in word]
    if len(candidates) > 1:
        raise SartorError(f"one candidate at a time, but there are {len(candidates)}: {', '.join(candidates)}")
    for override in overrides:
        if not override.startswith(CHANGEABLE):
            key = override.partition("=")[0]
            raise SartorError(
                f"{key} cannot be changed after the fact, only limits and objectives can. Try: sartor run … {override}"
            )
    return "".join(candidates), overrides


def _decided_again(file: RunFile, overrides: Sequence[str]) -> RunFile:
    """The same evidence under other limits. The package stays with the decision it was made for."""
    from sartor.stages.decide import decide

    requirement = _changed(file.requirement, overrides)
    decision: Decision = decide(requirement, file.records, file.metrics)
    return replace(file, requirement=requirement, decision=decision, package="")


def _changed(requirement: Requirement, overrides: Sequence[str]) -> Requirement:
    from sartor.stages.requirement import read_requirement

    plain = [
        f"{key}=null" if value.strip().lower() in ("none", "null", "") else f"{key}={value}"
        for key, value in _pairs(overrides)
    ]
    changed = read_requirement(requirement, plain)
    return replace(requirement, limits=changed.limits, objectives=changed.objectives)


def _pairs(overrides: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (override.partition("=") for override in overrides)]


def _facts(file: RunFile, candidate: str) -> object:
    from sartor.report.words import find

    if not candidate:
        return {"requirement": file.requirement, "decision": file.decision}
    record, fate = find(file, candidate)
    return {"record": record, "fate": fate}


def _write_report(file: RunFile, run: Path, *, changed: bool) -> Path:
    """``report.html`` beside the decision; a what-if never replaces the report of what was really decided."""
    from sartor.report.render import render
    from sartor.storage import write_text

    folder = run if run.is_dir() else run.parent
    path = folder / ("report-what-if.html" if changed else "report.html")
    write_text(path, render(file))
    return path
