"""Every family that is trained can lose channels, or says why not; what can is built, counted and exported like any."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils._pytree import tree_leaves

from sartor import pruning, registry
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import DescribeJob
from sartor.networks import build, example
from sartor.stages.predict import describe
from sartor.testing import models
from sartor.torch_onnx import torch_to_onnx
from sartor.types import Network

SHARE = 0.5
PRUNED = {
    "convnext-small": ("image-classification", (8, 8)),
    "dense-detector": ("object-detection", (64, 64)),
    "face-mobile": ("face-recognition", (24, 16)),
    "face-residual": ("face-recognition", (24, 16)),
    "fast-scnn": ("image-segmentation", (64, 64)),
    "mobile": ("image-classification", (8, 8)),
    "resnet9": ("image-classification", (8, 8)),
    "tabular-mlp": ("tabular-classification", (7,)),
    "text-cnn": ("text-classification", (16,)),
    "unet-small": ("image-segmentation", (32, 32)),
}
EXPORTED = {"dense-detector", "face-residual", "mobile", "tabular-mlp", "text-cnn"}  # the rest are made of the same
REFUSED = {
    "linear-pixels": ("image-classification", (8, 8), "no channels"),
    "text-gru": ("text-classification", (16,), "cannot be pruned"),
    "text-hashing": ("text-classification", (16,), "no channels"),
    "text-transformer": ("text-classification", (16,), "cannot be pruned"),
}
ELSEWHERE = {"bpr-mf", "sasrec", "two-tower"}  # made of tables, whose rows are no channels
GIVEN = "transformers", "text-encoder"  # of many architectures, whose checkpoints are not here


def smallest(family, task, size):
    return models.networks(family, size, data=models.card(size=size, task=task))[0]


def test_every_family_that_is_trained_is_known_to_prune_or_not():
    trained = {name for name in registry.names("models") if registry.get("models", name).fitting == "gradient"}
    assert {n for n in trained if not n.startswith(GIVEN)} == {*PRUNED, *REFUSED, *ELSEWHERE}


@pytest.mark.parametrize("family", PRUNED)
def test_with_half_of_its_channels_it_answers_in_the_same_shape_and_in_onnx_too(family):
    task, size = PRUNED[family]
    network = smallest(family, task, size)
    half = pruning.pruned(network, SHARE)
    whole = build(network, task).eval()
    torch.manual_seed(0)
    module = build(half, task).eval()
    assert half.id == f"{network.id}-pruned-to-50"
    assert parameters(module) < (0.99 if family == "text-cnn" else 0.6) * parameters(whole)
    given = example(network, task)
    if given.is_floating_point():
        given = torch.randn(given.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, shapes = module(given), [leaf.shape for leaf in tree_leaves(whole(given))]
    assert [leaf.shape for leaf in tree_leaves(wanted)] == shapes
    if family not in EXPORTED:
        return
    model = torch_to_onnx(First(module), [given], half.id, input_names=["input"])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["output"], {"input": given.numpy()})
    first = tree_leaves(wanted)[0].numpy()
    assert np.abs(found - first).max() <= models.TOLERANCE * max(1.0, np.abs(first).max())


class First(torch.nn.Module):
    """The first tensor of what a module answers: a detector names its points too."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return tree_leaves(self.module(x))[0]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_pruned_is_refused_with_a_sentence(family, tmp_path):
    task, size, why = REFUSED[family]
    half = pruning.pruned(smallest(family, task, size), SHARE)
    with pytest.raises(Unsupported, match=f"NOT_PRUNABLE: .*{why}"):
        build(half, task)
    assert describe(DescribeJob(task, (half,)), Workspace(tmp_path)).costs == ()


@pytest.mark.parametrize("family", ["face-residual", "fast-scnn", "unet-small"])
def test_channels_that_carry_nothing_go_without_a_trace(family):
    """Filters are cut together with all that reads them: behind sums, joins and depthwise filters too."""
    task, size = PRUNED[family]
    network = smallest(family, task, size)
    torch.manual_seed(0)
    module = build(network, task).eval()
    given = torch.randn(2, *example(network, task).shape[1:])
    kept = {name: len(part.weight) for name, part in build(pruning.pruned(network, SHARE), task).named_modules()
            if isinstance(part, torch.nn.BatchNorm2d)}  # fmt: skip
    with torch.no_grad():
        for name, part in module.named_modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(part.weight)
                torch.nn.init.uniform_(part.bias)
                part.weight[kept[name] :] = part.bias[kept[name] :] = 0
        wanted = module(given)
        pruning.narrow(module, given[:1], lambda _, channels: pruning.width(channels, SHARE))
        assert torch.allclose(module(given), wanted, atol=1e-4)


def test_widths_are_multiples_that_kernels_like():
    assert [pruning.width(channels, 0.7) for channels in (192, 48, 24, 10, 3)] == [136, 32, 16, 8, 2]
    assert pruning.width(32, 0.01) == 8
    assert pruning.width(48, 1.0) == 48


def test_without_torch_pruning_the_refusal_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(pruning, "is_installed", lambda: False)
    network = smallest("resnet9", *PRUNED["resnet9"])
    with pytest.raises(Unsupported, match=r'MISSING_EXTRA: .*pip install "sartor\[prune\]"'):
        build(pruning.pruned(network, SHARE), "image-classification")


def test_names_stay_short_and_options_survive():
    bare = Network("resnet9", "", {"widths": [8]}, (8, 8), 10)
    assert pruning.pruned(bare, 0.75).id == "resnet9-pruned-to-75"
    assert pruning.pruned(replace(bare, variant="m"), 0.75).options == {"widths": [8], "pruned_to": 0.75}
    assert pruning.share_of(bare) == 1.0
