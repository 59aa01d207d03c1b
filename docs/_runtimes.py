"""The section "Which runtime?" of docs/benchmarks.md, from benchmarks/results/runtimes/. Used by benchmarks.py."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median

INTRODUCTION = """\
Networks with random weights, in every runtime, precision and number of threads. Sartor's pick
is made as in a run: a short look at each of its own ways (ONNX Runtime and OpenVINO; the build of ONNX Runtime with
OpenVINO cannot be installed beside the plain one), threads varied for the fastest. Then all ways are measured at
length, in turn, in other processes. *Regret* is how much longer the pick takes than the best of all ways, torch eager
and torch.compile among them; *A/A* is how far two processes of the pick are apart. A regret of at most 2 %, or below
A/A (5 % of it at most), is a tie. Each case is asked twice: where only fp32 will do, and where int8 (or bf16) may be
taken.

Weights are random, so nothing here says what int8 costs in accuracy: in a run it must keep the limits and lose no more
than allowed, or it is rejected."""
NO_DOT_PRODUCTS = """\
This processor has AVX2 without dot products of bytes (VNNI) or tiles (AMX): int8 gains a small part here of what it
gains where they are."""
COLOURS = {1: "#b4bdcb", 8: "#7cc9a5", 32: "#3f8f6b"}
INK, FAINT = "#1c2733", "#dde2ea"
LEFT, WIDTH, ROW, TOP = 120, 420, 14, 34
Rows = Sequence[Mapping[str, str]]


def section(results: Path, charts: Path) -> tuple[list[str], dict[str, str]]:
    """Lines of the page, and charts by their path below docs/; nothing where there is no result."""
    lines: list[str] = []
    made: dict[str, str] = {}
    for path, rows in _files(results / "runtimes"):
        judged = [row for row in rows if row["question"]]
        chart = f"{charts}/{path.stem.lower()}.svg"
        made[chart] = chart_of(judged)
        refused = [row for row in rows if row.get("refused")]
        lines += ["", *_words(path, judged, refused, chart, results)]
    return (["", "## Which runtime?", "", INTRODUCTION, *lines], made) if lines else ([], {})


def _files(folder: Path) -> Iterator[tuple[Path, Rows]]:
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            yield path, list(csv.DictReader(file))


def _words(path: Path, judged: Rows, refused: Rows, chart: str, results: Path) -> list[str]:
    first = judged[0]
    within = sum(row["within"] == "True" for row in judged)
    slower = sum(row["slower_than_eager"] == "True" for row in judged)
    regrets = sorted(float(row["regret"]) - 1 for row in judged)
    busiest = max(float(row["foreign_load"]) for row in judged)
    models, batches = ({row[name] for row in judged} for name in ("model", "batch"))
    span = ", ".join(sorted(batches, key=int))
    lines = [
        f"### {first['processor']}, {first['cores']} cores",
        "",
        f"**Within 2 % of the best, or a tie, in {within} of {len(judged)}; slower than torch eager in {slower}.**"
        f" Regret: median {median(regrets):.1%}, largest {regrets[-1]:.1%}. {len(models)} networks, batch {span};"
        f" {first['date'][:10]}, level {first['level']}, others used at most {busiest:.0%} of the cores.",
    ]
    if first["level"] in ("avx2", "avx512"):
        lines += ["", NO_DOT_PRODUCTS]
    missing = Counter((row["way"], row["refused"]) for row in refused)
    for (way, why), count in sorted(missing.items()):
        lines += ["", f"Left out in {count} of {len(judged) // 2}: {_way(way)}: {why}."]
    lines += ["", f"![How many times as fast as torch eager in fp32 the picks are]({chart})", "", *_by_kind(judged), ""]
    lines += [
        "| network | batch | fp32: pick | regret | A/A | any: pick | best of all | regret | A/A | × eager |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, batch in dict.fromkeys((row["model"], row["batch"]) for row in judged):
        fp32, free = (
            next(r for r in judged if (r["model"], r["batch"], r["question"]) == (model, batch, question))
            for question in ("fp32", "any")
        )
        best = "" if free["best"] == free["pick"] else _way(free["best"])
        lines.append(
            f"| {model} | {batch} | {_way(fp32['pick'])} | {_regret(fp32)} | {float(fp32['noise_floor']):.1%} "
            f"| {_way(free['pick'])} | {best} | {_regret(free)} | {float(free['noise_floor']):.1%} "
            f"| {float(free['over_eager']):.2f} |"
        )
    place = path.relative_to(results)
    made = f"Made by `python benchmarks/runtimes.py`. [All rows](../benchmarks/results/{place})."
    return [*lines, "", made]


def _by_kind(judged: Rows) -> list[str]:
    """Times torch eager fp32 by class of network: the median over its cases, and the span."""
    lines = ["| class | fp32, × eager | any precision, × eager |", "| --- | --- | --- |"]
    for kind in sorted({row["kind"] for row in judged}, key=lambda name: (name == "other", name)):
        cells = []
        for question in ("fp32", "any"):
            found = [float(r["over_eager"]) for r in judged if (r["kind"], r["question"]) == (kind, question)]
            cells.append(f"{median(found):.2f} ({min(found):.2f} … {max(found):.2f})")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def _way(name: str) -> str:
    """E.g. ``OpenVINO int8, 2 threads``."""
    titles = {
        "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "onnxruntime-openvino": "ONNX Runtime + OpenVINO",
        "torch": "torch eager", "torch-compile": "torch.compile",
    }  # fmt: skip
    runtime, precision, threads = name.split()
    return f"{titles.get(runtime, runtime)} {precision}, {threads} thread{'' if threads == '1' else 's'}"


def _regret(row: Mapping[str, str]) -> str:
    shown = f"{float(row['regret']) - 1:.1%}"
    return shown if row["within"] == "True" else f"**{shown}**"


def chart_of(judged: Rows) -> str:
    """A bar per network and batch: times torch eager fp32, any precision, on a scale of factors."""
    free = [row for row in judged if row["question"] == "any"]
    most = max(2.0, *(float(row["over_eager"]) for row in free))
    models = list(dict.fromkeys(row["model"] for row in free))
    scale = WIDTH / math.log(most)
    parts, y = [], TOP
    for place, (batch, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="{LEFT + 90 * place}" y="8" width="12" height="12" fill="{colour}" rx="2"/>')
        parts.append(_text(LEFT + 90 * place + 18, 18, f"batch {batch}"))
    for model in models:
        parts.append(_text(8, y + 11, model))
        for row in (row for row in free if row["model"] == model):
            value = float(row["over_eager"])
            length = max(1.0, math.log(max(value, 1.0)) * scale)
            colour = COLOURS.get(int(row["batch"]), FAINT)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 3}" fill="{colour}" rx="2"/>')
            parts.append(_text(LEFT + length + 6, y + 10, f"{value:.3g} ×"))
            y += ROW
        y += 6
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{y + 4}"'
    view = f'viewBox="0 0 {LEFT + WIDTH + 60} {y + 4}" font-family="system-ui, sans-serif" font-size="11" fill="{INK}">'
    return "\n".join([f"{head} {view}", '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y}">{escape(words)}</text>'
