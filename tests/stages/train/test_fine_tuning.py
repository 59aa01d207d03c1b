"""Fine-tuning of checkpoints: features that are kept, lower layers slower, adapters that merge away."""

import itertools
import shutil
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from sartor import registry, tuning
from sartor.codec import canonical_json
from sartor.errors import MissingExtra, Unsupported
from sartor.jobs import Recipe, TrainJob
from sartor.prepared import open_data
from sartor.stages.train import _closed_form, _features, _memory, _steps, train
from sartor.stages.train._adapters import adapt, attention_projections, is_adapted, merge
from sartor.stages.train._cutting import pieces_of, watched
from sartor.stages.train._layers import rate_shares
from sartor.stages.train._optimizers import make_optimizers
from sartor.stages.train._ranks import ALONE
from sartor.types import Network

transformers = pytest.importorskip("transformers")
TASK, FAMILY = "image-classification", registry.get("models", "transformers")
VIT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
    "image_size": 8, "patch_size": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """In fp32 on every processor."""
    monkeypatch.setattr(_steps, "training_dtype", lambda device: torch.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny-vit"
    torch.manual_seed(1)
    transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, num_labels=3)).save_pretrained(folder)
    variant = FAMILY.checkpoint_variant(folder, [(8, 8)])
    return Network("transformers", variant.name, dict(variant.options), variant.input_size, 10)


def job(digits, network, epochs=2.0, seed=0):
    recipe = FAMILY.recipe(network, digits.card.splits["train"].samples, epochs)
    return TrainJob(TASK, network, digits.card.fingerprint, recipe, seed, 1)


def built(network):
    torch.manual_seed(0)
    return FAMILY.build(network)


def learnt_adapters(network):
    """A module whose adapters add something."""
    module = built(network)
    adapt(module, 4, network.id)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return module.eval()


