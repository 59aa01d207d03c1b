"""The section "Training, to a goal" of docs/benchmarks.md, from benchmarks/results/train_to_accuracy/."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

INTRODUCTION = """\
From the first byte of the source to the accuracy that the tutorials' recipe has after ten epochs (or to a goal that was
set): preparing the data and starting every process included for ours, training steps alone for the recipe. Budgets
double until the mean of the seeds is there."""
Rows = Sequence[Mapping[str, str]]


def section(results: Path) -> list[str]:
    """Lines of the page; nothing where there is no result."""
    lines: list[str] = []
    for path in sorted((results / "train_to_accuracy").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            lines += ["", *_words(path, list(csv.DictReader(file)))]
    return ["", "## Training, to a goal", "", INTRODUCTION, *lines] if lines else []


def _words(path: Path, rows: Rows) -> list[str]:
    whole, ours = rows[-1], [row for row in rows if row["row"] == "ours"]
    lines = [
        f"**{whole['verdict'].capitalize()}.** {whole['note']}. {whole['processor']}, {whole['date'][:10]}.",
        "",
        "| budget | scores | epochs | s in all |",
        "| --- | --- | --- | --- |",
    ]
    for budget in dict.fromkeys(row["budget"] for row in ours):
        tried = [row for row in ours if row["budget"] == budget]
        cells = [
            ", ".join(f"{float(row['score']):.4f}" for row in tried),
            ", ".join(f"{float(row['epochs']):.1f}" for row in tried),
            ", ".join(f"{float(row['wall']) + float(row['prepared_s']):.0f}" for row in tried),
        ]
        lines.append(f"| {float(budget):g} s | {' | '.join(cells)} |")
    place = path.relative_to(path.parents[1]).as_posix()
    return [
        *lines, "", f"Made by `python benchmarks/train_to_accuracy.py`. [All rows](../benchmarks/results/{place}).",
    ]  # fmt: skip
