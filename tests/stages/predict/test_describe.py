"""Static cost against known answers."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from sartor import registry
from sartor.errors import Unsupported
from sartor.jobs import DescribeJob
from sartor.stages.predict import describe
from sartor.types import DataCard, Network, SplitCard

module_under_test = importlib.import_module("sartor.stages.predict.describe")


@pytest.fixture
def built(monkeypatch):
    """Makes ``cost_of`` build what a test says."""

    def use(build, input_size=(32, 32)):
        family = type("Family", (), {"build": staticmethod(lambda network: build())})()
        task = registry.get("tasks", "image-classification")
        monkeypatch.setattr(module_under_test.registry, "get", lambda kind, name: task if kind == "tasks" else family)
        return module_under_test.cost_of(Network("test", "", {}, input_size, 10), "image-classification")

    return use


def test_a_convolution(built):
    cost = built(lambda: nn.Conv2d(3, 16, 3, padding=1))
    assert cost.operations == 2 * 32 * 32 * 16 * 3 * 9
    assert cost.parameters == 16 * 27 + 16
    assert cost.activation_bytes == 4 * 16 * 32 * 32
    assert cost.layers == 1


def test_a_table_of_which_rows_are_taken_is_not_read_whole(built):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.tied, self.out = nn.Embedding(100, 8), nn.Embedding(50, 8), nn.Linear(8, 2)

        def forward(self, pixels):
            ids = pixels.flatten(1)[:, :5].long()
            found = self.table(ids).mean(1) + self.tied(ids).mean(1)
            return self.out(found) + (found @ self.tied.weight.T).sum()

    cost = built(Words)
    assert cost.looked_up == 100 * 8  # the tied table takes part in a product as well
    assert cost.rows == 2 * 5 * 8
    assert cost.parameters == 150 * 8 + 2 * 8 + 2


def test_what_only_looks_up_is_sized_by_what_it_touches_and_needs_all_its_bits(built):
    def bag(words):
        class Bag(nn.Module):
            def __init__(self):
                super().__init__()
                self.table = nn.EmbeddingBag(1000, 16, mode="sum")

            def forward(self, pixels):
                return self.table(pixels.flatten(1)[:, :words].long())

        return Bag

    few, many = built(bag(10)), built(bag(200))
    assert few.operations == many.operations == 0
    assert (few.rows, many.rows) == (160, 3200)
    assert few.work < many.work
    assert not many.multiplies
    assert built(lambda: nn.Conv2d(3, 4, 1)).multiplies


def test_a_depthwise_convolution(built):
    cost = built(lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1, bias=False))
    assert cost.operations == 2 * 32 * 32 * 3 * 9


def test_a_linear_layer_on_flat_pixels(built):
    cost = built(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)), input_size=(8, 8))
    assert cost.operations == 2 * 192 * 10
    assert cost.parameters == 1930
    assert cost.activation_bytes == 40  # flattening moves nothing


def test_alexnet_first_layer_as_published(built):
    """105,415,200 multiply-accumulates for 96 filters of 11×11, stride 4, on 227×227 (Krizhevsky et al. 2012)."""
    cost = built(lambda: nn.Conv2d(3, 96, 11, stride=4), input_size=(227, 227))
    assert cost.operations == 2 * 105_415_200
    assert cost.parameters == 34_944


class Attention(nn.Module):
    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)[:, None]  # (1, 1, h*w, 3)
        return functional.scaled_dot_product_attention(tokens, tokens, tokens)


class ValueDependentAttention(Attention):
    def __init__(self):
        super().__init__()
        torch.ones(1).item()  # has no meta form, so this is counted on the CPU


@pytest.mark.parametrize("build", [Attention, ValueDependentAttention])
def test_attention_counts_both_products_on_either_device(built, build):
    cost = built(build, input_size=(8, 8))
    assert cost.operations == 2 * (2 * 64 * 64 * 3)
    assert cost.layers == 2


def test_folded_statistics_are_not_parameters_but_stored_samples_are(built):
    def build():
        net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8))
        net.register_buffer("stored", torch.zeros(100, 5))
        net.register_buffer("counter", torch.zeros(7, dtype=torch.int64))
        return net

    assert built(build).parameters == 24 + 16 + 500


def test_in_place_and_fresh_writes_count_alike(built):
    fresh = built(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()))
    in_place = built(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)))
    assert fresh.activation_bytes == in_place.activation_bytes == 2 * 4 * 4 * 32 * 32


def test_a_network_that_cannot_run_is_left_out_with_a_reason(monkeypatch):
    def build(network):
        return nn.Linear(7, 10) if network.variant == "bad" else nn.Conv2d(3, 4, 1)

    family = type("Family", (), {"build": staticmethod(build)})()
    task = registry.get("tasks", "image-classification")
    monkeypatch.setattr(module_under_test.registry, "get", lambda kind, name: task if kind == "tasks" else family)
    told = []
    networks = tuple(Network("test", variant, {}, (8, 8), 10) for variant in ("good", "bad", "fine"))
    result = describe(DescribeJob("image-classification", networks), None, lambda text, share=None: told.append(text))
    assert [cost.network for cost in result.costs] == ["test-good", "test-fine"]
    assert any("NO_COST" in text and "test-bad" in text for text in told)


def catalogue():
    card = DataCard("image-classification", "f", tuple("abcde"), {"train": SplitCard(500, {}, "")}, ())
    for name in registry.names("models"):
        family = registry.get("models", name)
        if "image-classification" not in family.tasks or hasattr(family, "cost"):
            continue  # not of the task, or run with a file that a requirement names
        try:
            variants = list(family.variants(card, ((32, 32),), "balanced"))
        except Unsupported as refusal:
            if refusal.code != "NO_CHECKPOINT":
                raise
            continue
        for variant in variants:
            yield Network(name, variant.name, dict(variant.options), tuple(variant.input_size), 5)


def test_every_network_of_the_catalogue_has_a_cost():
    networks = tuple(catalogue())
    result = describe(DescribeJob("image-classification", networks), None)
    assert [cost.network for cost in result.costs] == [network.id for network in networks]
    for cost in result.costs:
        assert cost.parameters > 0
        assert cost.operations >= 0


def test_a_wider_net_of_a_family_costs_more():
    costs = {
        cost.network: cost for cost in describe(DescribeJob("image-classification", tuple(catalogue())), None).costs
    }
    widths = [costs[name].operations for name in ("resnet9-xs", "resnet9-s", "resnet9-m") if name in costs]
    assert widths == sorted(set(widths))
