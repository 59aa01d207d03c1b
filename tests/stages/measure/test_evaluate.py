"""``evaluate``: the score is that of the exact artifact on the exact samples, and every sample counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor import registry
from sartor.codec import digest, from_plain, to_plain
from sartor.errors import DataError, StorageError
from sartor.evidence import write_json
from sartor.intervals import proportion
from sartor.jobs import EvaluateJob, EvaluateResult
from sartor.pipeline import Predictor
from sartor.prepared import open_data
from sartor.stages.measure import evaluate
from sartor.stages.measure.quality import choose_samples, count_as_wrong, unusable_rows, worst_class
from sartor.testing.runtimes import write_example_onnx

_done = {}


def evaluated(job, prepared):
    """The result of a job, run once for all tests here."""
    key = digest(job)
    if key not in _done:
        _done[key] = evaluate(job, prepared[0])
    return _done[key]


def measured(result):
    return {measurement.metric.name: measurement for measurement in result.measurements}


def outputs_of(result, prepared):
    return np.load(prepared[0].objects.path(result.outputs), allow_pickle=False)


def validation(prepared):
    return open_data(prepared[1], prepared[0]).split("validation")


@pytest.fixture
def direct(prepared, model, pipeline, tmp_path):
    """Outputs of the example model over validation, by a predictor in this process."""
    write_example_onnx(tmp_path / "model.onnx")
    write_json(tmp_path / "pipeline.json", pipeline)
    samples = validation(prepared)
    return Predictor(tmp_path).outputs([samples.raw(index) for index in range(len(samples))])


def test_scores_are_those_of_the_artifact(prepared, evaluate_job, direct):
    job = evaluate_job()
    result = evaluated(job, prepared)
    truths = validation(prepared).truths
    outputs = outputs_of(result, prepared)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, direct, atol=1e-6)
    right = int((direct.argmax(axis=1) == truths).sum())
    accuracy = measured(result)["accuracy"]
    assert accuracy.value == right / 100
    assert (accuracy.low, accuracy.high) == proportion(right, 100, 0.95)
    assert (accuracy.n, accuracy.split, accuracy.artifact, accuracy.basis) == (
        100,
        "validation",
        job.artifact,
        "measured",
    )
    assert accuracy.conditions["effective_precision"] == "fp32"
    assert np.trace(result.confusion) == right
    assert set(result.per_class) == {"a", "b", "c", "d"}
    assert from_plain(EvaluateResult, to_plain(result)) == result
    assert not (prepared[0].root / "scratch" / digest(job)).exists()


def test_worst_class_and_drop_of_a_root(prepared, evaluate_job):
    result = evaluated(evaluate_job(), prepared)
    worst, drop = measured(result)["accuracy_per_class_min"], measured(result)["accuracy_drop"]
    assert worst.value == min(result.per_class.values())
    assert worst.low <= worst.value < worst.high
    assert (drop.value, drop.low, drop.high) == (0.0, 0.0, 0.0)


def test_drop_is_paired_with_the_parent(prepared, model, evaluate_job):
    parent = evaluated(evaluate_job(), prepared)
    same = measured(evaluated(evaluate_job(parent_outputs=parent.outputs), prepared))["accuracy_drop"]
    assert same.value == 0.0
    assert -0.04 < same.low < 0 < same.high < 0.04  # equal pairs are much narrower than unpaired samples

    child = evaluated(evaluate_job(model(width=3), parent_outputs=parent.outputs), prepared)
    drop = measured(child)["accuracy_drop"]
    assert drop.value == pytest.approx(measured(parent)["accuracy"].value - measured(child)["accuracy"].value)
    assert drop.low < drop.value < drop.high


def test_parent_of_another_choice_is_an_error(prepared, evaluate_job):
    parent = evaluated(evaluate_job(limit=10), prepared)
    with pytest.raises(DataError, match="scored on 10 samples and this on 100"):
        evaluated(evaluate_job(parent_outputs=parent.outputs), prepared)


def test_damaged_parent_outputs(prepared, evaluate_job, tmp_path):
    (tmp_path / "x.npy").write_bytes(b"no array")
    parent = prepared[0].objects.take(tmp_path / "x.npy", format="npy").sha256
    with pytest.raises(StorageError, match="is damaged"):
        evaluated(evaluate_job(parent_outputs=parent), prepared)


def test_limit_is_a_fixed_choice(prepared, model, evaluate_job, direct):
    result = evaluated(evaluate_job(limit=30), prepared)
    assert measured(result)["accuracy"].n == 30
    chosen = choose_samples(100, evaluate_job(limit=30))
    assert chosen == choose_samples(100, evaluate_job(model(width=5), limit=30, runtime="openvino"))
    np.testing.assert_allclose(outputs_of(result, prepared), direct[chosen], atol=1e-6)


def test_mistakes_are_the_most_confident_wrong_answers(prepared, evaluate_job, direct):
    result = evaluated(evaluate_job(), prepared)
    truths, samples = validation(prepared).truths, validation(prepared)
    wrong = np.flatnonzero(direct.argmax(axis=1) != truths)
    assert len(result.mistakes) == min(24, len(wrong)) == 24
    confidences = [mistake.confidence for mistake in result.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] == pytest.approx(float(direct[wrong].max()), abs=1e-6)
    places = {samples.place(int(index)) for index in wrong}
    assert all(m.truth != m.answer and m.thumbnail and m.place in places for m in result.mistakes)


def test_both_runtimes_agree(prepared, evaluate_job):
    ort, openvino = (
        outputs_of(evaluated(evaluate_job(runtime=runtime), prepared), prepared)
        for runtime in ("onnxruntime", "openvino")
    )
    np.testing.assert_allclose(ort, openvino, atol=1e-5)


def test_a_sample_that_broke_counts_as_wrong_and_is_named(own_prepared, model, pipeline, tmp_path):
    workspace, data = own_prepared
    write_example_onnx(tmp_path / "m.onnx")
    artifact = workspace.objects.take(tmp_path / "m.onnx", format="onnx").sha256
    job = EvaluateJob(artifact, pipeline, data, "validation", "device", 0.95)
    before = evaluate(job, workspace)
    samples = open_data(data, workspace).split("validation")
    right = np.flatnonzero(outputs_of(before, own_prepared).argmax(axis=1) == samples.truths)
    victim = int(right[0])
    path = tmp_path / "validation" / samples.place(victim)
    path.write_bytes(b"gone" + path.read_bytes()[4:])
    after = evaluate(job, workspace)
    accuracy = measured(after)["accuracy"]
    assert accuracy.n == 20
    assert accuracy.value == pytest.approx(measured(before)["accuracy"].value - 1 / 20)
    assert accuracy.conditions["broken"] == 1
    assert accuracy.conditions["broken_places"] == [samples.place(victim)]
    for other in range(len(samples)):
        (tmp_path / "validation" / samples.place(other)).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 20 samples"):
        evaluate(job, workspace)


def test_no_finite_output_is_wrong_everywhere(fakes, prepared, evaluate_job):
    result = evaluate(evaluate_job(runtime="nan"), prepared[0])
    assert measured(result)["accuracy"].value == 0.0
    assert measured(result)["accuracy"].conditions["not_finite"] == 100
    assert np.isfinite(outputs_of(result, prepared)).all()


def test_a_model_for_other_labels(prepared, pipeline, evaluate_job):
    job = evaluate_job()
    five = replace(job, pipeline=replace(pipeline, labels=("a", "b", "c", "d", "e")))
    with pytest.raises(DataError, match="gives 4 outputs, but the data has 5 labels"):
        evaluate(five, prepared[0])


def test_unknown_split(prepared, evaluate_job):
    with pytest.raises(DataError, match="there is no split"):
        evaluate(evaluate_job(split="tests"), prepared[0])


# ------------------------------------------------------------------------------------------------------- pure parts


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=60), st.sampled_from([0.8, 0.95]))
def test_worst_class_is_the_smallest_share(pairs, confidence):
    truths = np.array([truth for truth, _ in pairs])
    correct = np.array([float(right) for _, right in pairs])
    value, low, high = worst_class(correct, truths, confidence)
    shares = {number: correct[truths == number].mean() for number in np.unique(truths)}
    assert value == pytest.approx(min(shares.values()))
    assert 0 <= low <= value <= high <= 1
    worst = min(shares, key=shares.get)
    single = proportion(int(correct[truths == worst].sum()), int((truths == worst).sum()), confidence)
    assert low <= single[0] + 1e-12  # holding for all classes at once never narrows it from below


def test_worst_class_of_one_class_is_its_exact_interval():
    assert worst_class(np.array([1.0, 0.0, 1.0]), np.zeros(3, int), 0.9) == (2 / 3, *proportion(2, 3, 0.9))


def test_worst_class_needs_right_or_wrong():
    assert worst_class(np.array([0.5, 1.0]), np.zeros(2, int), 0.9) is None


@given(st.integers(2, 9), st.data())
def test_unusable_rows_are_wrong_whatever_the_metric_looks_at(classes, data):
    task = registry.get("tasks", "image-classification")
    truths = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=8)))
    outputs = np.full((len(truths), classes), np.nan, np.float32)
    fixed = count_as_wrong(task, outputs, truths, unusable_rows(outputs, []))
    assert (fixed.argmax(axis=1) != truths).all()
    assert (fixed[np.arange(len(truths)), truths] < fixed.max(axis=1)).all()
    np.testing.assert_allclose(fixed.sum(axis=1), 1, rtol=1e-5)
    assert np.isnan(outputs).all(), "the input is left alone"


def test_usable_rows_are_left_alone():
    task = registry.get("tasks", "image-classification")
    outputs = np.array([[0.9, 0.1], [np.nan, 0.2]], np.float32)
    fixed = count_as_wrong(task, outputs, np.array([0, 0]), unusable_rows(outputs, []))
    np.testing.assert_array_equal(fixed, np.array([[0.9, 0.1], [0.0, 1.0]], np.float32))


def test_rows_that_answer_nothing():
    floats = np.zeros((4, 2, 2), np.float32)
    floats[1, 0, 1], floats[3, 1, 1] = np.inf, np.nan
    assert unusable_rows(floats, [3, 0]) == [0, 1, 3]
    assert unusable_rows(np.zeros((4, 2), np.int64), [2]) == [2]
