"""The benchmarks: their arithmetic against known answers, and each from end to end on made-up data."""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sartor.metrics import COST_METRICS, index
from sartor.types import Measurement

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("[a-z]*.py"))
CONTESTS = {  # of a task, and of its peers the one that is there everywhere and starts soonest
    "face_recognition": "binary patterns",
    "image_segmentation": "U-Net",
    "recommendation": "neighbours",
    "tabular": "scikit-learn",
    "text_classification": "scikit-learn",
}


@pytest.fixture
def protocol(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _protocol

    return _protocol


TOGETHER = """
import contextlib, io, json, os, runpy, sys, traceback
for script, options, folder in json.loads(sys.argv[1]):
    os.chdir(folder)
    sys.argv[:] = [script, *options]
    code, said, told = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            traceback.print_exc()
            code = 1
    print(json.dumps([code, said.getvalue(), told.getvalue()]), flush=True)
"""


def start(script: str, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=280)


def start_together(calls: list[tuple[str, list[str], Path]]) -> list[subprocess.CompletedProcess[str]]:
    """What each of the scripts says, one after the other in one process: what they import takes most of their time."""
    asked = json.dumps([[str(BENCHMARKS / script), options, str(folder)] for script, options, folder in calls])
    places = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, asked], capture_output=True, text=True, timeout=280, check=True,
        env={**os.environ, "PYTHONPATH": places},
    )  # fmt: skip
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    return [subprocess.CompletedProcess(call, *end) for call, end in zip(calls, ends, strict=True)]


def turn(milliseconds: float) -> dict[str, Measurement]:
    metric = index(COST_METRICS)["latency_p50_ms"]
    return {metric.name: Measurement(metric, milliseconds, milliseconds, milliseconds, 100, "measured")}


def block(protocol, a1, b1, b2, a2):
    return protocol.Block((turn(a1), turn(a2)), (turn(b1), turn(b2)))


def test_a_steady_drift_cancels_out(protocol):
    blocks = [block(protocol, 1.0, 3.0 * 1.1, 3.0 * 1.1**2, 1.1**3)] * protocol.BLOCKS
    row = protocol.compare(blocks, "latency_p50_ms", "p50", "ms")
    assert row.ratio == pytest.approx(3.0)
    assert row.low == pytest.approx(3.0)
    assert row.noise_floor > 0.09
    assert row.claimed == "yes"


def test_a_ratio_within_the_noise_is_not_claimed(protocol):
    row = protocol.compare([block(protocol, 1.0, 1.1, 1.2, 1.1)] * 6, "latency_p50_ms", "p50", "ms")
    assert row.ratio > 1.09
    assert row.claimed == "no, within noise"


def test_too_few_blocks_claim_nothing(protocol):
    row = protocol.compare([block(protocol, 1.0, 5.0, 5.0, 1.0)] * 5, "latency_p50_ms", "p50", "ms")
    assert row.claimed == "no, 5 of 6 blocks"
    missing = protocol.compare([block(protocol, 1.0, 5.0, 5.0, 1.0)], "latency_p95_ms", "p95", "ms")
    assert missing.ratio is None


