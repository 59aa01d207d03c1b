"""Families of face embeddings: what any family has to do, and what each of them claims."""

import math

import pytest

from sartor import registry
from sartor.catalog.models.gabor_fisher import discriminant, gabor_filters
from sartor.catalog.models.parts import margin
from sartor.errors import Unsupported
from sartor.testing import models
from sartor.types import DataCard, SplitCard

torch = pytest.importorskip("torch")

TASK = "face-recognition"
CHECKPOINTS = "transformers-faces"
GIVEN = ("transformers-faces", "onnx-embedding")
FAMILIES = [
    name for name in registry.names("models") if TASK in registry.get("models", name).tasks and name not in GIVEN
]


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family):
    models.check_family(family)
    for network in models.networks(family, (48, 40)):
        models.check_recipe(network)


@pytest.mark.parametrize("family", FAMILIES)
def test_smallest_network_trains_and_exports(family):
    network = models.networks(family, (32, 24), data=models.card(task=TASK))[0]
    module = models.build(network).eval()
    batch = models.inputs(network, 3, TASK)
    with torch.no_grad():
        together, alone = module(batch), module(batch[:1])
    assert together.shape[0] == 3
    assert torch.allclose(together[:1], alone, atol=1e-4)
    models.check_trains(network, TASK)
    models.check_export(network, TASK)


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FAMILIES if name.startswith("face-")])
def test_largest_network_trains_and_exports(family):
    network = models.networks(family, (64, 48), data=models.card(task=TASK))[-1]
    models.check_trains(network, TASK)
    models.check_export(network, TASK)


def test_head_has_the_people_of_train_alone():
    card = DataCard(TASK, "f", tuple("abcde"), {"train": SplitCard(9, {"a": 4, "b": 3, "c": 2}, "t")}, ())
    assert margin.people(card) == 3
    for family in ("face-residual", "face-mobile"):
        assert all(v.options["people"] == 3 for v in registry.get("models", family).variants(card, [(32, 32)], "quick"))


def test_mirrored_faces_have_one_embedding():
    network = next(n for n in models.networks("face-residual", (32, 24)) if n.options["mirrored"])
    module = models.build(network).eval()
    batch = models.inputs(network, 4, TASK)
    with torch.no_grad():
        assert torch.allclose(module(batch), module(batch.flip(3)), atol=1e-4)


def test_margin_makes_the_true_person_harder_to_reach():
    cosines = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.7, 0.2]])
    targets = torch.tensor([0, 1])
    scale = margin.scale_of(3)
    lowered = cosines - margin.MARGIN * torch.eye(3)[targets]
    wanted = -torch.log_softmax(scale * lowered, 1)[torch.arange(2), targets].mean()
    assert torch.allclose(margin.margin_loss(cosines, targets), wanted)
    assert margin.margin_loss(cosines, targets) > torch.nn.functional.cross_entropy(scale * cosines, targets)


@pytest.mark.parametrize("people", [2, 20, 10_000])
def test_scale_lets_a_perfect_face_be_sure(people):
    scale = margin.scale_of(people)
    even = -1 / (people - 1)  # the cosine of the others when all are as far apart as they can be
    sure = 1 / (1 + (people - 1) * math.exp(scale * (even - 1)))
    assert sure >= margin.SURE


def fitted(family, inputs, people, size=(32, 24), **options):
    plugin = registry.get("models", family)
    samples = len(inputs)
    card = DataCard(TASK, "f", tuple("ab"), {"train": SplitCard(samples, {"a": samples - 2, "b": 2}, "t")}, ())
    variant = list(plugin.variants(card, [size], "quick"))[-1]
    network = models.Network(family, variant.name, dict(variant.options) | options, size, 2)
    module = models.build(network).eval()
    with torch.no_grad():
        plugin.fit(module, lambda: iter([(inputs[:5], people[:5]), (inputs[5:], people[5:])]))
    return module


def test_eigenfaces_are_the_principal_components():
    inputs = models.inputs(models.networks("eigenfaces", (32, 24))[0], 20, TASK)
    module = fitted("eigenfaces", inputs, torch.zeros(20, dtype=torch.long))
    with torch.no_grad():
        found = module(inputs)
    grey = inputs.mean(1).flatten(1)
    centred = grey - grey.mean(0)
    # all 19 components of 20 faces: every distance is kept
    assert torch.allclose(torch.cdist(found, found), torch.cdist(centred, centred), atol=1e-2)
    spread = found.var(0)
    assert (spread[:-1] >= spread[1:] - 1e-4).all()


