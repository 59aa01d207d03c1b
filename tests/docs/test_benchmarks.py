"""The page of benchmarks says what the files of results say, and every result has its place there."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FIELDS = ("quantity", "unit", "ours", "other", "ratio", "low", "high", "claimed", "against")
CONDITIONS = {
    "date": "2026-11-23T10:00:00+00:00", "processor": "a processor", "cores": "2", "name": "spambase",
    "task": "tabular-classification", "network": "linear", "seconds": "60", "test_rows": "920",
    "verdict": "HOLDS against best & first", "foreign_load_max": "0.02", "command": "python x.py --time 60s",
}  # fmt: skip


@pytest.fixture(scope="module")
def benchmarks():
    spec = importlib.util.spec_from_file_location("benchmarks_page", DOCS / "benchmarks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, rows, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*FIELDS, *CONDITIONS])
        writer.writeheader()
        for row in rows:
            writer.writerow({**dict.fromkeys(FIELDS, ""), **CONDITIONS, **changes, **row})


def rows(other):
    return [
        {"quantity": "accuracy", "ours": "0.94", "other": other, "against": "best & first (a note)"},
        {
            "quantity": "accuracy, ours better by", "ours": "0.01", "low": "-0.01", "high": "0.03",
            "against": "best & first (a note)",
        },
        {
            "quantity": "latency p95", "unit": "ms", "ours": "0.1", "other": "20", "ratio": "200", "low": "150",
            "high": "220", "claimed": "no, within noise", "against": "best & first (a note)",
        },
        {"quantity": "size", "ours": "0.1", "other": "9", "ratio": "90", "against": "best & first (a note)"},
    ]  # fmt: skip


def test_the_page_and_its_charts_are_fresh(benchmarks):
    pages = benchmarks.pages()
    stale = [name for name, text in pages.items() if (DOCS / name).read_text(encoding="utf-8") != text]
    assert not stale, f"docs/{', '.join(stale)} is out of date; run: make docs"
    charts = {f"{benchmarks.CHARTS}/{path.name}" for path in (DOCS / benchmarks.CHARTS).iterdir()}
    assert charts == set(pages) - {"benchmarks.md"}


def test_a_result_has_its_section_and_its_chart(benchmarks, tmp_path):
    write(tmp_path / "tasks" / "tabular-spambase-0a1b2c-linear.csv", rows("0.90"))
    write(tmp_path / "tasks" / "tabular-spambase-3d4e5f-linear.csv", rows("0.93"), date="2026-11-24T10:00:00+00:00")
    write(tmp_path / "against_x-digits-0a1b2c-linear.csv", rows("0.90")[2:])
    pages = benchmarks.pages(tmp_path)
    page = pages["benchmarks.md"]
    assert page.count("### spambase") == 1, "the newest of a subject alone"
    assert "**Holds against best & first.**" in page
    assert "| 0.93, ours 0.94 | +0.01 (-0.01 … +0.03) | 200 × (not claimed) | 90 × |" in page
    assert "Made by `python x.py --time 60s`." in page
    charts = re.findall(r"\]\((images/[^)]+)\)", page)
    assert set(charts) == set(pages) - {"benchmarks.md"}
    assert len(charts) == 2
    for chart in charts:
        assert len(ElementTree.fromstring(pages[chart]).findall(".//{*}rect")) > 2


def test_costs_grow_by_factors(benchmarks):
    assert benchmarks._by_factors([1.0, 10.0, 100.0, None, 0.0]) == pytest.approx([0.1, 0.55, 1.0, 0.0, 0.0])
    assert benchmarks._by_factors([2.0, None]) == [0.1, 0.0]


def test_written_requirements_have_their_rows_and_their_bar(benchmarks, tmp_path):
    told = {
        "who": "Sartor", "possible": "yes", "budget_s": "30", "overrun": "0.02", "fresh_rows": "met", "why": "a | b",
        "processor": "a processor", "cores": "2", "date": "2026-11-28T10:00:00+00:00", "verdict": "delivered",
        "drawn": "40",
    }  # fmt: skip
    found = [
        {**told, "brief": "01-wine-easy"},
        {**told, "brief": "02-wine-size", "possible": "no", "verdict": "refused", "fresh_rows": ""},
        {**told, "brief": "03-wine-easy", "verdict": "inconclusive", "overrun": "0.25", "fresh_rows": ""},
        {**told, "brief": "01-wine-easy", "who": "a peer", "verdict": "wrong delivery"},
    ]
    for name in ("meets_the_brief-seed7-x.csv", "meets_the_brief-smoke-x.csv"):
        (tmp_path / "briefs").mkdir(exist_ok=True)
        with (tmp_path / "briefs" / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(found[0]))
            writer.writeheader()
            writer.writerows(found)
    pages = benchmarks.pages(tmp_path)
    page, chart = pages["benchmarks.md"], pages["images/benchmarks/meets-the-brief-seed7.svg"]
    assert "### 3 requirements, 2 possible, budgets of 30 to 30 s" in page
    assert "These are 3 of the 40 drawn" in page
    assert "| Sartor | 3 | 1 | 0 | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 1 | +25% |" in page
    assert "| a peer | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | +2% |" in page
    assert "| 03-wine-easy | inconclusive | +25% | a / b |" in page
    assert "| 01-wine-easy |" not in page
    assert "smoke" not in page
    drawn = ElementTree.fromstring(chart)
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == 3