def test_six_ratios_are_bounded_by_the_outermost(protocol):
    assert protocol.spread([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)


def test_rows_are_kept_with_their_conditions(protocol, tmp_path):
    rows = [protocol.plain("file", "MB", 2.0, 8.0)]
    path = protocol.write_rows(tmp_path, "x on a/b 2 threads", rows, {"extra": 1})
    assert path.name == "x-on-a-b-2-threads.csv"
    (line,) = csv.DictReader(path.read_text().splitlines())
    assert (line["ratio"], line["extra"]) == ("4.0", "1")
    assert {"date", "processor", "load_1m", "packages_sha256"} <= set(line)


def test_the_recipe_is_resnet50(protocol):
    pytest.importorskip("torch")
    import _classic
    import torch

    with torch.device("meta"):
        module = _classic.resnet50(1000)
        assert module(torch.zeros(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(weight.numel() for weight in module.parameters()) == 25_557_032
    assert len(list(module.modules())) > 53


def test_levels_are_passed_once(protocol):
    pytest.importorskip("torch")
    import against_classic_recipe

    curve = [(1.0, 0.3), (2.0, 0.6), (3.0, 0.5)]
    assert against_classic_recipe.passed(curve, 0.5) == 2.0
    assert against_classic_recipe.passed(curve, 0.7) is None


@pytest.fixture(scope="module")
def helps(tmp_path_factory):
    calls = [(script, ["--help"], tmp_path_factory.getbasetemp()) for script in SCRIPTS]
    return dict(zip(SCRIPTS, start_together(calls), strict=True))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_opens_with_the_claim(script, helps):
    done = helps[script]
    assert done.returncode == 0, done.stderr
    assert "Claim: " in done.stdout
    assert "--smoke" in done.stdout


def test_without_a_run_it_is_skipped_loudly(tmp_path):
    scripts = ("chosen_against_eager.py", "against_classic_recipe.py")
    without, wrong = ([(script, run, tmp_path) for script in scripts] for run in ([], [str(tmp_path / "no-run")]))
    ends = start_together([*without, *wrong])
    for done in ends[: len(scripts)]:
        assert done.returncode == 0, done
        assert "SKIPPED, NOTHING WAS MEASURED" in done.stderr, done
    for done in ends[len(scripts) :]:
        assert done.returncode == 1, done
        assert "decision.json" in done.stderr, done
        assert "Traceback" not in done.stderr, done


@pytest.fixture(scope="module")
def made_up_run(tmp_path_factory):
    """A run folder for the scripts that look at one, made once."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        from _smoke import make_run

        return make_run(tmp_path_factory.mktemp("smoke"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "quantities"),
    [
        ("startup.py", {"import sartor", "sartor --help", "sartor predict"}),
        ("streaming.py", {"busy", "rate", "looked at", "decoded"}),
        ("chosen_against_eager.py", {"latency p50", "latency p95", "model file", "equal answers", "accuracy"}),
        ("against_classic_recipe.py", {"latency p50", "model file", "training time", "wrong answers"}),
    ],
)
def test_smoke(script, quantities, tmp_path, request):
    run = () if script in ("startup.py", "streaming.py") else (str(request.getfixturevalue("made_up_run")),)
    done = start(script, *run, "--smoke", "--results", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("CLAIM ")
    (path,) = tmp_path.glob("*.csv")
    rows = {row["quantity"]: row for row in csv.DictReader(path.read_text().splitlines())}
    assert quantities <= set(rows)
    if script == "chosen_against_eager.py":
        assert float(rows["equal answers"]["ours"]) >= 0.9
        assert float(rows["model file"]["ratio"]) > 2  # int8 against fp32
    if script == "against_classic_recipe.py":
        assert float(rows["model file"]["other"]) > 90
    if "latency p50" in rows:
        assert float(rows["latency p50"]["ratio"]) > 0
        assert rows["latency p50"]["claimed"] != "yes"  # one block claims nothing


@pytest.mark.slow
def test_search_replays_a_recorded_grid(tmp_path):
    done = start("search.py", "--smoke", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(("HOLDS", "FAILS"))
    (path,) = tmp_path.glob("search-*.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["searcher"] for row in rows} >= {"Sartor", "random", "Optuna TPE", "Optuna ASHA"}
    assert all(0 <= float(row["score_share"]) <= 1.0001 for row in rows)
    ours = [row for row in rows if row["searcher"] == "Sartor"]
    assert all(float(row["cost_share"]) <= 1.1 * float(row["budget_share"]) for row in ours if float(row["answers"]))


@pytest.mark.slow
def test_latencies_of_a_few_graphs_are_predicted(tmp_path):
    done = start("predict_latency.py", "--smoke", "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("CLAIM ")
    lines = (tmp_path / "predict_latency-smoke.csv").read_text().splitlines()
    rows = {row["method"]: row for row in csv.DictReader(lines)}
    assert set(rows) == {"sartor", "operations", "roofline", "layer table"}
    assert int(rows["sartor"]["networks"]) >= 20
    assert rows["sartor"]["below_floor"] == "0"
    assert float(rows["sartor"]["mean_error"]) > 0


@pytest.mark.slow
@pytest.mark.long
def test_a_trainer_reaches_what_a_recipe_does(tmp_path):
    pytest.importorskip("torch")
    done = start("train_to_accuracy.py", "--smoke", "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("train_to_accuracy-*.csv")
    *rows, verdict = csv.DictReader(path.read_text().splitlines())
    recipe, ours = ([row for row in rows if row["row"] == name] for name in ("recipe", "ours"))
    assert float(ours[-1]["score"]) >= float(recipe[-1]["score"]) == float(ours[-1]["target"])
    assert verdict["verdict"] == "FAILS"  # a process takes longer to start than the recipe learns
    assert float(ours[-1]["wall"]) > float(ours[-1]["trained"]) > 0


@pytest.mark.slow
def test_ways_to_fine_tune_a_tiny_checkpoint(tmp_path):
    pytest.importorskip("transformers")
    done = start("fine_tuning.py", "--smoke", "--csv", str(tmp_path / "lines.csv"))
    assert done.stdout.startswith("CLAIM "), done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith(("HOLDS", "FAILS"))
    ways = {line.split(",")[2] for line in (tmp_path / "lines.csv").read_text().splitlines()}
    assert {"head", "whole", "slower 0.1"} <= ways


def test_warm_starts_on_made_up_points(tmp_path):
    done = start("warm_starts.py", "--smoke", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, pair, *_, verdict = done.stdout.splitlines()
    assert first.startswith("CLAIM ")
    assert "from a short training" in pair
    assert verdict.startswith(("HOLDS", "OPEN", "FAILS"))
    assert not list(tmp_path.iterdir())  # a smoke run is nobody's result


def test_quoted_devices_on_a_made_up_latency(tmp_path):
    done = start("quoted_devices.py", "--smoke", "--csv", str(tmp_path / "pairs.csv"))
    assert done.returncode == 0, done.stderr
    assert "1 of 1 within" in done.stdout
    (row,) = csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines())
    assert (row["device"], row["network"], row["published_ms"]) == ("raspberry-pi-5", "one", "1.1")
    assert float(row["low_ms"]) == pytest.approx(2 * 864 * 112 * 112 / (0.1535e12 * 3) * 1e3, rel=0.01)
    done = start("quoted_devices.py", str(tmp_path))
    assert done.returncode == 2
    assert "git clone" in done.stderr


def test_boosters_on_a_made_up_table(tmp_path):
    pytest.importorskip("lightgbm")
    done = start("averaged_boosters.py", "--smoke", "--csv", str(tmp_path / "tables.csv"))
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = csv.DictReader((tmp_path / "tables.csv").read_text().splitlines())
    assert (row["table"], row["score"]) == ("factors", "RMSE")
    assert float(row["two"]) < float(row["one"])  # noise by a factor is what logarithms are for


def contest(name, monkeypatch):
    for folder in (BENCHMARKS, BENCHMARKS / "tasks"):
        monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(name)


def test_every_contest_has_its_smoke_run():
    scripts = {path.stem for path in (BENCHMARKS / "tasks").glob("[a-z]*.py")}
    assert scripts == {*CONTESTS, "object_detection", "every"}  # a detector's is a segmenter's, but for its recipes


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTESTS)
def test_contest(name, tmp_path, monkeypatch, capsys):
    script = contest(name, monkeypatch)
    assert script.__doc__.startswith("Claim: ")
    assert script.main(["--smoke", "--results", str(tmp_path), "--peers", CONTESTS[name]]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("CLAIM "), said.err
    assert " against " in said.out.splitlines()[-1], said.out + said.err
    (path,) = tmp_path.glob("*.csv")
    rows = {row["quantity"]: row for row in csv.DictReader(path.read_text().splitlines())}
    (gap,) = (row for quantity, row in rows.items() if quantity.endswith("ours better by"))
    assert float(gap["low"]) <= float(gap["ours"]) <= float(gap["high"])
    assert float(rows["latency p50"]["ratio"]) > 0
    assert float(rows["size"]["ours"]) > 0
    assert {row["claimed"] for row in rows.values()} & {"yes"} == set()  # one block claims nothing


def test_a_detector_of_the_recipe_learns(monkeypatch):
    torch = pytest.importorskip("torch")
    script = contest("object_detection", monkeypatch)
    assert script.__doc__.startswith("Claim: ")
    recipe = script.RECIPES[0]
    torch.manual_seed(0)
    module = recipe.network(2, (64, 64)).train()
    optimizer, losses = recipe.optimizer(module.parameters()), []
    targets = torch.tensor([[[1.0, 0.1, 0.2, 0.6, 0.5], [-1.0, 0, 0, 0, 0]]])  # top, left, bottom, right
    for _ in range(4):
        loss = recipe.loss(module, module(torch.ones(1, 3, 64, 64)), targets, 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    mirrored = recipe.flip(targets)[0, 0].tolist()
    assert mirrored == pytest.approx([1.0, 0.1, 0.5, 0.6, 0.8])


def outcome(verdict, protocol, gap, p95, size, claimed="yes"):
    rows = [
        protocol.Row("accuracy, ours better by", "", gap, None, low=gap - 0.01, high=gap + 0.01),
        protocol.Row("latency p95", "ms", 1.0, p95, p95, claimed=claimed),
        protocol.Row("size", "MB", 1.0, size, size),
    ]
    return verdict.verdict(rows)[0]


def test_a_contest_is_won_by_both_score_and_cost(protocol, monkeypatch):
    verdict = contest("_verdict", monkeypatch)
    assert outcome(verdict, protocol, gap=0.0, p95=6.0, size=1.0) == "HOLDS"
    assert outcome(verdict, protocol, gap=-0.005, p95=1.0, size=5.0) == "HOLDS"  # within noise
    assert outcome(verdict, protocol, gap=-0.02, p95=9.0, size=9.0) == "FAILS"
    assert outcome(verdict, protocol, gap=0.1, p95=4.0, size=4.0) == "FAILS"
    assert outcome(verdict, protocol, gap=0.0, p95=6.0, size=1.0, claimed="no, within noise") == "OPEN"


def test_sides_get_what_was_handed_over(tmp_path, monkeypatch):
    answering, child = contest("_answering", monkeypatch), contest("_child", monkeypatch)
    facts = {"labels": ["a", "b"], "truth": "structure"}
    files = answering.hand_over(tmp_path / "files", {"train": ([b"one", b"", b"\x00two"], [b"{}", b"1", b""])}, facts)
    given = child.Given({"data": str(files), "seconds": 1.0, "threads": 1, "seed": 0}, 0.0)
    assert given.raws("train") == [b"one", b"", b"\x00two"]
    assert given.truths("train") == [b"{}", b"1", b""]
    assert given.over
    assert not (files / "test.raws.npz").exists()
