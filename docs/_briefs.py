"""The part of docs/benchmarks.md about written requirements, from benchmarks/results/briefs/."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Rows = Sequence[Mapping[str, str]]
INTRODUCTION = """\
Requirements drawn by a seed over all tasks: data, limits and a budget. What is possible is known from scikit-learn
on the same rows or by construction, and so is what is impossible: noise in the truths, more bits than fit, less
time or memory than decoding or an empty Python takes. Each is run by `sartor run` in a workspace of its own;
packages are re-measured later by `sartor verify` in new processes. An overrun is a wall time above 1.1 × the
budget."""
COLOURS = {
    "delivered": "#7cc9a5",
    "delivered, not re-measured": "#c4e6d6",
    "refused": "#4a9d79",
    "inconclusive": "#dde2ea",
    "unproven": "#f0d58c",
    "wrong binding": "#e8a86b",
    "wrong refusal": "#e08a5c",
    "wrong delivery": "#c8553d",
    "crash": "#7a2e22",
}
"""Verdicts in the order in which they are shown."""
OURS, OVER = "Sartor", 0.1
LEFT, WIDE, ROW = 170, 460, 26
Text = Callable[..., str]


def newest(folder: Path) -> list[tuple[Path, Rows]]:
    """Every file of rows, in the order of names; smoke runs are no results."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if rows and "-smoke-" not in path.name:
            found.append((path, rows))
    return found


def section(rows: Rows, chart: str, link: str) -> list[str]:
    """What came of one seed's requirements."""
    mine = [row for row in rows if row["who"] == OURS]
    first, possible = mine[0], sum(row["possible"] == "yes" for row in mine)
    budgets = [int(row["budget_s"]) for row in mine]
    lines = [
        f"### {len(mine)} requirements, {possible} possible, budgets of {min(budgets)} to {max(budgets)} s",
        "",
        f"{first['processor']}, {first['cores']} cores, {first['date'][:10]}.{_part(mine)}",
        "",
        f"![What came of each requirement, and its wall time against its budget]({chart})",
        "",
        f"| | asked | {' | '.join(COLOURS)} | over budget | worst |",
        f"| --- | ---: | {' | '.join('---:' for _ in COLOURS)} | ---: | ---: |",
    ]
    for who in sorted({row["who"] for row in rows}, key=lambda name: (name != OURS, name)):
        theirs = [row for row in rows if row["who"] == who]
        counts, late = Counter(row["verdict"] for row in theirs), [float(row["overrun"]) for row in theirs]
        cells = [str(counts[word]) for word in COLOURS]
        lines.append(
            f"| {who} | {len(theirs)} | {' | '.join(cells)} | {sum(one > OVER for one in late)} | {max(late):+.0%} |"
        )
    fresh = Counter(row["fresh_rows"] for row in mine if row["verdict"] == "delivered" and row["fresh_rows"])
    told = ", ".join(f"{count} {word}" for word, count in fresh.most_common())
    lines += ["", f"Quality of delivered packages on rows that no run had seen: {told or 'not measured'}."]
    bad = [row for row in mine if row["verdict"] not in ("delivered", "refused") or float(row["overrun"]) > OVER]
    if bad:
        lines += ["", "| not as it should be | verdict | wall against budget | why |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {row['brief']} | {row['verdict']} | {float(row['overrun']):+.0%} | {_plain(row['why'])} |"
            for row in bad
        ]
    return [*lines, "", link]


def _part(mine: Rows) -> str:
    """How many of those drawn these are, where they are not all."""
    drawn = int(mine[0].get("drawn") or len(mine))
    return f" These are {len(mine)} of the {drawn} drawn, in the order of drawing." if drawn > len(mine) else ""


def _plain(text: str) -> str:
    return text.replace("|", "/")


def chart(rows: Rows, text: Text, svg: Callable[..., str]) -> str:
    """A bar of verdicts for each side; under it our wall times as shares of the budget."""
    parts, y = [], 12
    names = sorted({row["who"] for row in rows}, key=lambda name: (name != OURS, name))
    for name in names:
        theirs = [row for row in rows if row["who"] == name]
        counts, x = Counter(row["verdict"] for row in theirs), float(LEFT)
        parts.append(text(8, y + 12, name, bold=name == OURS))
        for word, colour in COLOURS.items():
            width = WIDE * counts[word] / len(theirs)
            if width:
                parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>')
                parts.append(text(x + 4, y + 12, str(counts[word])))
            x += width
        y += ROW
    x = float(LEFT)
    for word in (word for word in COLOURS if any(row["verdict"] == word for row in rows)):
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="10" height="10" fill="{COLOURS[word]}"/>')
        parts.append(text(x + 14, y + 9, word))
        x += 24 + 7 * len(word)
    y += ROW + 6
    shares = [1 + float(row["overrun"]) for row in rows if row["who"] == OURS]
    most = max([1.3, *shares])
    parts.append(text(8, y + 22, "wall / budget", bold=True))
    for edge in (0.0, 0.5, 1.0, 1 + OVER):
        place = LEFT + WIDE * edge / most
        parts.append(f'<line x1="{place:.1f}" y1="{y}" x2="{place:.1f}" y2="{y + 34}" stroke="#b4bdcb"/>')
        parts.append(text(place + 2, y + 46, f"{edge:g}"))
    for number, share in enumerate(shares):
        colour = "#c8553d" if share > 1 + OVER else "#7cc9a5"
        parts.append(
            f'<circle cx="{LEFT + WIDE * share / most:.1f}" cy="{y + 5 + 6 * (number % 5)}" r="3" fill="{colour}"/>'
        )
    return svg(LEFT + WIDE + 20, y + 54, parts)
