"""List what a limit can be set on."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(
    task: Annotated[str, typer.Argument(help="Name of a task; what every task has where absent.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the metrics of a task: what limits and objectives in a requirement can name.

    Example: sartor metrics image-classification
    """
    from sartor.cli._console import console, print_json

    rows = _rows(task)
    if json:
        print_json(rows)
        return
    from rich.table import Table

    from sartor.language import say
    from sartor.language.layout import padded

    table = Table(*map(say, ("in a requirement", "limits", "unit", "better", "what it is")), box=None, pad_edge=False)
    for row in rows:
        bounds = ", ".join(row["bounds"])
        table.add_row(row["metric"], bounds, row["unit"] or "–", say(row["better"]), say(row["title"]))
    out = console()
    out.print(table)
    name = rows[0]["metric"]
    out.print()
    out.print(padded(say("For example"), 14) + f"limits: {{{name}: {{{rows[0]['bounds'][0]}: {rows[0]['example']}}}}}")


def _rows(task: str) -> list[dict[str, Any]]:
    from sartor.metrics import COST_METRICS
    from sartor.stages.requirement import measurables, parts_of

    known = measurables(task)
    costs = {metric.name for metric in COST_METRICS}
    names = [name for name, item in known.items() if item.role == "plain"]
    names.sort(key=lambda name: name in costs)  # what the task adds comes first
    rows = []
    for name in names:
        metric = known[name].metric
        rows.append(
            {
                "metric": name,
                "bounds": list(parts_of(known, name)),
                "unit": metric.unit,
                "better": metric.direction,
                "kind": metric.kind,
                "title": metric.title,
                "range": known[name].range,
                "example": known[name].example,
            }
        )
    return rows