def test_gabor_filters_answer_to_their_own_wave_most_and_to_no_brightness():
    filters = gabor_filters()[:, 0]  # even, then odd ones
    assert filters.shape == (64, 11, 11)
    assert filters[32:].sum(dim=(1, 2)).abs().max() < 1e-5
    finest = filters[:8]
    assert (finest.sum(dim=(1, 2)).abs() < 0.02 * finest.abs().sum(dim=(1, 2))).all()
    position = torch.arange(-5, 6.0)
    upright = torch.cos(math.pi / 2 * position)[None, :].expand(11, 11)  # a wave from left to right
    answers = (finest * upright).sum(dim=(1, 2)).abs()
    assert int(answers.argmax()) == 0


def test_discriminant_brings_one_person_together():
    torch.manual_seed(0)
    people = torch.arange(8).repeat_interleave(6)
    centres = torch.randn(8, 5, dtype=torch.float64)[people]
    light = torch.randn(48, 1, dtype=torch.float64) * torch.linspace(4, 0, 30, dtype=torch.float64)
    faces = torch.cat([centres, torch.zeros(48, 25, dtype=torch.float64)], 1) + light
    faces = faces + 0.05 * torch.randn(48, 30, dtype=torch.float64)
    centred = faces - faces.mean(0)

    def told_apart(embedded):
        unit = torch.nn.functional.normalize(embedded)
        cosines = unit @ unit.T
        same = (people[:, None] == people) & ~torch.eye(48, dtype=torch.bool)
        return float(cosines[same].mean() - cosines[people[:, None] != people].mean())

    projection = discriminant(centred, people, 20)
    assert projection.shape == (30, 20)
    assert told_apart(centred @ projection) > told_apart(centred) + 0.2
    wide = torch.cat([centred, torch.zeros(48, 70, dtype=torch.float64)], 1)  # more features than faces: the other way
    again, here = wide @ discriminant(wide, people, 20), centred @ projection
    assert torch.allclose(again @ again.T, here @ here.T, atol=1e-6)


def test_gabor_fisher_declines_what_it_cannot_learn_from():
    family = registry.get("models", "gabor-fisher")
    single = DataCard(TASK, "f", ("a", "b"), {"train": SplitCard(2, {"a": 1, "b": 1}, "t")}, ())
    with pytest.raises(Unsupported, match="nobody in train has two pictures"):
        list(family.variants(single, [(48, 48)], "quick"))
    with pytest.raises(Unsupported, match="at least 24 pixels"):
        list(family.variants(models.card(task=TASK), [(16, 16)], "quick"))
    sizes = [(96, 96), (56, 48), (32, 24)]
    assert next(iter(family.variants(models.card(task=TASK), sizes, "quick"))).input_size == (56, 48)


def test_gabor_fisher_knows_a_mirrored_face():
    people = torch.arange(4).repeat_interleave(4)
    torch.manual_seed(0)
    faces = torch.nn.functional.interpolate(torch.randn(4, 3, 8, 6), (32, 24), mode="bilinear")[people]
    module = fitted("gabor-fisher", faces + 0.3 * torch.randn(faces.shape), people)
    with torch.no_grad():
        straight, mirrored = module(faces), module(faces.flip(3))
    cosines = torch.nn.functional.normalize(straight) @ torch.nn.functional.normalize(mirrored).T
    same = people[:, None] == people
    assert cosines[same].min() > cosines[~same].max()


def test_people_to_compare_with_do_not_ship():
    from sartor.stages.predict.describe import cost_of

    few = models.networks("face-mobile", (32, 24))[0]
    many = models.Network(few.model, few.variant, {**few.options, "people": 10_000}, few.input_size, few.outputs)
    assert cost_of(few, TASK).parameters == cost_of(many, TASK).parameters


def test_checkpoint_becomes_an_embedding(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
    original = transformers.ResNetForImageClassification(config)
    original.save_pretrained(tmp_path / "backbone")
    family = registry.get("models", CHECKPOINTS)
    with pytest.raises(Unsupported, match="model: folder"):
        list(family.variants(models.card(task=TASK), [(32, 32)], "thorough"))
    variant = family.checkpoint_variant(tmp_path / "backbone", [(48, 40)])
    network = models.Network(CHECKPOINTS, variant.name, dict(variant.options), variant.input_size, 7)
    module = models.build(network).eval()
    with torch.no_grad():
        assert module(models.inputs(network, 2, TASK)).shape == (2, 128)
    kept = module.state_dict()
    name = "embedder.model.resnet.embedder.embedder.convolution.weight"
    assert torch.equal(kept[name], original.state_dict()["resnet.embedder.embedder.convolution.weight"])
    models.check_recipe(network)
    models.check_trains(network, TASK)
    models.check_export(network, TASK)
