"""Measuring and judging do not know pictures: texts with a learnt vocabulary, records with structures as truths."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sartor.codec import from_plain, to_plain
from sartor.errors import StorageError
from sartor.evidence import Workspace
from sartor.jobs import EvaluateJob, EvaluateResult, ExplainJob, ExplainResult, MeasureJob, PrepareJob
from sartor.metrics import Metric
from sartor.prepared import open_data
from sartor.stages.measure import evaluate, explain, measure
from sartor.stages.measure.quality import lost, replicates
from sartor.types import DataSource

pytestmark = pytest.mark.usefixtures("fake_tasks")
SPAM, HAM = ("free money", "free free bread", "money you"), ("see you tomorrow", "bread", "you")


def prepared_rows(task, rows, root):
    from sartor.stages.data import prepare, stamp

    for split in ("train", "validation", "test"):
        lines = (json.dumps(row) for row in rows(split))
        (root / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    source = DataSource(*(str(root / f"{split}.jsonl") for split in ("train", "validation", "test")))
    workspace = Workspace(root / "workspace")
    return workspace, prepare(PrepareJob(source, task, 0, stamp(source)), workspace).card.fingerprint


@pytest.fixture(scope="module")
def words(fake_tasks, tmp_path_factory):
    def rows(split):
        texts = [(text, "spam") for text in SPAM] + [(text, "ham") for text in HAM]
        many = [{"text": f"{text} {split}{number}", "label": label} for number in range(4) for text, label in texts]
        return [*many, {"text": f"my free {split}", "label": "ham"}]

    return prepared_rows("fake-words", rows, tmp_path_factory.mktemp("words-data"))


@pytest.fixture(scope="module")
def counts(fake_tasks, tmp_path_factory):
    def rows(split):
        start = {"train": 0, "validation": 100, "test": 200}[split]
        return [{"counts": [n, n + 1, n + 2], "truth": [n, n + 1, n + 2 + n % 3]} for n in range(start, start + 30)]

    return prepared_rows("fake-counts", rows, tmp_path_factory.mktemp("counts-data"))


@pytest.fixture
def word_job(words, word_files, tmp_path):
    model, encoder, pipeline = word_files
    (tmp_path / "m").write_bytes(model.read_bytes())
    (tmp_path / "e").write_bytes(encoder.read_bytes())
    objects = words[0].objects
    artifact = objects.take(tmp_path / "m", format="onnx").sha256
    objects.take(tmp_path / "e", format="encoder")
    return EvaluateJob(artifact, pipeline, words[1], "test", "device", 0.95)


@pytest.fixture
def count_job(counts, count_files, tmp_path):
    model, pipeline = count_files
    (tmp_path / "m").write_bytes(model.read_bytes())
    artifact = counts[0].objects.take(tmp_path / "m", format="onnx").sha256
    return EvaluateJob(artifact, pipeline, counts[1], "test", "device", 0.95)


def measured(result):
    return {measurement.metric.name: measurement for measurement in result.measurements}


def test_texts_are_judged_with_the_vocabulary_that_ships(words, word_job):
    result = evaluate(word_job, words[0])
    found = measured(result)
    assert found["accuracy"].value == 24 / 25
    assert found["accuracy_per_class_min"].value == 12 / 13  # from the contributions, as truths are classes
    (mistake,) = result.mistakes
    assert (mistake.text, mistake.truth, mistake.answer, mistake.thumbnail) == ("my free test", "ham", "spam", "")
    assert mistake.place
    assert mistake.confidence > 0.9
    other = replace(word_job, pipeline=replace(word_job.pipeline, learnt="0" * 64))
    with pytest.raises(StorageError, match="is missing"):
        evaluate(other, words[0])


def test_the_encoder_counts_in_size_and_the_texts_are_timed(words, word_job):
    job = MeasureJob(word_job.artifact, word_job.pipeline, words[1], "device", 0.95, 0.1)
    result = measure(job, words[0])
    files = sum(words[0].objects.path(sha).stat().st_size for sha in (job.artifact, job.pipeline.learnt))
    assert files / 1e6 < measured(result)["size_mb"].value < (files + 2000) / 1e6
    assert all(spent >= 0 for spent in result.latency_parts_ms.values())


def test_structures_are_judged_by_their_task(counts, count_job):
    result = evaluate(count_job, counts[0])
    found = measured(result)
    outputs = np.load(counts[0].objects.path(result.outputs))
    assert (outputs.shape, outputs.dtype) == ((30, 3, 1), np.int64)
    errors = np.array([(n % 3 - 1) ** 2 / 3 for n in range(200, 230)])
    assert found["count_error"].value == pytest.approx(np.sqrt(errors.mean()))
    assert found["count_error_per_class_min"].value == pytest.approx(found["count_error"].value + 1)  # the task's own
    assert found["count_error_drop"].value == 0.0
    assert (result.charts[0].title, result.tables[0].columns) == ("errors", ("sample", "error"))
    assert result.mistakes[0].answer == "200 cat, 201 dog, 203 owl"
    assert result.mistakes[0].truth == "[200, 201, 204]"
    assert len(result.mistakes) == 3, "pictures of half a megabyte: three fit a report"
    assert all(example.place.startswith("row ") for example in result.mistakes)
    assert from_plain(EvaluateResult, to_plain(result)) == result


def test_a_broken_record_among_whole_numbers_counts_as_wrong(counts, count_job, monkeypatch):
    from sartor.prepared import SampleSet
    from sartor.stages.measure import quality

    before = measured(evaluate(count_job, counts[0]))["count_error"]
    real = quality.run_child

    def break_one(module, folder, request, **rest):
        facts = real(module, folder, request, **rest)
        outputs = np.load(folder / "outputs.npy")
        outputs[4] = 0
        np.save(folder / "outputs.npy", outputs)
        return {**facts, "broken": [4]}

    monkeypatch.setattr(quality, "run_child", break_one)
    monkeypatch.setattr(SampleSet, "raw", lambda self, number: b"gone")
    after = evaluate(count_job, counts[0])
    found = measured(after)["count_error"]
    assert found.conditions["broken"] == 1
    assert found.value == pytest.approx(np.sqrt(before.value**2 + (100**2 - 1 / 3) / 30), rel=1e-3)


def test_a_drop_of_what_is_no_mean_is_paired_by_bootstrap(counts, count_job):
    parent = evaluate(count_job, counts[0])
    same = measured(evaluate(replace(count_job, parent_outputs=parent.outputs), counts[0]))["count_error_drop"]
    assert same.value == 0.0
    assert -0.1 < same.low < 0 < same.high < 0.1  # of 30 samples nobody knows that they agree everywhere


def test_scores_that_choose_stand_in_pairs(counts, count_job):
    chosen_by = measured(evaluate(replace(count_job, split="validation"), counts[0]))
    samples = open_data(count_job.data, counts[0]).split("validation")
    count = min(32, len(samples))
    assert len(chosen_by["count_error"].replicates) == count
    value = chosen_by["count_error"].value
    assert min(chosen_by["count_error"].replicates) <= value <= max(chosen_by["count_error"].replicates)
    assert not chosen_by["count_error_drop"].replicates
    assert not measured(evaluate(count_job, counts[0]))["count_error"].replicates, "the test split chooses nothing"


def test_a_replicate_leaves_one_group_out():
    errors = np.arange(1.0, 65.0)
    found = replicates(Known(errors))
    assert len(found) == 32
    assert found[5] == pytest.approx(np.sqrt((np.delete(errors, [5, 37]) ** 2).mean()))
    assert replicates(Known(errors[:7])) == ()
    means = replicates(Mean(errors[:40]))
    assert means[9] == pytest.approx(np.delete(errors[:40], 9).mean())
    assert means[0] == pytest.approx(np.delete(errors[:40], [0, 32]).mean())


class Mean:
    """Scores whose metric is the mean of their contributions."""

    resample = None

    def __init__(self, contributions):
        self.correct = contributions


class Known:
    """Scores of an error per sample whose root mean square is the metric."""

    def __init__(self, errors):
        self.correct = -np.asarray(errors, float)
        value = self.resample(np.arange(len(errors)))
        self.values = {"error": (value, value, value)}

    def resample(self, rows):
        return float(np.sqrt((self.correct[rows] ** 2).mean()))


def test_a_loss_is_positive_when_worse_in_either_direction():
    errors = np.random.default_rng(1).random(200)
    lower = Metric("error", "", "lower", "quality", "error")
    value, low, high = lost(lower, Known(errors), Known(errors * 1.5), 0.95)
    assert value == pytest.approx(0.5 * Known(errors).values["error"][0])
    assert 0 < low < value < high
    value, low, high = lost(replace(lower, direction="higher"), Known(errors), Known(errors * 1.5), 0.95)
    assert low < value < high < 0


# ---------------------------------------------------------------------------------------------------- explaining


def test_answers_are_explained_on_the_very_file(words, word_job):
    job = ExplainJob(word_job.artifact, word_job.pipeline, words[1], "test", (0, 5))
    result = explain(job, words[0])
    samples = open_data(words[1], words[0]).split("test")
    assert [one.place for one in result.examples] == [samples.place(0), samples.place(5)]
    first = result.examples[0]
    assert first.truth in ("ham", "spam")
    assert first.text
    assert first.explanation.kind == "words"
    assert first.explanation.causes[0].weight > 0
    assert from_plain(ExplainResult, to_plain(result)) == result


def test_what_cannot_be_explained_is_left_out(counts, count_job):
    job = ExplainJob(count_job.artifact, count_job.pipeline, counts[1], "train", (12, 13, 14))
    assert [one.place for one in explain(job, counts[0]).examples] == ["row 13", "row 15"]
