"""``sartor verify``: does a package hold here what it promised?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.verify import LimitCheck, VerifyResult


def command(
    package: Annotated[str, typer.Argument(help="A package: its folder or .sartor file.")],
    data: Annotated[str, typer.Option(help="Labelled data to measure quality on, instead of what is recorded.")] = "",
    workspace: Annotated[Path | None, typer.Option(help="Where prepared data is kept.")] = None,
    seconds: Annotated[float, typer.Option(min=0.2, help="Timed seconds per process.")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Check every byte, ask the golden pairs, and measure every limit again on this machine.

    Exit codes: 0 holds, 3 inconclusive, 4 regression, 5 the package was changed.
    """
    from sartor.cli._console import EXIT_INCONCLUSIVE, EXIT_MET, EXIT_REGRESSION, print_json
    from sartor.verify import verify

    result = verify(package, data=data or None, workspace=workspace, seconds=seconds)
    if as_json:
        print_json(result)
    else:
        print("\n".join(_lines(result)))
    return {"met": EXIT_MET, "inconclusive": EXIT_INCONCLUSIVE, "regression": EXIT_REGRESSION}[result.status]


def _lines(result: VerifyResult) -> list[str]:
    from sartor.language import say
    from sartor.language.layout import labelled
    from sartor.report.words import aligned

    golden, same = result.golden, result.device_then == result.device_now
    open_ones = sum(check.outcome == "not re-measured" for check in result.limits)
    head = {"met": "HOLDS", "regression": "REGRESSION", "inconclusive": "INCONCLUSIVE"}[result.status]
    but = f"   {say(f'but {open_ones} of {len(result.limits)} limits were not re-measured')}" if open_ones else ""
    lines = [f"{say(head)}{but}", labelled("  integrity", "every byte is as the manifest says")]
    pairs = f"{golden.matched} of {golden.total} pairs, largest difference {golden.worst:.2g} "
    lines.append(labelled("  golden", f"{pairs}(allowed {golden.tolerance:g})"))
    lines += [labelled("", sentence) for sentence in golden.mismatches[:5]]
    rows = [("limit", "then", "now", ""), *(_row(check) for check in result.limits)]
    lines += aligned([[say(cell) for cell in row] for row in rows])
    here = f"the same kind of device as then ({result.device_name_now})"
    other = f"another device: {result.device_name_now}; the evidence is from {result.device_name_then}"
    lines += [f"  {say(sentence)}" for sentence in (here if same else other, result.data, *result.notes)]
    return lines


def _row(check: LimitCheck) -> tuple[str, str, str, str]:
    then = check.then.metric.format(check.then.value) if check.then else "unknown"
    if check.now is None:
        return (str(check.limit), then, "–", check.outcome)
    show = check.now.metric.format
    now = f"{show(check.now.value)} ({show(check.now.low)} … {show(check.now.high)})"
    noisy = ", the machine was too busy to tell" if check.now.noisy and check.outcome == "inconclusive" else ""
    return (str(check.limit), then, now, check.outcome + noisy)
