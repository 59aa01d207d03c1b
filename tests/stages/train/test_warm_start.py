"""Training that begins with weights of another, cut to the widths of a pruned network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sartor import pruning, registry
from sartor.codec import digest, from_plain, to_plain
from sartor.errors import Unsupported
from sartor.jobs import ExportJob, Recipe, Start, TrainJob
from sartor.prepared import open_data
from sartor.stages.compress import export
from sartor.stages.train import train
from sartor.stages.train._warm_start import begun


@pytest.fixture(scope="module")
def whole(digits):
    job = digits.job("resnet9", 2)
    return Start(job.network, train(job, digits.workspace).weights.sha256)


def pruned_job(digits, start, epochs=1.0, share=0.5, **more):
    job = digits.job("resnet9", epochs, start=start, **more)
    return replace(job, network=pruning.pruned(start.network, share))


def begin(digits, job):
    torch.manual_seed(job.seed)
    return begun(job, open_data(digits.card.fingerprint, digits.workspace), digits.workspace)


def test_a_recipe_without_a_start_is_written_as_it_was_before_there_were_any():
    recipe = Recipe(2.0, 64, "muon", 0.1, 0.01)
    assert "start" not in to_plain(recipe)
    assert digest(recipe) == "36f3c04a1f027cae02110471a735ad4316efac8dc376b496116faaed12b42dde"
    assert from_plain(Recipe, to_plain(recipe)) == recipe


def test_weights_are_those_of_the_channels_worth_most(digits, whole):
    module = begin(digits, pruned_job(digits, whole))
    before = load_file(digits.workspace.objects.path(whole.weights))
    stem, kept = before["0.conv.weight"], module.get_parameter("0.conv.weight")  # nothing is left out of its inputs
    assert len(kept) == pruning.width(len(stem), 0.5) < len(stem)
    rows = [next(i for i, row in enumerate(stem) if torch.equal(row, one)) for one in kept]
    assert rows == sorted(rows)
    assert rows != list(range(len(kept)))


def test_without_the_channels_left_out_it_answers_as_the_whole_network_does(digits, whole):
    """Filters are cut together with what reads them, so channels that carry nothing can go without a trace."""
    job = digits.job("resnet9", 1.0)
    full = begin(digits, job)
    share = 0.5
    with torch.no_grad():
        for part in full.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight[pruning.width(len(part.weight), share) :] = 0
                part.bias[pruning.width(len(part.bias), share) :] = 0
        batch = torch.randn(3, 3, 8, 8)
        wanted = full.eval()(batch)
        found = pruning.narrow(full, batch[:1], lambda _, channels: pruning.width(channels, share))(batch)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_it_learns_on_and_names_where_it_began(digits, whole):
    warm, cold = pruned_job(digits, whole), replace(pruned_job(digits, whole), recipe=digits.job("resnet9", 1).recipe)
    assert from_plain(TrainJob, to_plain(warm)) == warm
    assert digest(warm) != digest(cold)
    assert train(warm, digits.workspace).score > train(cold, digits.workspace).score + 0.1


def test_the_same_network_goes_on_where_it_was(digits, whole):
    job = digits.job("resnet9", 1.0, start=whole)
    module = begin(digits, job)
    for name, tensor in load_file(digits.workspace.objects.path(whole.weights)).items():
        assert torch.equal(module.state_dict()[name], tensor)


def test_what_was_trained_so_is_exported_and_rebuilt_by_the_reference_runtime(digits, whole):
    job = pruned_job(digits, whole)
    weights, workspace = train(job, digits.workspace).weights.sha256, digits.workspace
    files = {
        format: workspace.objects.path(
            export(ExportJob(job.task, job.network, job.data, weights, 1, 0, format), workspace).artifact.sha256
        )
        for format in ("onnx", "torch")
    }  # export compares the ONNX file with torch
    batch = open_data(job.data, workspace).calibration((8, 8), 1, 0)
    answers = [
        registry.get("runtimes", name).load(files[format], "fp32", 1).run(batch)
        for name, format in (("onnxruntime", "onnx"), ("torch", "torch"))
    ]
    assert np.allclose(*answers, atol=1e-4)


def test_it_resumes_to_the_same_bits(digits, whole, resumes):
    resumes(pruned_job(digits, whole, seed=21), 3)


def test_what_diverges_at_once_keeps_the_weights_it_began_with(digits, whole):
    job = pruned_job(digits, whole, learning_rate=1e30)
    result = train(job, digits.workspace)
    assert result.stopped == "DIVERGED"
    state = load_file(digits.workspace.objects.path(result.weights.sha256))
    assert torch.equal(state["0.conv.weight"], begin(digits, job).get_parameter("0.conv.weight"))


def test_weights_of_another_network_are_refused(digits, whole):
    other = replace(whole, network=digits.job("mobile", 1).network)
    with pytest.raises(Unsupported, match="WEIGHTS_MISMATCH"):
        begin(digits, pruned_job(digits, other))
    wider = replace(digits.job("resnet9", 1, start=whole), network=digits.job("resnet9", 1, variant="s").network)
    with pytest.raises(Unsupported, match="WEIGHTS_MISMATCH"):
        begin(digits, wider)
