"""Detectors: what each answers, learns and exports; assignment and losses on cases small enough to know."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sartor import registry
from sartor.catalog.models.parts import dense_detector as dense
from sartor.catalog.models.parts.set_prediction import set_loss
from sartor.errors import Refused, Unsupported
from sartor.testing import models
from sartor.types import Network

SIZE, CLASSES = (64, 96), 3
STATISTICS = {"mean": (100.0,) * 3, "std": (50.0,) * 3}
FACTS = {"sizes": {"smallest": SIZE, "median": SIZE, "largest": SIZE}}
CARD = models.card(task="object-detection", facts=FACTS)


def targets(*pictures: list[tuple]) -> torch.Tensor:
    rows = torch.full((len(pictures), 5, 5), -1.0)
    for picture, boxes in enumerate(pictures):
        for number, box in enumerate(boxes):
            rows[picture, number] = torch.tensor(box)
    return rows


def networks(family: str) -> list[Network]:
    variants = registry.get("models", family).variants(CARD, [SIZE], "thorough")
    return [Network(family, v.name, dict(v.options), SIZE, CLASSES) for v in variants]


@pytest.fixture(scope="module")
def small() -> Network:
    return networks("dense-detector")[0]


def test_sizes_grow_with_effort() -> None:
    family = registry.get("models", "dense-detector")
    counts = [len(list(family.variants(CARD, [SIZE], effort))) for effort in models.EFFORTS]
    assert counts == sorted(counts)
    assert counts[0] == 1
    with pytest.raises(Unsupported, match="INPUT_TOO_SMALL"):
        list(family.variants(CARD, [(32, 32)], "quick"))


def test_every_parameter_learns(small: Network) -> None:
    family = registry.get("models", small.model)
    models.check_recipe(small)
    module = models.build(small).train()
    wanted = targets([(0, 0.1, 0.1, 0.6, 0.5), (2, 0.5, 0.5, 0.9, 0.95)], [])
    family.loss(module(torch.randn(2, 3, *SIZE)), wanted, 0.1).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_batch_without_objects_has_a_finite_gradient(small: Network) -> None:
    module = models.build(small).train()
    loss = dense.detection_loss(module(torch.randn(2, 3, *SIZE)), targets([], []))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_it_learns_one_picture_by_heart(small: Network) -> None:
    module = models.build(small).train()
    picture = torch.randn(1, 3, *SIZE)
    wanted = targets([(1, 0.1, 0.1, 0.55, 0.4), (0, 0.4, 0.5, 0.95, 0.9)])
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        dense.detection_loss(module(picture), wanted).backward()
        optimizer.step()
    boxes, scores = module.candidates(module(picture))
    for label, *place in wanted[0, :2].tolist():
        best = scores[0, :, int(label)].argmax()
        assert scores[0, best, int(label)] > 0.5
        assert dense.overlap(boxes[0, best], torch.tensor(place)) > 0.7


def test_boxes_are_learnt_by_points_inside_and_scores_by_their_overlap() -> None:
    points = torch.cat([dense._points(SIZE, stride) for stride in dense.STRIDES])
    boxes = dense.as_boxes(torch.full((1, len(points), 4), 2.0), points)
    truths = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.4, 0.6, 0.41, 0.61]]])
    owner, wanted = dense.assign(
        boxes, torch.full((1, len(points), CLASSES), 0.1), points, torch.tensor([[2, 1]]), truths
    )
    learnt = wanted[0].sum(dim=1) > 0
    large = learnt & (owner[0] == 0)
    assert 1 <= int(large.sum()) <= dense.CANDIDATES
    assert (points[large, :2] < 0.5).all()
    assert (wanted[0][large][:, [0, 1]] == 0).all()
    best = dense.overlap(boxes[0], truths[0, 0])[large].max()
    assert wanted[0][large].max() == pytest.approx(float(best), abs=1e-5)
    # the second lies between the points and would be lost: the nearest one takes it
    tiny = learnt & (owner[0] == 1)
    assert int(tiny.sum()) == 1
    assert wanted[0][tiny][0, 1] > 0


def test_bins_are_exact_between_two_bins() -> None:
    distances = torch.tensor([[2.25, 0.0, 14.9, 7.0]])
    bins = torch.full((1, 4, dense.BINS), -30.0)
    for side, value in enumerate(distances[0].tolist()):
        lower = int(value)
        bins[0, side, lower] = np.log(1 - (value - lower) + 1e-12)
        bins[0, side, lower + 1] = np.log(value - lower + 1e-12)
    expected = dense._expected(bins.view(1, 1, -1), torch.arange(dense.BINS).float())
    assert torch.allclose(expected[0], distances, atol=1e-4)


def test_generalised_overlap_of_known_boxes() -> None:
    left, right = torch.tensor([0.0, 0.0, 0.5, 0.5]), torch.tensor([0.5, 0.5, 1.0, 1.0])
    assert dense.generalised_overlap(left, right) == pytest.approx(-0.5)
    assert dense.generalised_overlap(left, left) == pytest.approx(1.0, abs=1e-6)


def test_the_prior_is_the_mean_box_of_a_class_and_cell() -> None:
    family = registry.get("models", "box-prior")
    (network,) = networks("box-prior")
    module = family.build(network)
    wanted = targets([(1, 0.0, 0.0, 0.1, 0.1), (1, 0.02, 0.02, 0.12, 0.12)], [(2, 0.5, 0.5, 1.0, 1.0)])
    family.fit(module, lambda: iter([(torch.zeros(2, 3, *SIZE), wanted)]))
    boxes, scores = module.candidates(module(torch.randn(2, 3, *SIZE)))
    best = scores[0, :, 1].argmax()
    assert scores[0, best, 1] == pytest.approx(1.0, rel=0.01)  # two in two pictures
    assert boxes[0, best].tolist() == pytest.approx([0.01, 0.01, 0.11, 0.11])
    assert scores[0, :, 2].max() == pytest.approx(0.5, rel=0.01)
    assert scores[0, :, 0].max() == 0


def test_the_prior_leaves_no_ties_to_the_runtime() -> None:
    family = registry.get("models", "box-prior")
    (network,) = networks("box-prior")
    module = family.build(network)
    cells = [
        (label, row / 6, column / 6, row / 6 + 0.1, column / 6 + 0.1)
        for label in range(3)
        for row in range(6)
        for column in range(6)
    ]
    rows = torch.tensor(cells)[None]
    family.fit(module, lambda: iter([(torch.zeros(1, 3, *SIZE), rows)]))
    scores = module.get_buffer("scores")
    assert len(scores[scores > 0].unique()) == len(cells)


# ------------------------------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("models") / "tiny-yolos"
    config = transformers.YolosConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=[64, 96],
        patch_size=16, num_detection_tokens=12, num_labels=5, use_mid_position_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    return folder


def test_a_checkpoint_is_fine_tuned_with_a_new_head(checkpoint) -> None:
    family = registry.get("models", "transformers-detection")
    variant = family.checkpoint_variant(checkpoint, [SIZE])
    network = Network("transformers-detection", variant.name, dict(variant.options), variant.input_size, CLASSES)
    module = models.build(network).train()
    saved = registry.get("models", "transformers-detection").build(network)
    assert torch.equal(module.model.vit.embeddings.detection_tokens, saved.model.vit.embeddings.detection_tokens)
    wanted = targets([(0, 0.1, 0.1, 0.6, 0.5), (2, 0.5, 0.5, 0.9, 0.95)], [])
    outputs = module(torch.randn(2, 3, *SIZE))
    assert outputs[0].shape == (2, 12, CLASSES + 1)
    loss = family.loss(outputs, wanted, 0.0)
    loss.backward()
    assert loss.isfinite()
    task = registry.get("tasks", "object-detection")
    rows = task.wrap(module.eval(), STATISTICS)(torch.zeros(1, *SIZE, 3, dtype=torch.uint8))
    assert rows.shape == (1, 100, 6)
    assert ((rows[..., :4] >= 0) & (rows[..., :4] <= 1)).all()


def test_nothing_is_offered_without_a_checkpoint_and_code_is_refused(checkpoint, tmp_path) -> None:
    pytest.importorskip("transformers")
    family = registry.get("models", "transformers-detection")
    with pytest.raises(Unsupported, match="NO_CHECKPOINT"):
        family.variants(CARD, [SIZE], "thorough")
    (tmp_path / "config.json").write_text('{"model_type": "yolos", "auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(Refused, match="auto_map"):
        family.checkpoint_variant(tmp_path, [SIZE])


@pytest.mark.parametrize("background", [0, 1])
def test_a_set_is_matched_whatever_its_order(background: int) -> None:
    wanted = targets([(0, 0.1, 0.1, 0.5, 0.5), (2, 0.6, 0.6, 0.9, 0.8)])
    middles = torch.tensor([[[0.7, 0.75, 0.2, 0.3], [0.5, 0.5, 0.1, 0.1], [0.3, 0.3, 0.4, 0.4]]])
    logits = torch.full((1, 3, CLASSES + background), -8.0)
    logits[0, 0, 2] = logits[0, 2, 0] = 8.0
    if background:
        logits[0, 1, CLASSES] = 8.0
    right = set_loss((logits, middles), wanted, CLASSES)
    assert right < 0.01
    assert set_loss((logits.flip(1), middles.flip(1)), wanted, CLASSES) == pytest.approx(float(right), abs=1e-6)
    assert set_loss((logits.flip(1), middles), wanted, CLASSES) > 1  # boxes under each other's names
