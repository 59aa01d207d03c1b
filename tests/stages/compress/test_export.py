"""Export: the file answers as torch does, holds nothing of the machine, and is the same every time."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sartor import registry
from sartor.codec import digest, to_plain
from sartor.errors import MissingExtra, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ExportJob
from sartor.stages.compress import export
from sartor.types import DataCard, Network, SplitCard

convert = importlib.import_module("sartor.stages.compress.convert")

TASK = "image-classification"
CLASSES = 5


class Samples:
    """Stands in for prepared data."""

    def statistics(self, input_size, encoding=""):
        return {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}

    def learnt(self, input_size, encoding=""):
        return b""

    def calibration(self, input_size, n, seed, encoding=""):
        return np.random.default_rng(seed).integers(0, 256, (min(n, 20), *input_size, 3), dtype=np.uint8)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "open_data", lambda fingerprint, workspace: Samples())
    return Workspace(tmp_path / "workspace")


def catalogue():
    card = DataCard(TASK, "f", tuple("abcde"), {"train": SplitCard(500, {}, "")}, ())
    for name in registry.names("models"):
        family = registry.get("models", name)
        if TASK in family.tasks and not hasattr(family, "cost"):  # those run a file that a requirement names
            try:
                smallest = next(iter(family.variants(card, ((32, 32),), "thorough")))
            except Unsupported as refusal:
                if refusal.code != "NO_CHECKPOINT":
                    raise
                continue
            options, size = dict(smallest.options), tuple(smallest.input_size)
            yield Network(name, smallest.name, options, size, CLASSES)


NETWORKS = {network.model: network for network in catalogue()}


def job_of(network=None, weights="", batch=1, seed=0, format="onnx"):
    return ExportJob(TASK, network or NETWORKS["linear-pixels"], "data", weights, batch, seed, format)


def run(path, batch):
    return onnxruntime.InferenceSession(str(path)).run(["output"], {"input": batch})[0]


@pytest.mark.parametrize("model", NETWORKS)
def test_every_family_exports_to_a_plain_file_that_answers_like_torch(model, workspace):
    network = NETWORKS[model]
    artifact = export(job_of(network, batch=2), workspace).artifact
    path = workspace.objects.path(artifact.sha256)
    assert (artifact.format, artifact.bytes) == ("onnx", path.stat().st_size)
    check_graph(onnx.load(path, load_external_data=False), [2, *network.input_size, 3])
    check_no_traces(path.read_bytes(), workspace)

    batch = Samples().calibration(network.input_size, 2, seed=9)
    module = convert.build_network(job_of(network, batch=2), workspace)
    shipped = registry.get("tasks", TASK).wrap(module, Samples().statistics(network.input_size)).eval()
    answer = run(path, batch)
    assert answer.shape == (2, CLASSES)
    np.testing.assert_allclose(answer, shipped(torch.from_numpy(batch)).detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(answer.sum(1), 1, atol=1e-5)


def check_graph(model, shape):
    onnx.checker.check_model(model, full_check=True)
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, given.type.tensor_type.elem_type) == ("input", onnx.TensorProto.UINT8)
    assert [side.dim_value for side in given.type.tensor_type.shape.dim] == shape
    assert (answer.name, answer.type.tensor_type.elem_type) == ("output", onnx.TensorProto.FLOAT)
    assert [side.dim_value for side in answer.type.tensor_type.shape.dim] == [shape[0], CLASSES]
    assert all(entry.version >= 17 for entry in model.opset_import if not entry.domain)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not model.functions


def check_no_traces(content, workspace):
    for trace in (b"site-packages", b"/src/", b".py", b"stack_trace", os.getcwd().encode(), bytes(workspace.root)):
        assert trace not in content


def test_batch_normalisation_right_after_a_convolution_is_folded(workspace, monkeypatch):
    build_as(monkeypatch, lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.GELU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES),
    ))  # fmt: skip
    model = onnx.load(workspace.objects.path(export(job_of(), workspace).artifact.sha256))
    operators = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("Conv") == 2
    assert "Gelu" in operators  # whole, for the runtime's own kernel


SCRIPT = """
import importlib, json, sys
from pathlib import Path
from sartor.codec import from_plain
from sartor.evidence import Workspace
from sartor.jobs import ExportJob
import numpy as np
convert = importlib.import_module("sartor.stages.compress.convert")
class Samples:
    learnt = lambda self, size, encoding: b""
    statistics = lambda self, size, encoding: {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    def calibration(self, size, n, seed, encoding):
        return np.random.default_rng(seed).integers(0, 256, (8, *size, 3), dtype=np.uint8)
convert.open_data = lambda fingerprint, workspace: Samples()
job = from_plain(ExportJob, json.loads(sys.argv[2]))
print(convert.export(job, Workspace(Path(sys.argv[1]))).artifact.sha256)
"""


@pytest.mark.slow
def test_another_process_makes_the_same_bytes(workspace, tmp_path):
    job = job_of(NETWORKS["resnet9"], seed=3)
    here = export(job, workspace).artifact.sha256
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "elsewhere"), json.dumps(to_plain(job))]
    there = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert there.stdout.strip().splitlines()[-1] == here


def test_the_scratch_folder_is_cleared_and_a_leftover_does_no_harm(workspace):
    job = job_of()
    (workspace.scratch(digest(job)) / "model").write_bytes(b"half a file of a killed process")
    artifact = export(job, workspace).artifact
    assert not (workspace.root / "scratch" / digest(job)).exists()
    assert artifact == export(job, workspace).artifact


def test_trained_weights_are_what_ships(workspace, tmp_path):
    network = NETWORKS["linear-pixels"]
    module = convert.build_network(job_of(network, seed=77), workspace)
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, tmp_path / "weights")
    weights = workspace.objects.take(tmp_path / "weights", format="safetensors").sha256
    trained = export(job_of(network, weights=weights, seed=0), workspace).artifact
    assert trained.parent == weights
    assert trained.made_by == "export"
    assert trained.sha256 == export(job_of(network, seed=77), workspace).artifact.sha256
    assert trained.sha256 != export(job_of(network, seed=0), workspace).artifact.sha256


def test_weights_of_another_network_are_declined(workspace, tmp_path):
    save_file({"wrong": torch.zeros(3)}, tmp_path / "weights")
    weights = workspace.objects.take(tmp_path / "weights", format="safetensors").sha256
    with pytest.raises(Unsupported, match="WEIGHTS_MISMATCH"):
        export(job_of(weights=weights), workspace)


def test_the_torch_format_can_be_rebuilt_and_gives_the_same_answers(workspace):
    from safetensors import safe_open

    network = NETWORKS["resnet9"]
    artifact = export(job_of(network, format="torch"), workspace).artifact
    path = workspace.objects.path(artifact.sha256)
    assert artifact.format == "torch"
    with safe_open(path, framework="pt") as file:
        meaning = json.loads(file.metadata()["sartor"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert meaning["task"] == TASK
    assert meaning["network"] == json.loads(json.dumps(to_plain(network)))
    assert meaning["statistics"]["mean"] == [0.5, 0.4, 0.3]
    wanted = convert.build_network(job_of(network), workspace).state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert export(job_of(network, format="torch"), workspace).artifact == artifact


def build_as(monkeypatch, build):
    family = type("Family", (), {"build": staticmethod(lambda network: build())})()
    real = registry.get
    monkeypatch.setattr(registry, "get", lambda kind, name: family if kind == "models" else real(kind, name))


def test_a_file_that_answers_otherwise_is_refused(workspace, monkeypatch):
    write = convert._write_onnx

    def write_something_else(shipped, *others):
        write(shipped, *others)
        with torch.no_grad():
            for parameter in shipped.parameters():  # now torch answers otherwise than the file
                parameter.copy_(torch.randn_like(parameter))

    monkeypatch.setattr(convert, "_write_onnx", write_something_else)
    with pytest.raises(Unsupported, match=r"EXPORT_DIFFERS.*differs from torch by"):
        export(job_of(), workspace)


class NotANumber(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).repeat(1, 2)[:, :CLASSES] * float("nan")


def test_not_a_number_is_a_difference(workspace, monkeypatch):
    build_as(monkeypatch, NotANumber)
    with pytest.raises(Unsupported, match="EXPORT_DIFFERS"):
        export(job_of(), workspace)


class Untraceable(nn.Module):
    def forward(self, x):
        if x.sum().item() > 0:  # the graph would depend on the data
            return x.mean((2, 3))
        return x.amax((2, 3))


def test_a_network_that_cannot_be_a_graph_is_declined_in_one_line(workspace, monkeypatch):
    build_as(monkeypatch, Untraceable)
    with pytest.raises(Unsupported, match="EXPORT_FAILED") as refusal:
        export(job_of(), workspace)
    assert "\n" not in str(refusal.value)


def test_unknown_format_and_missing_torch(workspace, monkeypatch):
    with pytest.raises(Unsupported, match="UNKNOWN_FORMAT"):
        export(job_of(format="tflite"), workspace)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"sartor\[train\]"):
        export(job_of(), workspace)


def test_the_operators_are_read_once_per_process(workspace):
    from torch.onnx._internal.exporter import _registration

    export(job_of(), workspace)
    before = _registration.onnxscript_apis.get_torchlib_ops.cache_info()
    export(job_of(seed=1), workspace)
    after = _registration.onnxscript_apis.get_torchlib_ops.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 1)


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (5, 2), (3, 8), (8, 4)])
def test_batches_are_full_and_hold_every_sample(count, batch):
    samples = np.arange(count * 2).reshape(count, 2)
    batches = convert.in_batches(samples, batch)
    assert all(part.shape == (batch, 2) for part in batches)
    assert {tuple(row) for part in batches for row in part} == {tuple(row) for row in samples}
