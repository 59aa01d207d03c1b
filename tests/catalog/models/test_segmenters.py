"""Families for class maps: what they build, train and ship. One file of each is run by both runtimes."""

import json

import numpy as np
import pytest
import torch

from sartor import registry
from sartor.catalog.compressors.int8_static import Int8Static
from sartor.catalog.tasks.parts.segmentation_tensors import ShippedSegmenter
from sartor.errors import Refused, Unsupported
from sartor.modelfile import check_model
from sartor.stages.compress.convert import _write_onnx
from sartor.testing import models
from sartor.types import Network

TASK = "image-segmentation"
SIZE = (64, 96)
STATISTICS = {"mean": (120.0,) * 3, "std": (60.0,) * 3}
TINY_SEGFORMER = {
    "type": "segformer",
    "config": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16},
}
TINY = {
    "unet-small": {"widths": [4, 6, 8, 10, 12]},
    "fast-scnn": {"shallow": [4, 6, 8], "deep": [8, 8, 8], "expansion": 2},
    "position-prior": {},
    "transformers-segmentation": TINY_SEGFORMER,
}


def network(family, size=SIZE, outputs=5):
    if family.startswith("transformers"):
        pytest.importorskip("transformers")
    return Network(family, "tiny", TINY[family], size, outputs)


def build(family, **options):
    torch.manual_seed(0)
    return registry.get("models", family).build(network(family, **options))


@pytest.mark.parametrize("family", TINY)
class TestEachFamily:
    def test_offers_variants_with_recipes(self, family):
        plugin = registry.get("models", family)
        assert plugin.tasks == {TASK}
        found = models.networks(family, (96, 128), data=models.card(size=(96, 128), task=TASK))
        assert found
        assert len({one.id for one in found}) == len(found)
        for one in found:
            assert json.loads(json.dumps(one.options)) == one.options
            models.check_recipe(one)

    def test_gives_logits_of_a_map_that_no_other_picture_moves(self, family):
        module = build(family).eval()
        pictures = torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            together, alone = module(pictures), module(pictures[:1])
        assert together.shape[:2] == (3, 5)
        assert min(together.shape[2:]) >= 8
        assert torch.allclose(together[:1], alone, atol=1e-4)


@pytest.mark.parametrize("family", ["unet-small", "fast-scnn", "transformers-segmentation"])
def test_a_few_steps_learn_a_scene(family):
    """Bright pixels are one class, dark ones another; every parameter takes part."""
    task, module = registry.get("tasks", TASK), build(family, outputs=2)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 1, 4, 6, generator=generator) > 0.5
    targets = coarse[:, 0].repeat_interleave(16, 1).repeat_interleave(16, 2).to(torch.uint8)
    pictures = (targets[:, None].float() * 2 - 1).repeat(1, 3, 1, 1) + 0.1 * torch.randn(
        4, 3, *SIZE, generator=generator
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(16):
        loss = task.loss(module.train()(pictures), targets, 0.0)
        loss.backward()
        if not losses:
            still = [
                name for name, one in module.named_parameters() if one.grad is None or not one.grad.isfinite().all()
            ]
            assert not still
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("family", TINY)
def test_the_shipped_file_runs_in_both_runtimes_and_in_int8(family, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    openvino = pytest.importorskip("openvino")
    shipped = ShippedSegmenter(build(family), STATISTICS).eval().requires_grad_(False)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    path = tmp_path / "model.onnx"
    _write_onnx(shipped, pictures[:1], family, path)
    check_model(path)
    wanted = shipped(torch.from_numpy(pictures[:1])).numpy()
    session = onnxruntime.InferenceSession(str(path))
    found = session.run(["output"], {"input": pictures[:1]})[0]
    assert (found.dtype, found.shape) == (np.uint8, (1, 2, 32, 48))
    assert registry.get("tasks", TASK).difference(found[0], wanted[0]) < 1e-2
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    other = compiled(pictures[:1])[0]
    assert other.dtype == np.uint8
    assert registry.get("tasks", TASK).difference(other[0], wanted[0]) < 1e-2
    small = tmp_path / "int8.onnx"
    if family == "position-prior":
        with pytest.raises(Unsupported, match="NOTHING_TO_QUANTISE"):
            Int8Static().apply(path, small, pictures, {}, 0)
        return
    Int8Static().apply(path, small, pictures, {}, 0)
    check_model(small)
    reduced = onnxruntime.InferenceSession(str(small)).run(["output"], {"input": pictures[:1]})[0]
    assert (reduced.dtype, reduced.shape) == (np.uint8, found.shape)
    assert (reduced[0, 0] == found[0, 0]).mean() > 0.5


def test_the_prior_is_the_share_of_classes_at_each_place():
    family = registry.get("models", "position-prior")
    module = build("position-prior", size=(4, 4), outputs=3)
    masks = torch.tensor([[[0, 0, 1, 1]] * 4, [[0, 255, 1, 2]] * 4], dtype=torch.uint8)
    family.fit(module, lambda: iter([(torch.zeros(2, 3, 4, 4), masks)]))
    shares = module.logits.exp()
    assert torch.allclose(shares.sum(0), torch.ones(4, 4), atol=1e-5)
    overall = torch.tensor([12.0, 12.0, 4.0]) / 28
    assert torch.allclose(shares[:, 0, 0], (torch.tensor([2.0, 0, 0]) + overall) / 3, atol=1e-4)
    assert torch.allclose(shares[:, 0, 1], (torch.tensor([1.0, 0, 0]) + overall) / 2, atol=1e-4)
    assert module(torch.randn(2, 3, 4, 4)).argmax(1)[0, 0].tolist()[0] == 0


def test_a_checkpoint_brings_its_weights_and_gets_a_new_head(tmp_path):
    transformers = pytest.importorskip("transformers")
    family = registry.get("models", "transformers-segmentation")
    config = transformers.SegformerConfig(**TINY_SEGFORMER["config"], num_labels=7)
    torch.manual_seed(1)
    saved = transformers.SegformerForSemanticSegmentation(config)
    saved.save_pretrained(tmp_path / "street")
    variant = family.checkpoint_variant(tmp_path / "street", [SIZE])
    assert (variant.name, variant.input_size) == ("street", SIZE)
    made = family.build(Network("transformers-segmentation", variant.name, variant.options, SIZE, 5))
    old, new = saved.state_dict(), made.model.state_dict()
    assert new["decode_head.classifier.weight"].shape[0] == 5
    same = [name for name in old if old[name].shape == new[name].shape and torch.equal(old[name], new[name])]
    assert len(same) >= len(old) - 2
    kept = family.build(Network("transformers-segmentation", variant.name, variant.options, SIZE, 7))
    assert torch.equal(kept.model.state_dict()["decode_head.classifier.weight"], old["decode_head.classifier.weight"])
    (tmp_path / "street" / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(Refused, match="has changed"):
        family.build(Network("transformers-segmentation", variant.name, variant.options, SIZE, 5))
