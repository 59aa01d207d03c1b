"""The transformers adapter: checkpoints load, and nothing in a checkpoint folder can name code."""

import json

import pytest
import torch

from sartor import registry
from sartor.errors import MissingExtra, Refused, Unsupported
from sartor.testing.models import card
from sartor.types import Network

pytest.importorskip("transformers")
family = registry.get("models", "transformers")
SMALL = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(1)
    folder = tmp_path / "pets-vit"
    ViTForImageClassification(ViTConfig(**SMALL, num_labels=3)).save_pretrained(folder)
    return folder


def network(variant, outputs=7):
    return Network("transformers", variant.name, variant.options, variant.input_size, outputs)


def edit(folder, **keys):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_a_checkpoint_brings_its_weights_and_size_and_gets_a_new_head(checkpoint):
    from safetensors.torch import load_file

    variant = family.checkpoint_variant(checkpoint, [(32, 32)])
    assert (variant.name, variant.input_size) == ("pets-vit", (16, 16))
    module = family.build(network(variant))
    assert module(torch.randn(2, 3, 16, 16)).shape == (2, 7)
    saved = load_file(checkpoint / "model.safetensors")
    name = "vit.embeddings.patch_embeddings.projection.weight"
    assert torch.equal(module.model.state_dict()[name], saved[name])


def test_a_checkpoint_with_as_many_classes_keeps_its_head(checkpoint):
    from safetensors.torch import load_file

    module = family.build(network(family.checkpoint_variant(checkpoint, [(16, 16)]), outputs=3))
    assert torch.equal(module.model.classifier.weight, load_file(checkpoint / "model.safetensors")["classifier.weight"])


def test_a_checkpoint_is_trained_gently(checkpoint):
    gentle = family.recipe(network(family.checkpoint_variant(checkpoint, [(16, 16)])), 1000, 3)
    scratch = family.recipe(network(next(iter(family.variants(card(), [(32, 32)], "balanced")))), 1000, 3)
    assert gentle.learning_rate < scratch.learning_rate / 5


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"auto_map": {"AutoModel": "evil--code.Model"}}, "auto_map"),
        ({"surprise": 1}, "'surprise'"),
        ({"_attn_implementation_internal": "evil/kernel"}, "'_attn_implementation_internal'"),
        ({"quantization_config": {"quant_method": "x"}}, "'quantization_config'"),
    ],
)
def test_keys_that_are_not_the_architectures_own_are_refused(checkpoint, keys, words):
    edit(checkpoint, **keys)
    with pytest.raises(Refused, match=words):
        family.build(network(family.checkpoint_variant(checkpoint, [(16, 16)])))


def test_pickled_weights_are_not_opened(checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(Refused, match="pickled weights are not opened"):
        family.checkpoint_variant(checkpoint, [(16, 16)])


def test_a_checkpoint_that_changed_is_refused(checkpoint):
    variant = family.checkpoint_variant(checkpoint, [(16, 16)])
    content = bytearray((checkpoint / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(content)
    with pytest.raises(Refused, match="has changed"):
        family.build(network(variant))


def test_a_torn_file_and_a_strange_one_are_refused(checkpoint):
    path = checkpoint / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(Refused, match="not a whole safetensors file"):
        family.build(network(family.checkpoint_variant(checkpoint, [(16, 16)])))
    from safetensors.torch import save

    path.write_bytes(save({"weight": torch.zeros(2)}))
    with pytest.raises(Refused, match="has no fitting tensor"):
        family.build(network(family.checkpoint_variant(checkpoint, [(16, 16)])))


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"model_type": 3}', "\0"])
def test_a_config_that_is_none(checkpoint, content):
    (checkpoint / "config.json").write_text(content)
    with pytest.raises(Refused):
        family.checkpoint_variant(checkpoint, [(16, 16)])


def test_a_folder_without_config(tmp_path):
    with pytest.raises(Refused, match="holds no config.json"):
        family.checkpoint_variant(tmp_path, [(16, 16)])


def test_an_architecture_that_classifies_no_images(checkpoint):
    edit(checkpoint, model_type="no-such-type")
    with pytest.raises(Unsupported, match="no-such-type"):
        family.build(network(family.checkpoint_variant(checkpoint, [(16, 16)])))


def test_quick_offers_none_and_says_so():
    with pytest.raises(Unsupported, match="effort quick"):
        list(family.variants(card(), [(32, 32)], "quick"))


def test_absent_library_names_the_command(monkeypatch):
    monkeypatch.setattr("sartor.catalog.models.parts.checkpoints.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install \"sartor\[hub\]\""):
        list(family.variants(card(), [(32, 32)], "thorough"))
