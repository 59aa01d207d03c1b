"""Verifying: integrity, golden pairs, limits then and now. The stand is replaced where speed would decide."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sartor import verify as verifying
from sartor.bench import Conditions, bench
from sartor.errors import DataError, Refused, Unsupported
from sartor.jobs import MeasureResult
from sartor.metrics import COST_METRICS, index
from sartor.stages.package import manifest as manifests
from sartor.testing.tiny_package import ACCURACY, LABELS, build_tiny_package, picture
from sartor.types import DataCard, Limit, Measurement, SplitCard
from sartor.verify import verify

METRICS = index((*COST_METRICS, ACCURACY))


class FakeStand:
    """A stand whose numbers the test chooses."""

    def __init__(self, *_, **__):
        about = {"id": "here", "name": "this machine", "instruction_sets": self.instruction_sets}
        self.device = type("Device", (), about)()
        self.sources = []

    numbers: dict = {}  # noqa: RUF012
    instruction_sets = ("avx2",)
    noisy = 0
    test_fingerprint = "f" * 64
    broken = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def take_package(self, folder, pipeline):
        return type("Artifact", (), {"sha256": manifests._sha256_and_size(folder, pipeline.model)[0]})()

    def stand_in(self, raws, labels):
        assert raws
        assert labels == LABELS
        return "stand-in"

    def prepare(self, source):
        if self.broken:
            raise DataError("the folder is empty")
        split = SplitCard(30, {}, self.test_fingerprint)
        return DataCard("image-classification", "e" * 64, LABELS, {"test": split}, ())

    def prepare_labelled(self, address, labels, like):
        return self.prepare(None)

    def _made(self, name, artifact, split=""):
        value, low, high = self.numbers[name]
        return Measurement(METRICS[name], value, low, high, 9, "measured", 0.95, artifact, "here", split)

    def measure(self, artifact, pipeline, data, *, seconds, processes):
        noisy = type(self).noisy > 0
        type(self).noisy -= 1
        names = [name for name in self.numbers if name != "accuracy"]
        return MeasureResult(tuple(replace(self._made(name, artifact), noisy=noisy) for name in names), {})

    def evaluate(self, artifact, pipeline, card):
        return (self._made("accuracy", artifact, "test"),)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    build_tiny_package(folder)
    return folder / "package"


@pytest.fixture
def stand(monkeypatch):
    class Stand(FakeStand):
        numbers = {"latency_p95_ms": (1, 0.9, 1.1), "size_mb": (0.1, 0.1, 0.1), "accuracy": (0.95, 0.93, 0.97)}  # noqa: RUF012

    monkeypatch.setattr(verifying, "Stand", Stand)
    return Stand


def outcomes(result):
    return {check.limit.metric: check.outcome for check in result.limits}


def test_everything_holds(made, stand):
    result = verify(made, data="somewhere")
    assert result.status == "met"
    assert set(outcomes(result).values()) == {"met"}
    assert result.golden.matched == result.golden.total == 6
    assert result.device_now == "here"
    assert result.device_then != "here"
    accuracy = result.limits[0]
    assert (accuracy.then.value, accuracy.now.value) == (pytest.approx(0.945), 0.95)


@pytest.mark.parametrize(
    ("metric", "interval", "outcome", "status"),
    [
        ("latency_p95_ms", (600, 550, 700), "missed", "regression"),
        ("latency_p95_ms", (490, 450, 520), "inconclusive", "inconclusive"),
        ("accuracy", (0.8, 0.75, 0.85), "missed", "regression"),
        ("size_mb", (2, 2, 2), "missed", "regression"),
    ],
)
def test_a_limit_that_no_longer_holds(made, stand, metric, interval, outcome, status):
    stand.numbers = {**stand.numbers, metric: interval}
    result = verify(made, data="somewhere")
    assert outcomes(result)[metric] == outcome
    assert result.status == status


def test_a_busy_machine_is_asked_again_only_where_a_quiet_one_may_answer_otherwise(made, stand):
    stand.noisy = 99
    assert verify(made, data="somewhere").status == "met"
    assert 99 - stand.noisy == 1
    stand.numbers = {**stand.numbers, "latency_p95_ms": (600, 60, 700)}
    stand.noisy = 99
    result = verify(made, data="somewhere")
    assert result.status == "inconclusive"
    assert 99 - stand.noisy == verifying.ATTEMPTS


def test_without_data_quality_is_not_remeasured_and_said_so(made, stand):
    result = verify(made)
    assert outcomes(result) == {"accuracy": "not re-measured", "latency_p95_ms": "met", "size_mb": "met"}
    assert result.status == "met"
    assert "not on this machine" in result.data
    assert "golden inputs" in result.notes[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [({}, "recorded test data (30"), ({"test_fingerprint": "0"}, "has changed"), ({"broken": True}, "folder is empty")],
)
def test_the_recorded_data_counts_only_while_it_is_the_same(tmp_path, stand, change, word):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    build_tiny_package(tmp_path, data=str(tmp_path))
    for name, value in change.items():
        setattr(stand, name, value)
    result = verify(tmp_path / "package")
    assert word in result.data
    assert outcomes(result)["accuracy"] == ("not re-measured" if change else "met")


def test_data_given_by_hand_must_be_usable(made, stand):
    stand.broken = True
    with pytest.raises(DataError, match="empty"):
        verify(made, data="somewhere")


def test_a_drop_against_the_parent_cannot_be_remeasured(tmp_path, stand):
    from sartor.metrics import quality_derivatives
    from sartor.testing import tiny_package as tiny

    drop = quality_derivatives(ACCURACY)[1]
    limit = Limit(drop.name, "max", 0.01, "limits.accuracy.max_drop")
    model = tiny.write_colour_model(tmp_path / "made.onnx")
    run = tiny.tiny_run(model)
    requirement = replace(run.requirement, limits=(*run.requirement.limits, limit))
    run = replace(run, requirement=requirement, metrics=(*run.metrics, drop))
    from sartor.stages.package import build_package

    build_package(run, model, tiny.tiny_pipeline(), [picture("red")], tmp_path / "package")
    result = verify(tmp_path / "package", data="somewhere")
    assert outcomes(result)[drop.name] == "not re-measured"
    assert "uncompressed parent" in result.limits[-1].sentence


@pytest.fixture(scope="module")
def eight_bits(tmp_path_factory):
    """A package that says it is in int8, made on avx512-vnni, the same on amx, and worse on avx2."""
    from sartor.stages.package import build_package
    from sartor.testing import tiny_package as tiny

    folder = tmp_path_factory.mktemp("int8")
    model = tiny.write_colour_model(folder / "made.onnx")
    pipeline = replace(tiny.tiny_pipeline(), precision="int8")
    run = tiny.tiny_run(model, pipeline=pipeline)
    about = {"level": "avx512-vnni", "same_on": ["amx"], "on_levels": {"avx2": [0.8, 0.7, 0.85]}}
    first, *rest = run.decision.verdicts
    first = replace(first, measurement=replace(first.measurement, conditions=about))
    run = replace(run, decision=replace(run.decision, verdicts=(first, *rest)))
    build_package(run, model, pipeline, [picture("red")], folder / "package")
    return folder / "package"


def test_an_int8_package_says_where_it_holds(eight_bits):
    card = (eight_bits / "README.md").read_text()
    assert "hold on processors of level avx512-vnni, amx; not on avx2, where accuracy is 0.800" in card


def test_an_int8_package_is_refused_where_its_accuracy_was_not_shown(eight_bits, stand):
    with pytest.raises(Refused, match=r"shown on .* avx512-vnni, amx only; on avx2 accuracy is 0.800 .* give --data"):
        verify(eight_bits)
    stand.instruction_sets = ("avx2", "avx512f")
    with pytest.raises(Refused, match="amx only; this one is of avx512"):
        verify(eight_bits)


def test_an_int8_package_is_measured_anew_where_there_is_data(eight_bits, stand):
    stand.numbers = {**stand.numbers, "accuracy": (0.8, 0.7, 0.85)}
    result = verify(eight_bits, data="somewhere")
    assert outcomes(result)["accuracy"] == "missed"
    assert "what is measured here counts" in result.notes[0]


@pytest.mark.parametrize("sets", [("avx2", "avx512f", "avx512_vnni"), ("avx2", "avx512f", "avx512_vnni", "amx_int8")])
def test_an_int8_package_is_taken_where_it_was_shown(eight_bits, stand, sets):
    stand.instruction_sets = sets
    assert verify(eight_bits).status == "met"


def forged(made, target, name, change):
    shutil.copytree(made, target)
    body = json.loads((target / name).read_text())
    change(body)
    (target / name).write_text(json.dumps(body))
    (target / "MANIFEST.json").unlink()
    manifests.write_manifest(target, "0.1.0")
    return target


def test_other_golden_answers_are_a_regression(made, stand, tmp_path):
    shutil.copytree(made, tmp_path / "p")
    outputs = np.load(tmp_path / "p/golden/outputs.npy")
    outputs[0] = 0.1, 0.8, 0.1
    np.save(tmp_path / "p/golden/outputs.npy", outputs)
    package = forged(tmp_path / "p", tmp_path / "q", "labels.json", lambda body: None)
    result = verify(package, data="somewhere")
    assert result.status == "regression"
    assert result.golden.matched == 5
    assert "expected red" in result.golden.mismatches[0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("requirement.json", lambda body: body["limits"].pop()),
        ("requirement.json", lambda body: body["limits"][1].update(value=9e9)),
        ("decision.json", lambda body: body["decision"].update(status="infeasible")),
        ("decision.json", lambda body: body["records"][0]["artifact"].update(sha256="0" * 64)),
        ("golden/golden.json", lambda body: body[0].update(input="../../secret")),
    ],
)
def test_documents_that_contradict_each_other_are_refused(made, stand, tmp_path, name, change):
    package = forged(made, tmp_path / "p", name, change)
    with pytest.raises(Refused):
        verify(package, data="somewhere")


def test_a_model_that_cannot_run_here_is_told(made, stand):
    def measure(*_, **__):
        raise Unsupported("CRASHED", "measure: its process ended with SIGSEGV")

    stand.measure = measure
    with pytest.raises(Unsupported, match="SIGSEGV"):
        verify(made, data="somewhere")


# ------------------------------------------------------------------------------------------------ the real stand


@pytest.mark.slow
def test_really_measured(made, tmp_path):
    for label in LABELS:
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "data" / label / f"{number}.png").write_bytes(picture(label, 8 + number, 80 + 5 * number))
    result = verify(made, data=str(tmp_path / "data"), seconds=0.3, processes=1)
    found = {check.limit.metric: check for check in result.limits}
    assert found["accuracy"].now.value == 1.0  # labels counted in another order than the data counts them
    assert found["accuracy"].now.n == 60
    assert found["accuracy"].outcome == "met"
    assert found["size_mb"].outcome == "met"
    assert 0 < found["latency_p95_ms"].now.value < 500
    assert result.status in ("met", "inconclusive")  # a busy machine decides nothing


@pytest.mark.slow
def test_texts_are_really_measured_and_benched(word_package, tmp_path):
    rows = [("free money", "spam"), ("money now", "spam"), ("see you", "ham"), ("bread", "ham"), ("free bread", "ham")]
    lines = (json.dumps({"text": text, "label": label}) for text, label in rows)
    (tmp_path / "mail.jsonl").write_text("\n".join(lines) + "\n")
    result = verify(word_package, data=str(tmp_path / "mail.jsonl"), seconds=0.2, processes=1)
    found = {check.limit.metric: check for check in result.limits}
    assert result.golden.matched == 3
    assert (found["accuracy"].now.value, found["accuracy"].now.n) == (4 / 5, 5)
    assert found["accuracy"].outcome == "inconclusive"  # five texts decide nothing
    assert found["size_mb"].outcome == "met"

    benched = bench(word_package, Conditions(runtimes=("onnxruntime",), seconds=0.2))
    assert benched.rows[0].value("latency_p50_ms").value > 0
    assert any("made-up inputs" in sentence for sentence in benched.assumptions)


@pytest.mark.slow
def test_structures_are_really_measured(count_package, tmp_path):
    rows = [{"counts": [n, 2, 3], "truth": [n, 2, 4 + n % 2]} for n in range(8)]
    (tmp_path / "counts.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    result = verify(count_package, data=str(tmp_path / "counts.jsonl"), seconds=0.2, processes=1)
    (check,) = (check for check in result.limits if check.limit.metric == "count_error")
    assert check.now.value == pytest.approx((0.5 / 3) ** 0.5)
    assert check.outcome == "met"
