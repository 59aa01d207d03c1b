"""``sartor run``: find the model that meets a requirement."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer


def command(
    requirement: Annotated[Path, typer.Argument(help="A requirement: YAML or JSON.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. limits.latency_p95_ms.max=3")
    ] = None,
    workspace: Annotated[Path, typer.Option(help="Where evidence is kept.")] = Path(".sartor"),
    runs: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print decision.json instead of words.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the answer.")] = False,
    retry: Annotated[bool, typer.Option(help="Try again what crashed before.")] = False,
) -> int:
    """Find the model that meets a requirement, or show that none does.

    The same command again continues where it was. Exit codes: 0 met, 2 infeasible, 3 inconclusive, 1 error.
    """
    from sartor.cli._console import EXIT_INCONCLUSIVE, EXIT_INFEASIBLE, EXIT_MET, console, print_json
    from sartor.cli._progress import Progress
    from sartor.report.render import render
    from sartor.report.words import next_lines, verdict_lines
    from sartor.run import Silence, place_of, run
    from sartor.stages.requirement import read_requirement

    asked = read_requirement(requirement, overrides or ())
    place = place_of(asked, workspace, runs)
    with nullcontext(Silence()) if json or quiet else Progress(asked) as observer:
        file = run(asked, place, observer, render=render, retry=retry)
    if json:
        print_json(file)
    else:
        out = console()
        for line in [*verdict_lines(file), *next_lines(file, str(place.folder))]:
            out.print(line)
    return {"met": EXIT_MET, "infeasible": EXIT_INFEASIBLE, "inconclusive": EXIT_INCONCLUSIVE}[file.decision.status]
