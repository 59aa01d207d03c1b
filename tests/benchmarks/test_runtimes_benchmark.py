"""The benchmark of runtimes: its pick is the product's, its regret is against the best of all ways."""

from __future__ import annotations

import csv
import importlib.util
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def runtimes(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import runtimes

    return runtimes


def found(**changes):
    """A case as it is kept: the pick for fp32 is 10 % off, the one for any precision is the best."""
    turns = {
        "onnxruntime fp32 2": [1.1, 1.1, 1.1],
        "openvino fp32 2": [1.0, 1.0, 1.0],
        "openvino int8 2": [0.5, 0.5, 0.5],
        "torch fp32 1": [4.0, 4.0, 4.0],
        "torch fp32 2": [3.0, 3.0, 3.0],
        "openvino int8 2 again": [0.5, 0.51, 0.52],
    }
    return {
        "model": "resnet-8", "batch": 1, "turns": turns, "refused": {"torch-compile fp32 2": "no compiler"},
        "picked": {"fp32": "onnxruntime fp32 2", "any": "openvino int8 2"},
        "probed": {"onnxruntime fp32 2": 1.0, "openvino int8 2": 0.5}, "apart": {"openvino int8 2": 0.01},
        "foreign_load": 0.02, "level": "avx2", "date": "2026-11-28T20:00:00", **changes,
    }  # fmt: skip


def test_regret_is_against_the_best_of_what_the_question_allows(runtimes):
    fp32, free = (runtimes.judge(found(), question) for question in runtimes.QUESTIONS)
    assert (fp32["best"], fp32["pick"]) == ("openvino fp32 2", "onnxruntime fp32 2")
    assert fp32["regret"] == pytest.approx(1.1)
    assert not fp32["within"]
    assert fp32["over_eager"] == pytest.approx(3.0 / 1.1), "the faster of eager's threads"
    assert (free["regret"], free["within"]) == (1.0, True)
    assert free["noise_floor"] == pytest.approx(0.02)
    assert not free["slower_than_eager"]


def test_a_regret_below_the_noise_floor_is_a_tie(runtimes):
    case = found()
    case["turns"]["openvino fp32 2"] = [1.06] * 3
    assert not runtimes.judge(case, "fp32")["within"]
    case["turns"]["onnxruntime fp32 2 again"] = [1.15] * 3
    assert runtimes.judge(case, "fp32")["within"]
    case["turns"]["openvino fp32 2"] = [1.0] * 3
    assert not runtimes.judge(case, "fp32")["within"], "much noise excuses no more"


def test_slower_than_eager_is_seen(runtimes):
    case = found()
    case["turns"]["torch fp32 2"] = [0.2] * 3
    row = runtimes.judge(case, "any")
    assert row["slower_than_eager"]
    assert row["best"] == "torch fp32 2"
    assert "FAILS" in runtimes.report([case])


def test_the_pick_is_made_by_short_looks_at_its_own_ways_alone(runtimes):
    looked = []
    times = {"onnxruntime fp32": 1.0, "openvino fp32": 1.05, "onnxruntime int8": 0.7, "openvino int8": 3.0}

    def probe(way):
        looked.append(way)
        return times[f"{way.runtime} {way.precision}"] / (1.25 if way.threads == 1 else 1.0)

    possible = [runtimes.Way(*name.split(), threads) for name in times for threads in (1, 2)]
    possible += [runtimes.Way("torch", "fp32", 2), runtimes.Way("onnxruntime-openvino", "fp32", 2)]
    picked, seen = runtimes.choose(runtimes.Case("resnet-8", 1), possible, 2, probe, ())
    assert picked["fp32"].name == "onnxruntime fp32 1"
    assert picked["any"].name == "onnxruntime int8 1"
    assert {way.runtime for way in looked} == {"onnxruntime", "openvino"}
    assert len(looked) == len(set(looked)), "nothing is looked at twice"
    assert runtimes.Way("openvino", "int8", 1) not in seen, "what is far behind is not varied"


def test_what_the_cases_before_showed_of_threads_is_known(runtimes):
    case = found(probed={"openvino fp32 2": 1.0, "openvino fp32 1": 2.0, "openvino int8 2": 0.4})
    (fact,) = runtimes.facts_from([case])
    assert (fact.graph, fact.best, fact.most, fact.ms) == ("resnet-8", 2, 2, 1.0)
    assert fact.way.task == "image-classification"


def test_a_result_has_its_section_and_chart(runtimes, tmp_path):
    rows = runtimes.rows_of([found(), found(model="mlp", batch=8)])
    path = runtimes._write(tmp_path / "runtimes" / "runtimes-x.csv", rows)
    with path.open(encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert math.isclose(float(kept[0]["regret"]), 1.1)
    assert any(row["refused"] == "no compiler" for row in kept)
    spec = importlib.util.spec_from_file_location("_runtimes", ROOT / "docs" / "_runtimes.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    lines, charts = page.section(tmp_path, Path("images"))
    text = "\n".join(lines)
    assert "**Within 2 % of the best, or a tie, in 2 of 4; slower than torch eager in 0.**" in text
    assert "without dot products" in text
    assert "2 networks, batch 1, 8;" in text
    assert "Left out in 2 of 2: torch.compile fp32, 2 threads: no compiler." in text
    assert "| resnet-8 | 1 | ONNX Runtime fp32, 2 threads | **10.0%** |" in text
    (chart,) = charts.values()
    assert len(ElementTree.fromstring(chart).findall(".//{*}rect")) >= 5


@pytest.mark.slow
def test_smoke(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "runtimes.py"), "--smoke", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("CLAIM ")
    (path,) = tmp_path.glob("*.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    judged = [row for row in rows if row["question"]]
    assert {(row["model"], row["question"]) for row in judged} == {
        (model, question) for model in ("mlp", "text-linear") for question in ("fp32", "any")
    }
    assert all(float(row["regret"]) >= 1 and float(row["over_eager"]) > 0 for row in judged)
    answers = [row for row in rows if row["apart_from_eager"] and " fp32 " in row["way"]]
    assert answers
    assert all(float(row["apart_from_eager"]) < 1e-3 for row in answers), "all ways answer alike"
