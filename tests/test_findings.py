"""What a run takes in of the outcomes of its actions: judgements with what they show, explanations, refusals."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sartor import registry
from sartor.catalog.contracts import Action, Outcome
from sartor.evidence import Evidence
from sartor.findings import Findings
from sartor.jobs import (
    ArtifactResult,
    DescribeResult,
    EvaluateJob,
    EvaluateResult,
    ExplainJob,
    ExplainResult,
    MeasureJob,
    MeasureResult,
    NetworkCost,
    Recipe,
    TrainJob,
    TrainResult,
)
from sartor.other_runs import looks_of_others
from sartor.run import _pipeline, _probe_spent, metrics_of
from sartor.testing.tiny_package import tiny_run, write_colour_model
from sartor.types import Artifact, Chart, DataProblem, Device, Example, Explanation, Record, Refusal, Table


@pytest.fixture
def run(fake_tasks, word_files):
    model, _, pipeline = word_files
    return tiny_run(model, pipeline=pipeline)


@pytest.fixture
def findings(run):
    candidate = run.records[0].candidate
    metrics = metrics_of(registry.get("tasks", "fake-words"))
    found = Findings(run.requirement, run.card, run.device, metrics, [Record(candidate)])
    artifact = run.records[0].artifact
    found.learn(Action("export", None, candidate.network.id, "select"), done(ArtifactResult(artifact, 1.0)))
    return found


def done(result=None, refusal=None):
    return Outcome("key", result, refusal, 1.0, False)


def judged(run, split):
    record = run.records[0]
    job = EvaluateJob(record.artifact.sha256, _pipeline(record, run), "data", split, "device", 0.95)
    return Action("evaluate", job, record.candidate.id, "select")


def explained(run):
    record = run.records[0]
    job = ExplainJob(record.artifact.sha256, _pipeline(record, run), "data", "test", (0,))
    return Action("explain", job, record.candidate.id, "confirm")


def test_charts_tables_and_explanations_are_kept_side_by_side(run, findings):
    chart, table = Chart("c", "x", "y", ()), Table("t", ("a",), (("1",),))
    result = EvaluateResult((), "sha", charts=(chart,), tables=(table,))
    example = Example("row 1", "ham", "spam", 0.9, text="free", explanation=Explanation("words", (), "free decides"))
    findings.learn(judged(run, "test"), done(result))
    findings.learn(explained(run), done(ExplainResult((example,))))
    insight = findings.insights[run.decision.chosen]
    assert (insight.split, insight.charts, insight.tables) == ("test", (chart,), (table,))
    assert insight.explained == (example,)
    findings.learn(judged(run, "validation"), done(EvaluateResult((), "sha")))
    assert findings.insights[run.decision.chosen] == insight, "what the test split showed stays"


def test_what_decoding_took_bounds_what_was_not_measured(run, findings):
    measured, waiting = run.records[0].candidate, replace(run.records[0].candidate, runtime="openvino")
    metrics = metrics_of(registry.get("tasks", "fake-words"))
    known = Findings(run.requirement, run.card, run.device, metrics, [Record(measured), Record(waiting)])
    cost = NetworkCost(measured.network.id, 1000, 1000, 1000, 1)
    known.learn(Action("describe", None, "1 network", "estimate"), done(DescribeResult((cost,))))

    def lowest():
        record = next(r for r in known.records() if r.candidate.id == waiting.id)
        return next(m.low for m in record.measurements if m.metric.name == "latency_p95_ms")

    before = lowest()
    artifact = run.records[0].artifact.sha256
    job = MeasureJob(artifact, _pipeline(run.records[0], run), "data", "device", 0.95, 0.5, trained=False)
    for decoding in (8.0, 2.0, 5.0):
        result = MeasureResult((), {"decode": decoding, "model": 9.0})
        known.learn(Action("measure", job, measured.id, "probe"), done(result))
    assert lowest() == pytest.approx(before + 0.7 * 2.0), "the shortest: a busy moment lengthens it"


def test_what_cannot_be_explained_is_no_worse_for_it(run, findings):
    findings.learn(explained(run), done(refusal=Refusal("CRASHED", "the runtime crashed")))
    assert findings.records()[0].refusals == ()
    findings.learn(judged(run, "test"), done(refusal=Refusal("CRASHED", "the runtime crashed")))
    assert findings.records()[0].refusals == (Refusal("CRASHED", "the runtime crashed"),)


def test_what_a_family_remarks_on_network_and_data_stands_among_the_problems_once(run, findings):
    network = run.records[0].candidate.network
    job = TrainJob("fake-words", network, "data", Recipe(1.0, 8, "closed-form", 0.0, 0.0), 0, 1)
    result = TrainResult(Artifact("sha", "safetensors", 1), (), 0.5, 1.0, 1.0, remarks=("the pictures are others",))
    before = findings.card.problems
    for _ in range(2):
        findings.learn(Action("train", job, network.id, "train"), done(result))
    problem = DataProblem("OTHER_DATA", "train", 1, "the pictures are others", (network.id,))
    assert findings.card.problems == (*before, problem)


def test_a_package_is_run_with_what_its_file_was_judged_with(run, word_files, tmp_path):
    pipeline = _pipeline(run.records[0], run)
    assert (pipeline.encoding, pipeline.learnt) == ("words", word_files[2].learnt)
    pictures = tiny_run(write_colour_model(tmp_path / "made.onnx"))
    assert _pipeline(pictures.records[0], pictures).learnt == ""


def test_what_other_runs_asked_the_test_split_is_counted(run, tmp_path):
    evidence = Evidence(tmp_path / "evidence.db")
    for key, who, split, file in (
        ("1", "mine", "test", "a"),
        ("2", "first", "test", "b"),
        ("3", "first", "test", "c"),
        ("4", "second", "test", "c"),
        ("5", "second", "validation", "d"),
    ):
        job = replace(judged(run, split).job, artifact=file)
        evidence.add(key=key, stage="evaluate", job=job, result=None, seconds=1.0, run=who)
    refusal = {"code": "CRASHED", "detail": "it crashed"}
    crashed = replace(judged(run, "test").job, artifact="e")
    evidence.add(key="6", stage="evaluate", job=crashed, result=None, seconds=1.0, run="third", refusal=refusal)
    later = time.time() + 1
    assert looks_of_others(evidence, "data", "mine", later) == (2, 2)
    assert looks_of_others(evidence, "data", "mine", later - 1000) == (0, 0)
    assert looks_of_others(evidence, "other data", "mine", later) == (0, 0)
    evidence.close()


@pytest.mark.parametrize(
    ("probed_at", "spent"),
    [("2026-11-23T12:00:00+00:00", 9.5), ("2026-11-23T11:59:40+00:00", 0.0), ("", 0.0), ("last week", 0.0)],
)
def test_probing_the_machine_is_paid_by_the_run_that_did_it(probed_at, spent):
    started = datetime(2026, 11, 23, 11, 59, 50, tzinfo=UTC).timestamp()
    device = Device("d", "d", 1, 1, (), {}, 1.0, {}, probed_at=probed_at, probe_seconds=9.5)
    assert _probe_spent(device, started) == spent


def test_a_remark_on_a_file_goes_to_the_candidate_that_ships_it(run, findings):
    record = run.records[0]
    assert "remarks" not in findings.records()[0].notes
    findings.learn(
        Action("compress", None, record.candidate.network.id, "select"),
        done(ArtifactResult(record.artifact, 1.0, "made with care")),
    )
    assert "remarks" not in findings.records()[0].notes
    findings.learn(judged(run, "validation"), done(EvaluateResult((), "sha")))
    assert findings.records()[0].notes["remarks"] == ["made with care"]
