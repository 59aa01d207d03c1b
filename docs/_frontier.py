"""The section "Compression, against others" of docs/benchmarks.md, from benchmarks/results/frontier/."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

INTRODUCTION = """\
Networks that Sartor trained itself. On one side every form that its catalogue makes of them, in every runtime
installed; on the others what each peer makes with its defaults. All answer the same test rows and are timed in turn,
each in a process of its own, against ONNX Runtime on the fp32 file (*A/A*: how far two processes of that are apart).
*Loss* is relative to its metric, paired over the rows. *Hypervolume*: what a side covers of (metric, p95, bytes)
from the reference point that loses 10 % and saves nothing; 1 would be the parent's metric at no time and no bytes. A
form of a peer is *dominated* where one of ours is no worse in all three, *within noise* where only noise says
otherwise."""
OURS, COLOURS, FAINT, INK = "Sartor", ("#7cc9a5", "#b4bdcb"), "#dde2ea", "#1c2733"
LEFT, WIDTH, ROW = 190, 360, 22
Rows = Sequence[Mapping[str, str]]


def section(results: Path, charts: Path) -> tuple[list[str], dict[str, str]]:
    """Lines of the page, and charts by their path below docs/; nothing where there is no result."""
    lines: list[str] = []
    made: dict[str, str] = {}
    for path, rows in _files(results / "frontier"):
        chart = f"{charts}/{path.stem.lower()}.svg"
        made[chart] = chart_of([row for row in rows if row["row"] == "side"])
        lines += ["", *_words(rows, chart, path.relative_to(results))]
    return (["", "## Compression, against others", "", INTRODUCTION, *lines], made) if lines else ([], {})


def _files(folder: Path) -> Iterator[tuple[Path, Rows]]:
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            yield path, list(csv.DictReader(file))


def _words(rows: Rows, chart: str, place: Path) -> list[str]:
    forms = [row for row in rows if row["row"] == "form"]
    sides = [row for row in rows if row["row"] == "side"]
    *parts, whole = (row for row in rows if row["row"] == "verdict")
    first, busiest = forms[0], max(float(row["foreign_load"]) for row in forms)
    lines = [
        f"### {first['processor']}, {first['threads']} thread{'' if first['threads'] == '1' else 's'}",
        "",
        f"**{whole['verdict'].capitalize()}.** {first['rounds']} rounds, {first['measured'][:10]}, others used at most "
        f"{busiest:.0%} of the cores.",
        "",
        *(f"* {part['verdict'].capitalize()}: {part['note']}." for part in parts),
        "",
        f"![Hypervolume of each side]({chart})",
    ]
    for subject in dict.fromkeys(row["subject"] for row in forms):
        lines += ["", *_subject([row for row in forms if row["subject"] == subject])]
        best = [row for row in sides if row["subject"] == subject and row.get("speedup_p50")]
        told = [f"{row['side']} {_times(row, 'speedup_p50')} ({row['form']})" for row in best]
        lines += ["", f"Fastest at 1 % loss at most: {'; '.join(told) or 'none'}."]
    made = f"Made by `python benchmarks/compress_frontier.py`. [All rows](../benchmarks/results/{place.as_posix()})."
    return [*lines, "", made]


def _subject(forms: Rows) -> list[str]:
    first = forms[0]
    lines = [
        f"**{first['subject']}**: {first['network']} ({first['kind']}), {first['test_rows']} test rows, "
        f"A/A {float(first['noise_floor']):.1%}.",
        "",
        f"| side | form | {first['metric']} | loss | times as fast, p50 | p95 | smaller | dominated |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in forms:
        head = f"| {row['side']} | {row['form']} |"
        if row.get("error"):
            lines.append(f"{head} none: {row['error'].replace('|', '/')} | | | | | |")
            continue
        loss = f"{float(row['loss']):+.2%} ({float(row['loss_low']):+.1%} … {float(row['loss_high']):+.1%})"
        cells = [f"{float(row['value']):.4f}", loss, _times(row, "speedup_p50"), _times(row, "speedup_p95")]
        cells += [f"{float(row['times_smaller']):.2f} ×", row.get("dominated", "")]
        lines.append(f"{head} {' | '.join(cells)} |")
    return lines


def _times(row: Mapping[str, str], name: str) -> str:
    return f"{float(row[name]):.2f} × ({float(row[f'{name}_low']):.2f} … {float(row[f'{name}_high']):.2f})"


def chart_of(sides: Rows) -> str:
    """A bar per subject and side: its hypervolume, ours in colour."""
    parts, y = [], 8
    most = max([0.01, *(float(row.get("hypervolume") or 0) for row in sides)])
    for subject in dict.fromkeys(row["subject"] for row in sides):
        parts.append(f'<text x="8" y="{y + 12}" font-weight="600">{escape(subject)}</text>')
        y += ROW
        for row in (row for row in sides if row["subject"] == subject):
            value = float(row.get("hypervolume") or 0)
            colour = COLOURS[row["side"] != OURS]
            parts.append(f'<text x="8" y="{y + 11}">{escape(row["side"])}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="14" fill="{FAINT}" rx="2"/>')
            length = WIDTH * value / most
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="14" fill="{colour}" rx="2"/>')
            words = f"{value:.3f}" if row.get("hypervolume") else "nothing"
            parts.append(f'<text x="{LEFT + WIDTH + 8}" y="{y + 11}">{words}</text>')
            y += ROW
        y += 6
    size = f'width="{LEFT + WIDTH + 70}" height="{y + 4}" viewBox="0 0 {LEFT + WIDTH + 70} {y + 4}"'
    font = f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
