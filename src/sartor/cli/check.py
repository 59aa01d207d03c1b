"""``sartor check``: is the data sound, can this be met, what will it cost; in seconds, as estimates."""

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
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> int:
    """Say in seconds what may fit, by estimate; nothing is trained.

    Exit codes: 0 may be met, 2 no candidate can fit, 1 error.
    """
    from sartor.check import check
    from sartor.cli._console import EXIT_INFEASIBLE, EXIT_MET, console, print_json
    from sartor.cli._progress import Progress
    from sartor.report.figures import duration
    from sartor.report.words import aligned
    from sartor.run import Silence, place_of
    from sartor.stages.requirement import read_requirement

    asked = read_requirement(requirement, overrides or ())
    place = place_of(asked, workspace, Path("runs"))
    with nullcontext(Silence()) if json else Progress(asked) as observer:
        found = check(asked, place, observer)
    if json:
        print_json(found)
    else:
        out = console()
        out.print(f"{found.verdict.upper()}   {found.may_fit} of {found.candidates} candidates may fit, by estimate")
        rows = []
        for family in found.families:
            latency = family.latency
            shown = (
                f"p95 est. {latency.metric.format_interval(latency.value, latency.low, latency.high)}"
                if latency
                else f"ruled out by {', '.join(family.ruled_out_by) or 'what it needs'}"
            )
            rows.append((family.family, f"{family.may_fit} of {family.candidates}", family.largest or "–", shown))
        for line in aligned([("family", "may fit", "largest that may", ""), *rows]):
            out.print(line)
        if found.binding:
            out.print(f"Binding       {', '.join(found.binding)} (most candidates ruled out first)")
        out.print(f"Run           at most {duration(found.budget_s)} (budget.time)")
        out.print("Estimates, not measurements. Next: sartor run " + str(requirement))
    return EXIT_INFEASIBLE if found.verdict == "impossible" else EXIT_MET