class Stages(nn.Module):
    """As convolutional networks are made: stages of blocks, with something between them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.stages = nn.ModuleList(self._stage() for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))

    def _stage(self):
        stage = nn.Module()
        stage.down = nn.Conv2d(4, 4, 2)
        stage.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(3)))
        return stage


class TestLayers:
    def test_rates_rise_from_the_embedding_to_the_head(self, network):
        shares = rate_shares(built(network), 0.1)
        assert set(shares) == {name for name, _ in built(network).named_parameters()}
        parts = ("embeddings", "layers.0", "layers.1", "classifier")
        found = [{share for name, share in shares.items() if f"{part}." in name} for part in parts]
        assert [len(values) for values in found] == [1, 1, 1, 1]
        rates = [values.pop() for values in found]
        assert rates[0] == pytest.approx(0.1)
        assert rates[-1] == 1
        factors = [upper / lower for lower, upper in itertools.pairwise(rates)]
        assert factors == pytest.approx([0.1 ** (-1 / 3)] * 3)

    def test_blocks_of_stages_are_counted_through(self):
        shares = rate_shares(Stages(), 0.5)
        order = [
            "stem.weight",
            *(f"stages.{s}.blocks.{b}.0.weight" for s in range(2) for b in range(3)),
            "head.1.weight",
        ]
        assert [shares[name] for name in order] == pytest.approx([0.5 ** (1 - place / 7) for place in range(8)])
        assert shares["stages.1.down.weight"] == shares["stages.0.blocks.2.0.weight"]

    def test_without_blocks_all_learn_alike(self):
        assert set(rate_shares(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), 0.1).values()) == {1.0}

    def test_optimizers_keep_the_rates(self, network):
        module = built(network)
        recipe = Recipe(1.0, 8, "adamw", 0.01, 0.1, lowest_rate=0.1)
        (optimizer,) = make_optimizers(module, recipe, torch.float32)
        shares = {id(parameter): rate_shares(module, 0.1)[name] for name, parameter in module.named_parameters()}
        seen = [(group["peak"], id(weight)) for group in optimizer.param_groups for weight in group["params"]]
        assert {number: rate for rate, number in seen} == pytest.approx({n: 0.01 * s for n, s in shares.items()})
        assert all(
            group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0) for group in optimizer.param_groups
        )
        assert optimizer.param_groups[0]["peak"] == 0.01  # the one that is told

    def test_recipes_without_are_written_as_before(self):
        assert "lowest_rate" not in canonical_json(Recipe(1.0, 8, "adamw", 0.01, 0.1))
        assert "adapters" not in canonical_json(Recipe(1.0, 8, "adamw", 0.01, 0.1))

    def test_resumes_to_the_same_bits(self, digits, network, resumes):
        plain = job(digits, network, 1.0)
        resumes(replace(plain, recipe=replace(plain.recipe, lowest_rate=0.1)), 9)


class TestAdapters:
    def test_only_attention_is_adapted_and_only_the_head_learns_beside_it(self, network):
        module = built(network)
        names = attention_projections(module)
        assert len(names) == 2 * 4  # query, key, value and output of two layers
        adapt(module, 4, network.id)
        learnt = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
        plain = {name for name in learnt if "lora" not in name}
        assert {name.split(".")[-2] for name in plain} == {"layernorm", "classifier"}
        assert len(learnt) - len(plain) == 2 * len(names)

    def test_what_was_adapted_and_what_was_merged_answer_alike(self, network):
        module = learnt_adapters(network)
        inputs = torch.randn(4, 3, 8, 8)
        with torch.no_grad():
            wanted, before = module(inputs), built(network).eval()(inputs)
            merge(module)
            assert torch.allclose(module(inputs), wanted, atol=1e-5)
        assert not torch.allclose(before, wanted, atol=1e-2)
        assert not is_adapted(module)
        assert list(module.state_dict()) == list(built(network).state_dict())

    def test_a_network_without_attention_is_declined(self):
        with pytest.raises(Unsupported, match="NO_ATTENTION|no attention"):
            adapt(Stages(), 4, "stages")

    def test_peft_that_is_absent_is_named(self, network, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtra, match=r"sartor\[lora\]"):
            adapt(built(network), 4, network.id)

    def test_frozen_weights_come_out_as_they_were_and_attention_does_not(self, digits, network):
        result = train(job(digits, tuning.adapted(network)), digits.workspace)
        weights, begun = load_file(digits.workspace.objects.path(result.weights.sha256)), built(network).state_dict()
        assert weights.keys() == begun.keys()
        projections = {f"{name}.weight" for name in attention_projections(built(network))}
        changed = {name for name, value in weights.items() if not torch.equal(value, begun[name])}
        assert projections <= changed
        assert {name.split(".")[-2] for name in changed - projections} == {"layernorm", "classifier"}

    def test_checkpoints_hold_what_is_learnt_and_memory_is_predicted_for_it(self, digits, network):
        data = open_data(digits.card.fingerprint, digits.workspace)
        full, few = (_steps.Training(job(digits, n), data) for n in (network, tuning.adapted(network)))
        assert not any("base_layer" in name or "embeddings" in name for name in few.tensors())
        taken = [sum(tensor.nbytes for tensor in training.tensors().values()) for training in (full, few)]
        assert taken[1] < 0.5 * taken[0]
        seen = [_memory.foresee(training) for training in (full, few)]
        learnt = sum(p.nbytes for p in few.module.parameters() if p.requires_grad)
        everything = sum(p.nbytes for p in few.module.parameters())
        assert seen[1].state == pytest.approx(2 * everything + 3 * learnt, rel=0.02)
        assert seen[1].state < seen[0].state

    def test_resumes_to_the_same_bits(self, digits, network, resumes):
        resumes(job(digits, tuning.adapted(network), 1.0, seed=3), 9)

    def test_of_a_network_that_is_cut_they_learn_the_same(self, digits, network):
        data, found = open_data(digits.card.fingerprint, digits.workspace), []
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            for cuts in (False, True):
                training = _steps.Training(job(digits, tuning.adapted(network)), data)
                if cuts:
                    with torch.no_grad(), watched(training.module) as called:
                        training.module(training.batch(0)[0][:2])
                    assert len(pieces_of(training.module, called)) == 2
                    training._cut(ALONE, called)
                for step in range(2):
                    training.take_step(step)
                training.collect()
                learnt = training.tensors()
                merge(training.average.module)
                found.append((learnt, training.average.module.state_dict()))
        finally:
            dist.destroy_process_group()
        for plain, cut in zip(*found, strict=True):
            assert plain.keys() == cut.keys()
            for name, value in plain.items():
                assert torch.allclose(cut[name], value, atol=1e-5), name
        assert not any("base_layer" in name for name in found[1][0])
        assert found[1][1].keys() == built(network).state_dict().keys()


class TestFrozenFeatures:
    FAMILY = registry.get("models", "transformers-features")

    def job(self, digits, network, seed=0):
        network = replace(network, model="transformers-features")
        return TrainJob(TASK, network, digits.card.fingerprint, self.FAMILY.recipe(network, 100, 1.0), seed, 1)

    def test_the_head_on_kept_features_is_the_one_computed_through_the_network(self, digits, network):
        asked, data = self.job(digits, network), open_data(digits.card.fingerprint, digits.workspace)
        found, _, _ = _closed_form.fitted(asked, data)
        task, train_split = registry.get("tasks", TASK), data.split("train")
        statistics = data.statistics((8, 8), "")
        inputs = task.normalise(torch.from_numpy(train_split.prepared((8, 8)).copy()), statistics)
        wanted = self.FAMILY.build(asked.network).eval()
        with torch.no_grad():
            self.FAMILY.fit(wanted, lambda: iter([(inputs, torch.from_numpy(train_split.truths.copy()))]))
            assert torch.allclose(found(inputs[:20]), wanted(inputs[:20]), atol=1e-3)
        assert torch.equal(built(network).model.vit.layernorm.weight, found[0].model.vit.layernorm.weight)

    def test_later_runs_take_features_from_the_workspace_and_say_so(self, digits, network, monkeypatch, tmp_path):
        told = []
        first = train(
            self.job(digits, network, 1), digits.workspace, lambda sentence, share=None: told.append(sentence)
        )
        monkeypatch.setattr(self.FAMILY, "encode", None)  # whoever computes them anew, fails
        moved = shutil.copytree(network.options["checkpoint"], tmp_path / "moved")
        elsewhere = replace(network, options={**network.options, "checkpoint": str(moved)})
        again = train(
            self.job(digits, elsewhere, 2), digits.workspace, lambda sentence, share=None: told.append(sentence)
        )
        assert again.conditions["features_kept"] is True
        assert "kept by an earlier training" in " ".join(told)
        assert again.score == pytest.approx(first.score, abs=0.02)

    def test_other_weights_have_other_features(self, network, tmp_path):
        from safetensors.torch import save_file

        moved = shutil.copytree(network.options["checkpoint"], tmp_path / "other")
        weights = load_file(moved / "model.safetensors")
        weights["vit.layernorm.weight"] += 1
        save_file(weights, moved / "model.safetensors")
        other = replace(network, options={**network.options, "checkpoint": str(moved)})
        assert _features._content(other) != _features._content(network)

    def test_it_exports_as_one_network(self, network):
        from sartor.testing.models import check_build, check_export

        whole = replace(network, model="transformers-features", outputs=7)
        check_build(whole)
        check_export(whole)
