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
    from sartor.language import say
    from sartor.language.layout import labelled
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
        fit = say(f"{found.may_fit} of {found.candidates} candidates may fit, by estimate")
        out.print(f"{say(found.verdict.upper())}   {fit}")
        rows = []
        for family in found.families:
            latency = family.latency
            shown = (
                f"{say('p95 est.')} {latency.metric.format_interval(latency.value, latency.low, latency.high)}"
                if latency
                else say(f"ruled out by {', '.join(family.ruled_out_by) or 'what it needs'}")
            )
            rows.append(
                (
                    family.family,
                    say("{may_fit} of {candidates}", may_fit=family.may_fit, candidates=family.candidates),
                    family.largest or "–",
                    shown,
                )
            )
        for line in aligned([(say("family"), say("may fit"), say("largest that may"), ""), *rows]):
            out.print(line)
        if found.binding:
            out.print(labelled("Binding", f"{', '.join(found.binding)} ({say('most candidates ruled out first')})"))
        out.print(labelled("Run", f"at most {duration(found.budget_s)} (budget.time)"))
        out.print(say(f"Estimates, not measurements. Next: sartor run {requirement}"))
    return EXIT_INFEASIBLE if found.verdict == "impossible" else EXIT_MET
