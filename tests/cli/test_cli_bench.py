import json
from pathlib import Path

import pytest

from sartor.bench import BenchResult, BenchRow
from sartor.cli import bench as verb
from sartor.errors import SartorError
from sartor.metrics import COST_METRICS, Metric
from sartor.types import Measurement

ACCURACY = Metric("accuracy", "", "higher", "quality", "accuracy", True)


def measured(metric, value, noisy=False):
    return Measurement(metric, value, value, value, 9, "measured", noisy=noisy)


def rows():
    costs = [measured(metric, 10.0 + place) for place, metric in enumerate(COST_METRICS)]
    return (
        BenchRow("onnxruntime", "fp32", (*costs, measured(ACCURACY, 0.875))),
        BenchRow("openvino", "bf16", tuple(measured(metric, 3.0, True) for metric in COST_METRICS)),
        BenchRow("openvino", "int8", refusal="CRASHED: it ended with SIGSEGV"),
    )


def command(**changes):
    options = {
        "data": "",
        "runtimes": "",
        "threads": 0,
        "seconds": 2.0,
        "size": "",
        "normalise": "imagenet",
        "labels": "",
        "workspace": None,
        "as_json": False,
    }
    return verb.command(Path("m.onnx"), **{**options, **changes})


def test_a_row_each_with_what_could_not_run(monkeypatch, capsys):
    seen = []

    def bench(model, conditions):
        seen.append(conditions)
        return BenchResult(str(model), "a machine", 2, rows(), ("an assumption",))

    monkeypatch.setattr("sartor.bench.bench", bench)
    assert command(runtimes="onnxruntime, openvino", size="20x30", labels="a,b") == 0
    assert seen[0].runtimes == ("onnxruntime", "openvino")
    assert (seen[0].size, seen[0].labels) == ((20, 30), ("a", "b"))
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[1].split() == [
        "runtime",
        "precision",
        "size",
        "MB",
        "p50",
        "ms",
        "p95",
        "ms",
        "memory",
        "MB",
        "accuracy",
    ]
    assert lines[2].split() == ["onnxruntime", "fp32", "14", "10", "11", "15", "0.875"]
    assert "3*" in lines[3]
    assert "CRASHED: it ended with SIGSEGV" in out
    assert "an assumption" in out
    assert "too busy" in out
    command(as_json=True)
    assert json.loads(capsys.readouterr().out)["rows"][2]["refusal"].startswith("CRASHED")


def test_nothing_that_runs_is_an_error(monkeypatch):
    monkeypatch.setattr("sartor.bench.bench", lambda *_: BenchResult("m", "d", 1, rows()[2:], ()))
    assert command() == 1


@pytest.mark.parametrize(("option", "word"), [({"normalise": "x"}, "imagenet"), ({"size": "x"}, "224x224")])
def test_options_are_checked(option, word):
    with pytest.raises(SartorError, match=word):
        command(**option)
