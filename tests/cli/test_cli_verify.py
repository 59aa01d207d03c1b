import json

import pytest

from sartor.cli import verify as verb
from sartor.metrics import COST_METRICS
from sartor.stages.package import GoldenResult
from sartor.types import Limit, Measurement
from sartor.verify import LimitCheck, VerifyResult

LATENCY = COST_METRICS[1]
LIMIT = Limit("latency_p95_ms", "max", 5.0, "limits.latency_p95_ms.max")


def result(outcome, status, golden=(), same=True):
    then = Measurement(LATENCY, 4.0, 3.9, 4.1, 99, "measured")
    now = None if outcome == "not re-measured" else Measurement(LATENCY, 6.0, 5.5, 6.5, 99, "measured")
    check = LimitCheck(LIMIT, then, now, outcome, "a sentence")
    found = GoldenResult(8 - len(golden), 8, 0.5, 0.001, tuple(golden))
    return VerifyResult(status, "d" * 64, found, (check,), "a", "a" if same else "b", "this", "that", "about the data")


@pytest.mark.parametrize(
    ("outcome", "status", "code", "head"),
    [
        ("met", "met", 0, "HOLDS"),
        ("missed", "regression", 4, "REGRESSION"),
        ("inconclusive", "inconclusive", 3, "INCONCLUSIVE"),
        ("not re-measured", "met", 0, "HOLDS   but 1 of 1 limits were not re-measured"),
    ],
)
def test_verdict_first_then_each_limit_then_and_now(monkeypatch, capsys, outcome, status, code, head):
    monkeypatch.setattr("sartor.verify.verify", lambda *_, **__: result(outcome, status))
    assert verb.command("package") == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == head
    row = next(line for line in lines if "latency_p95_ms" in line)
    assert "4 ms" in row
    assert ("6 ms (5.5 ms … 6.5 ms)" in row) == (outcome != "not re-measured")
    assert outcome in row


def test_another_device_is_said(monkeypatch, capsys):
    monkeypatch.setattr("sartor.verify.verify", lambda *_, **__: result("met", "met", same=False))
    verb.command("package")
    assert "another device: that; the evidence is from this" in capsys.readouterr().out


def test_golden_mismatches_are_shown_and_json_is_complete(monkeypatch, capsys):
    mismatch = "a.png: expected red; a probability differs by 0.5"
    monkeypatch.setattr("sartor.verify.verify", lambda *_, **__: result("met", "regression", golden=[mismatch]))
    assert verb.command("package") == 4
    assert mismatch in capsys.readouterr().out
    assert verb.command("package", as_json=True) == 4
    body = json.loads(capsys.readouterr().out)
    assert body["golden"]["mismatches"] == [mismatch]
    assert body["limits"][0]["limit"]["key"] == "limits.latency_p95_ms.max"
