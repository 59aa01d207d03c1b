"""The compress stage: calibration from the data, one file out, the same every time."""

import importlib

import numpy as np
import onnx
import onnxruntime
import pytest

from sartor import registry
from sartor.errors import SartorError, StorageError, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import CompressJob
from sartor.stages.compress import compress
from sartor.testing.runtimes import INPUT_SHAPE, example_input, write_example_onnx

apply = importlib.import_module("sartor.stages.compress.apply")
SIZE = INPUT_SHAPE[1:3]


@pytest.fixture
def asked():
    return []


@pytest.fixture
def workspace(tmp_path, monkeypatch, asked):
    class Samples:
        def calibration(self, input_size, n, seed, encoding="", learnt=None):
            asked.append((tuple(input_size), n, seed))
            return np.random.default_rng(seed).integers(0, 256, (n, *input_size, 3), dtype=np.uint8)

    monkeypatch.setattr(apply, "open_data", lambda fingerprint, workspace: Samples())
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def parent(workspace, tmp_path):
    write_example_onnx(tmp_path / "example")
    return workspace.objects.take(tmp_path / "example", format="onnx").sha256


def job_of(parent, compressor="int8-static", seed=5, **options):
    return CompressJob(compressor, parent, "image-classification", "data", SIZE, INPUT_SHAPE[0], seed, options)


def test_the_child_names_its_parent_and_answers_nearly_alike(workspace, parent, asked):
    artifact = compress(job_of(parent), workspace).artifact
    assert (artifact.parent, artifact.made_by, artifact.format) == (parent, "int8-static", "onnx")
    assert asked == [(SIZE, 256, 5)]
    before, after = (
        onnxruntime.InferenceSession(str(workspace.objects.path(sha))).run(None, {"input": example_input()})[0]
        for sha in (parent, artifact.sha256)
    )
    assert 0 < np.abs(before - after).max() < 0.05


def test_what_the_compressor_says_of_its_file_is_passed_on(workspace, parent):
    assert compress(job_of(parent), workspace).remark == ""
    assert compress(job_of(parent, "int8-mixed"), workspace).remark.startswith("0 of 2 products stay in float")


def test_equal_jobs_make_equal_bytes_and_other_seeds_do_not(workspace, parent):
    first = compress(job_of(parent), workspace).artifact
    assert compress(job_of(parent), workspace).artifact == first
    assert compress(job_of(parent, seed=6), workspace).artifact.sha256 != first.sha256


def test_options_reach_the_compressor_and_the_number_of_samples_does_not(workspace, parent, asked):
    plain = compress(job_of(parent, calibration_samples=16), workspace).artifact
    whole = compress(job_of(parent, calibration_samples=16, per_channel=False), workspace).artifact
    assert plain.sha256 != whole.sha256
    assert [n for _, n, _ in asked] == [16, 16]


def test_the_file_is_clean(workspace, parent):
    model = onnx.load(workspace.objects.path(compress(job_of(parent), workspace).artifact.sha256))
    assert model.producer_name == "sartor"
    assert not model.metadata_props
    assert not model.graph.value_info


def test_no_compression_keeps_the_graph(workspace, parent):
    artifact = compress(job_of(parent, "none"), workspace).artifact
    batch = example_input()
    before, after = (
        onnxruntime.InferenceSession(str(workspace.objects.path(sha))).run(None, {"input": batch})[0]
        for sha in (parent, artifact.sha256)
    )
    assert np.array_equal(before, after)


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "many"])
def test_bad_numbers_of_samples(workspace, parent, samples):
    with pytest.raises(Unsupported, match="calibration_samples"):
        compress(job_of(parent, calibration_samples=samples), workspace)


def test_unknown_compressor_option_and_artifact(workspace, parent):
    with pytest.raises(SartorError, match="int8-static"):
        compress(job_of(parent, "int8-statik"), workspace)
    with pytest.raises(Unsupported, match="BAD_OPTION"):
        compress(job_of(parent, nonsense=1), workspace)
    with pytest.raises(StorageError, match="missing"):
        compress(job_of("0" * 64), workspace)


def test_a_compressor_that_writes_rubbish_is_refused(workspace, parent, monkeypatch):
    class Rubbish:
        produces = "onnx"

        def apply(self, source, target, calibration, options, seed):
            model = onnx.load(source)
            model.graph.node[0].op_type = "NoSuchOperator"
            onnx.save(model, target)

    monkeypatch.setattr(registry, "get", lambda kind, name: Rubbish())
    with pytest.raises(Unsupported, match="INVALID_GRAPH"):
        compress(job_of(parent), workspace)
