"""The benchmark of compression: its arithmetic against known answers, and a run from end to end on a made-up table."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import math
import subprocess
import sys
from itertools import combinations, permutations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
ROUNDS = 6


def part(name):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(f"frontier.{name}")
    finally:
        sys.path.remove(str(BENCHMARKS))


volume, verdict = part("volume"), part("verdict")

UNHURRIED = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
SAVINGS = st.floats(-0.5, 1.0, allow_nan=False)
POINTS = st.lists(st.tuples(SAVINGS, SAVINGS, SAVINGS), max_size=5)


def union_by_inclusion_and_exclusion(points):
    boxes = [point for point in points if min(point) > 0]
    total = 0.0
    for size in range(1, len(boxes) + 1):
        for chosen in combinations(boxes, size):
            total -= (-1) ** size * math.prod(min(axis) for axis in zip(*chosen, strict=True))
    return total


def test_volume_of_known_boxes():
    assert volume.hypervolume([]) == 0
    assert volume.hypervolume([(0.5, 0.5, 0.5)]) == pytest.approx(0.125)
    assert volume.hypervolume([(1, 0.5, 0.5), (0.5, 1, 0.5)]) == pytest.approx(0.375), "what both cover counts once"
    assert volume.hypervolume([(1, 1, 0.0), (1, -0.1, 1)]) == 0, "nothing saved in one of the three covers nothing"


@UNHURRIED
@given(POINTS)
def test_volume_is_that_of_the_union(points):
    assert volume.hypervolume(points) == pytest.approx(union_by_inclusion_and_exclusion(points), abs=1e-12)


@UNHURRIED
@given(POINTS, st.tuples(SAVINGS, SAVINGS, SAVINGS))
def test_a_point_adds_volume_or_nothing(points, more):
    before, after = volume.hypervolume(points), volume.hypervolume([*points, more])
    assert after >= before - 1e-12
    if any(volume.covers(point, more) for point in points):
        assert after == pytest.approx(before)


@UNHURRIED
@given(st.lists(st.tuples(SAVINGS, SAVINGS, SAVINGS), min_size=2, max_size=3))
def test_volume_knows_no_order(points):
    found = [volume.hypervolume(order) for order in permutations(points)]
    assert found == pytest.approx([found[0]] * len(found))


def test_the_reference_point_saves_nothing():
    assert volume.saved(loss=0.1, time=1.0, size=1.0) == (0.0, 0.0, 0.0)
    assert volume.saved(loss=0.0, time=0.25, size=0.5) == (1.0, 0.75, 0.5)
    assert not volume.covers((0.9, 0.9, 0.9), (0.9, 0.9, 0.91))


# ------------------------------------------------------------------------------------------------- verdicts


def form(side, name, *, wrong=0, p95=1.0, size=1000, rows=1000):
    """Its first ``wrong`` answers are wrong; p95 is a number or one of each round."""
    times = tuple(p95) if isinstance(p95, list) else (p95,) * ROUNDS
    return verdict.Form(side, name, size, tuple([0.0] * wrong + [1.0] * (rows - wrong)), times, times)


def case(*forms, subject="digits", kind="ResNet-class", again=1.0, missing=None):
    parent = form("Sartor", "none, onnxruntime")
    return verdict.Case(
        subject, kind, parent, form("Sartor", "none, onnxruntime", p95=again), (parent, *forms), missing or {}
    )


def test_loss_is_relative_and_paired():
    parent = form("Sartor", "none", wrong=200)
    value, low, high = verdict.loss(parent, form("Sartor", "int8", wrong=208))
    assert value == pytest.approx(8 / 800)
    assert low <= value <= high
    assert high - low < 0.03, "the rows that both have wrong say nothing"


def test_a_peer_is_dominated_where_ours_is_no_worse_in_all_three():
    ours = form("Sartor", "int8", wrong=2, p95=0.25, size=250)
    slower = form("NNCF", "quantize", wrong=2, p95=0.5, size=250)
    assert verdict.standing(case(ours, slower), slower) == ("yes", "int8")
    smaller = form("NNCF", "quantize", wrong=2, p95=0.5, size=249)
    assert verdict.standing(case(ours, smaller), smaller) == ("no", "")
    better = form("NNCF", "quantize", wrong=0, p95=0.5, size=250)
    assert verdict.standing(case(ours, better), better) == ("within noise", "int8"), "two rows of a thousand"
    poor = form("NNCF", "quantize", wrong=150, p95=0.01, size=1)
    assert verdict.standing(case(ours, poor), poor) == ("yes", "the reference point")


def test_noise_of_the_clock_decides_nothing():
    ours = form("Sartor", "int8", p95=[0.26, 0.24, 0.26, 0.26, 0.26, 0.24], size=250)
    theirs = form("NNCF", "quantize", p95=0.25, size=250)
    assert verdict.standing(case(ours, theirs), theirs)[0] == "within noise", "the rounds go both ways"
    ours = form("Sartor", "int8", p95=0.26, size=250)
    assert verdict.standing(case(ours, theirs), theirs)[0] == "no"
    noisy = case(ours, theirs, again=1.05)
    assert verdict.standing(noisy, theirs)[0] == "within noise", "below three times what two processes differ"


def test_speed_is_of_the_fastest_form_that_keeps_the_metric():
    lossy = form("Sartor", "int8", wrong=11, p95=0.1)
    kept = form("Sartor", "mixed", wrong=10, p95=0.2)
    one = case(lossy, kept)
    assert verdict.fastest(one, "Sartor").name == "mixed"
    two = case(form("Sartor", "int8", p95=1 / 45), subject="cifar10")
    assert verdict.gain([one, two], "Sartor")[0] == pytest.approx(math.sqrt(5 * 45))
    assert verdict.gain([one, two], "NNCF") is None


def words(cases, peers=("NNCF",)):
    return [ruling.word for ruling in verdict.rulings(cases, peers)]


def test_the_claim_needs_dominance_and_each_bar():
    ours, theirs = form("Sartor", "int8", p95=0.1, size=250), form("NNCF", "quantize", p95=0.5, size=500)
    both = [case(ours, theirs), case(ours, theirs, subject="sms", kind="BERT-class")]
    assert words(both) == ["HOLDS", "HOLDS", "HOLDS", "HOLDS"]
    slow = form("Sartor", "int8", p95=1 / 5, size=250)
    assert words([case(slow, theirs), both[1]]) == ["HOLDS", "HOLDS", "FAILS", "HOLDS"], "8 × of each class"
    assert words(both[:1]) == ["HOLDS", "HOLDS", "HOLDS", "OPEN"], "a class without a subject"
    ahead = form("NNCF", "quantize", p95=0.01, size=500)
    assert words([case(ours, ahead), both[1]])[0] == "FAILS"
    assert verdict.overall(verdict.rulings(both, ["NNCF"])) == "HOLDS"


def test_a_bar_within_the_rounds_is_open():
    around = form("Sartor", "int8", p95=[1 / 7.5, 1 / 8.5] * 3)
    assert words([case(around)], ())[1] == "OPEN"


def test_a_peer_that_made_nothing_is_not_beaten():
    gone = case(form("Sartor", "int8", p95=0.1), missing={"NNCF": "quantize: it could not be installed"})
    (ruling, *_) = verdict.rulings([gone], ["NNCF"])
    assert ruling.word == "OPEN"
    assert "it could not be installed" in ruling.what


def test_volumes_are_compared_round_by_round():
    ours = form("Sartor", "int8", p95=[0.5, 0.5, 0.6, 0.5, 0.5, 0.5], size=500)
    theirs = form("NNCF", "quantize", p95=0.75, size=500)
    value, low, high = verdict.volume_lead(case(ours, theirs), "NNCF")
    assert value == pytest.approx(0.5 * 0.5 - 0.25 * 0.5)
    assert low == pytest.approx(0.4 * 0.5 - 0.25 * 0.5)
    assert high == pytest.approx(value)


# ------------------------------------------------------------------------------------------------- peers


def test_a_peer_that_fails_is_named_with_its_error(tmp_path):
    peers = part("peers")
    folder = tmp_path / "digits"
    folder.mkdir()
    broken = peers.Peer("ONNX Runtime", "quantize_static", "ort-static", None, ("onnxruntime",))
    made = peers.make(broken, folder, "MLP", lambda line: None)  # there is no fp32.onnx
    assert not made.file
    assert "fp32.onnx" in made.error
    assert json.loads((folder / "theirs" / "ort-static" / "made.json").read_text())["error"] == made.error
    kept = folder / "theirs" / "ort-static" / "made.json"
    kept.write_text(json.dumps({"maker": "ort-static", "file": "", "error": "killed"}))
    assert peers.make(broken, folder, "MLP", lambda line: None).error == "killed"
    assert "fp32.onnx" in peers.make(broken, folder, "MLP", lambda line: None, again=True).error
    absent = peers.Environment("never-made", ("nothing",))
    made = peers.make(peers.Peer("NNCF", "quantize", "nncf", absent, ()), folder, "MLP", lambda line: None)
    assert made.error == "its environment never-made was not made (--environments)"
    assert not (folder / "theirs" / "nncf").exists(), "what can still come is not kept as a failure"


def test_weights_beside_a_file_are_counted(tmp_path):
    for name, size in {"model.onnx": 10, "model.onnx_data": 500, "made.json": 7}.items():
        (tmp_path / name).write_bytes(b"0" * size)
    assert part("recording").size_of(tmp_path / "model.onnx") == 510


def test_every_peer_has_its_maker_and_its_versions():
    peers, makers = part("peers"), part("makers")
    assert {peer.maker for peer in peers.PEERS} == set(makers.MAKERS)
    assert len(peers.SIDES) == 5
    assert all("==" in package for one in peers.ENVIRONMENTS for package in one.packages)


def test_every_compressor_of_the_catalogue_takes_part():
    from sartor import registry

    plugins = [plugin for plugin in registry.every("compressors") if not hasattr(plugin, "reshapes")]
    whole = {plugin.name for plugin in plugins if getattr(plugin, "is_installed", lambda: True)()}
    assert {compressor for _, _, compressor in part("subjects").ways()} == whole


# ------------------------------------------------------------------------------------------------- the result


def written(folder, *, failed=True):
    """A file of results: one subject, a peer that made a form and, where one ``failed``, one that did not."""
    rows, recording = part("rows"), part("recording")
    one = case(
        form("Sartor", "int8-static, openvino", wrong=2, p95=0.1, size=250),
        form("NNCF", "quantize, openvino", wrong=2, p95=0.5, size=500),
        missing={"torchao": "int8 weights, torch: RuntimeError: no kernel"},
    )
    found = [recording.Entry(f.side, f.name, "openvino", "int8", "model.onnx", "python") for f in one.forms]
    if failed:
        found.append(
            recording.Entry("torchao", "int8 weights, torch", "torch", "int8", "", "python", "no kernel | at all")
        )
    recorded = {"threads": 1, "refused": {}, "ran": {}, "date": "2026-11-29T00:00:00", "foreign_load": 0.02}
    facts = {"network": "resnet9-m", "metric": "accuracy", "test_rows": 1000}
    return rows.write(
        folder / "frontier.csv",
        rows.rows_of(one, facts, found, recorded),
        verdict.rulings([one], ["NNCF", "torchao"]),
    )


def test_a_result_keeps_what_failed(tmp_path):
    with written(tmp_path).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["processor"] for row in rows}) == 1
    (failed,) = (row for row in rows if row["row"] == "form" and row["side"] == "torchao")
    assert (failed["error"], failed["loss"]) == ("no kernel | at all", "")
    (theirs,) = (row for row in rows if row["row"] == "form" and row["side"] == "NNCF")
    assert (theirs["dominated"], theirs["dominated_by"]) == ("yes", "int8-static, openvino")
    (side,) = (row for row in rows if row["row"] == "side" and row["side"] == "NNCF")
    assert float(side["our_lead"]) == pytest.approx(0.98 * (0.9 * 0.75 - 0.5 * 0.5), rel=1e-4)
    assert [row["verdict"] for row in rows if row["row"] == "verdict"] == [
        "HOLDS", "OPEN", "HOLDS", "HOLDS", "OPEN", "OPEN",
    ]  # fmt: skip


def test_a_result_has_its_section_and_chart(tmp_path):
    (tmp_path / "frontier").mkdir()
    written(tmp_path / "frontier")
    spec = importlib.util.spec_from_file_location("_frontier", ROOT / "docs" / "_frontier.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    lines, charts = page.section(tmp_path, Path("images"))
    text = "\n".join(lines)
    assert "**Open.** 6 rounds, 2026-11-29" in text
    assert "* Holds: NNCF is dominated; hypervolume digits 0.66" in text
    assert "| torchao | int8 weights, torch | none: no kernel / at all |" in text
    assert "10.00 × (10.00 … 10.00) | 4.00 ×" in text
    (chart,) = charts.values()
    assert len(ElementTree.fromstring(chart).findall(".//{*}rect")) == 7
    assert page.section(tmp_path / "none", Path("images")) == ([], {})
    written(tmp_path / "frontier", failed=False)  # then there is no column of errors
    assert "none: " not in "\n".join(page.section(tmp_path, Path("images"))[0])


@pytest.mark.slow
def test_smoke(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, str(BENCHMARKS / "compress_frontier.py"), "--smoke", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("CLAIM ")
    (path,) = tmp_path.glob("*.csv")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    forms = {(row["side"], row["form"]): row for row in rows if row["row"] == "form"}
    parent = forms["Sartor", "none, onnxruntime"]
    assert float(parent["loss"]) == 0
    assert float(parent["value"]) > 0.6, "it has learnt"
    quantised = forms["ONNX Runtime", "quantize_static, onnxruntime"]
    assert quantised["ran"] == "int8"
    assert int(quantised["bytes"]) < int(parent["bytes"])
    assert quantised["dominated"] in ("yes", "within noise", "no")
    assert {row["side"] for row in rows if row["row"] == "side"} == {"Sartor", "ONNX Runtime"}
    assert {row["verdict"] for row in rows if row["row"] == "verdict"} <= {"OPEN", "FAILS"}, "two rounds hold nothing"
