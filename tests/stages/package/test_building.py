"""A package is complete, whole or absent, and only made of what was judged."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import sartor
from sartor.codec import from_plain
from sartor.errors import Refused, StorageError
from sartor.stages.package import build, build_package, facts, open_package
from sartor.testing import tiny_package as tiny
from sartor.types import Requirement, RunFile


@pytest.fixture
def model(tmp_path):
    return tiny.write_colour_model(tmp_path / "made.onnx")


def build_one(model, target, **changes):
    run = changes.pop("run", None) or tiny.tiny_run(model)
    golden = [tiny.picture(label) for label in tiny.LABELS]
    return build_package(run, model, tiny.tiny_pipeline(), golden, target, **changes)


def test_it_holds_everything(model, tmp_path):
    package = build_one(
        model, tmp_path / "p", requirement_text="task: x\n", report="<html></html>", sample_names=["a", "b", "c"]
    )
    folder = Path(package.path)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "MANIFEST.json",
        "README.md",
        "decision.json",
        "golden/000.png",
        "golden/001.png",
        "golden/002.png",
        "golden/golden.json",
        "golden/outputs.npy",
        "golden/sources.json",
        "labels.json",
        "model.onnx",
        "pipeline.json",
        "report.html",
        "requirement.json",
        "requirement.yaml",
    }
    assert package.files == 15
    assert package.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert (folder / "model.onnx").read_bytes() == model.read_bytes()
    assert (folder / "model.onnx").stat().st_nlink == 1
    assert json.loads((folder / "labels.json").read_text()) == list(tiny.LABELS)
    run = from_plain(RunFile, json.loads((folder / "decision.json").read_text()))
    assert run == tiny.tiny_run(model)
    assert from_plain(Requirement, json.loads((folder / "requirement.json").read_text())) == run.requirement


def test_golden_answers_are_what_the_model_says(model, tmp_path):
    package = build_one(model, tmp_path / "p")
    pairs = json.loads((Path(package.path) / "golden/golden.json").read_text())
    assert [pair["answer"]["label"] for pair in pairs] == list(tiny.LABELS)
    outputs = np.load(Path(package.path) / "golden/outputs.npy")
    assert outputs.dtype == np.float32
    assert outputs.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)


def test_the_digest_depends_on_the_content_alone(model, tmp_path):
    one, two = build_one(model, tmp_path / "p"), build_one(model, tmp_path / "elsewhere" / "q")
    assert one.digest == two.digest
    assert one.digest != build_one(model, tmp_path / "r", report="other").digest
    assert facts(open_package(one.path))["digest"] == one.digest


def test_the_card_is_what_hubs_read(model, tmp_path):
    package = build_one(model, tmp_path / "p")
    _, front, body = (Path(package.path) / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["pipeline_tag"] == "image-classification"
    assert head["license"] == "mit"
    results = head["model-index"][0]["results"][0]
    assert {metric["type"]: metric["value"] for metric in results["metrics"]}["accuracy"] == pytest.approx(0.945)
    for word in (
        "0.936 … 0.954",
        package.model,
        "e" * 64,
        "CC0-1.0",
        "resnet9-xs",
        "arXiv:2404.00498",
        "sartor verify",
    ):
        assert word in body


def test_names_from_outside_cannot_break_the_card(model, tmp_path):
    run = tiny.tiny_run(model)
    requirement = replace(run.requirement, name="a\n---\nevil: 1 | <script>")
    package = build_one(model, tmp_path / "p", run=replace(run, requirement=requirement))
    text = (Path(package.path) / "README.md").read_text()
    assert "<script>" not in text.split("---\n", 2)[2]
    assert set(yaml.safe_load(text.split("---\n", 2)[1])) >= {"license", "model-index"}
    assert "evil" not in yaml.safe_load(text.split("---\n", 2)[1])


def test_a_family_that_is_not_installed_is_no_reason_to_have_no_card(model, tmp_path):
    run = tiny.tiny_run(model)
    record = run.records[0]
    candidate = replace(record.candidate, network=replace(record.candidate.network, model="gone"))
    decision = replace(run.decision, chosen=candidate.id)
    run = replace(run, records=(replace(record, candidate=candidate),), decision=decision)
    package = build_one(model, tmp_path / "p", run=run)
    assert "not recorded" in (Path(package.path) / "README.md").read_text()


def test_the_card_names_what_made_a_repaired_file(model, tmp_path):
    run = tiny.tiny_run(model)
    record = run.records[0]
    candidate = replace(record.candidate, compressor="int8-static")
    repaired = replace(record, candidate=candidate, artifact=replace(record.artifact, made_by="int8-mixed"))
    package = build_one(model, tmp_path / "p", run=replace(run, records=(repaired,)))
    assert "compressor int8-mixed" in (Path(package.path) / "README.md").read_text()


@pytest.mark.parametrize("status", ["infeasible", "inconclusive"])
def test_without_a_met_decision_there_is_no_package(model, tmp_path, status):
    run = tiny.tiny_run(model)
    with pytest.raises(Refused, match=status):
        build_one(model, tmp_path / "p", run=replace(run, decision=replace(run.decision, status=status)))
    assert not (tmp_path / "p").exists()


def test_only_the_judged_file_is_packaged(model, tmp_path):
    run = tiny.tiny_run(model)
    other = tiny.write_colour_model(tmp_path / "other.onnx", float_input=True)
    with pytest.raises(Refused, match="not the file that was judged"):
        build_one(other, tmp_path / "p", run=run)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["made.onnx", "other.onnx"]


def test_an_earlier_package_is_replaced_and_anything_else_is_not(model, tmp_path):
    first = build_one(model, tmp_path / "p")
    second = build_one(model, tmp_path / "p", report="new")
    assert first.digest != second.digest
    assert open_package(second.path).manifest.digest == second.digest
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="not a package"):
        build_one(model, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["made.onnx", "mine", "p"]


@pytest.mark.parametrize("step", ["write_manifest", "_write_golden", "_put_in_place"])
def test_a_full_disk_leaves_the_earlier_package_whole(model, tmp_path, monkeypatch, step):
    before = build_one(model, tmp_path / "p").digest

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build, step, full)
    with pytest.raises(StorageError, match="no space left"):
        build_one(model, tmp_path / "p", report="new")
    assert open_package(tmp_path / "p").manifest.digest == before
    assert sorted(child.name for child in tmp_path.iterdir()) == ["made.onnx", "p"]


def test_a_package_without_golden_pairs_still_loads(model, tmp_path):
    package = build_package(tiny.tiny_run(model), model, tiny.tiny_pipeline(), [], tmp_path / "p")
    assert sartor.load(package.path).predict(tiny.picture("blue"))["label"] == "blue"


def test_folder_and_files_can_be_read_by_others(model, tmp_path):
    package = Path(build_one(model, tmp_path / "p").path)
    assert os.stat(package).st_mode & 0o055 == 0o055
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in package.rglob("*"))
