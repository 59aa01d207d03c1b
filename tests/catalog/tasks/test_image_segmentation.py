"""Image segmentation: scores by hand arithmetic, masks that fit their pictures, targets that move with them."""

import base64
import io
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from sartor import registry
from sartor.catalog.tasks.parts.segmentation_scores import boundary_f1, segmentation_scores
from sartor.catalog.tasks.parts.segmentation_tensors import ShippedSegmenter, map_loss
from sartor.errors import DataError
from sartor.evidence import Workspace
from sartor.jobs import ExportJob, PrepareJob, TrainJob
from sartor.media.draw import colour
from sartor.media.image import to_png
from sartor.media.masks import IGNORED, read_mask, write_mask
from sartor.prepared import open_data
from sartor.stages.compress import export
from sartor.stages.data import prepare
from sartor.stages.data.stamping import stamp
from sartor.stages.train import train
from sartor.testing.models import card
from sartor.types import DataSource, Network, Pipeline

task = registry.get("tasks", "image-segmentation")
NAMES = ("sky", "road", "tree")
PIPELINE = Pipeline("image-segmentation", NAMES, (32, 32), "model.onnx", "onnxruntime", "fp32", 1, 1)
HALVES = np.repeat([[0] * 8 + [1] * 8], 12, axis=0).astype(np.uint8)


def output(classes, confidence=255):
    return np.stack([np.asarray(classes, np.uint8), np.full(np.shape(classes), confidence, np.uint8)])


def scores(answers, truths, labels=NAMES):
    return segmentation_scores(np.stack([output(one) for one in answers]), truths, labels, 0.95)


def picture(size=(12, 16), seed=0):
    return to_png(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


class TestScores:
    def test_by_hand(self):
        truth = np.array([[0, 0, 0, 1], [0, 1, 1, IGNORED]])
        answer = np.array([[0, 0, 1, 1], [0, 1, 0, 0]])
        found = scores([answer], [write_mask(truth, NAMES)])
        # sky: 3 of 4 right, 4 answered -> 3 / 5; road: 2 of 3 right, 3 answered -> 2 / 4; tree is not shown
        assert found.per_class == pytest.approx({"sky": 0.6, "road": 0.5})
        assert found.values["mean_iou"][0] == pytest.approx(0.55)
        assert found.values["pixel_accuracy"][0] == pytest.approx(5 / 7)
        assert found.values["mean_iou_per_class_min"][0] == pytest.approx(0.5)
        assert found.confusion == ((750, 250, 0), (333, 667, 0), (0, 0, 0))
        assert found.correct == pytest.approx([0.55])

    def test_of_all_pictures_together_and_resampled(self):
        truths = [write_mask(np.zeros((4, 4)), NAMES), write_mask(np.ones((2, 2)), NAMES)]
        found = scores([np.zeros((2, 2)), np.zeros((2, 2))], truths)
        assert found.values["mean_iou"][0] == pytest.approx((16 / 20 + 0) / 2)
        assert found.correct.tolist() == [1.0, 0.0]
        assert found.worst == (1, 0)
        assert found.resample(np.array([0, 0])) == 1.0
        assert found.resample(np.array([0, 1])) == pytest.approx(found.values["mean_iou"][0])
        low, high = found.values["mean_iou"][1:]
        assert (low, high) == (0.0, 1.0)

    def test_at_the_size_of_the_truth_and_by_names(self):
        truth = write_mask(HALVES, ("tree", "sky"))  # 0 is tree, 1 is sky: the model numbers them otherwise
        found = scores([[[2, 0]]], [truth])
        assert found.values["mean_iou"][0] == 1.0
        assert set(found.per_class) == {"sky", "tree"}

    def test_wrong_answers_score_nothing(self):
        truth = write_mask(HALVES, NAMES)
        right = output(HALVES)
        assert scores([HALVES], [truth]).values["mean_iou"][0] == 1.0
        wrong = task.wrong(right, truth)
        assert wrong.shape == right.shape
        judged = segmentation_scores(wrong[None], [truth], NAMES, 0.95)
        assert judged.values["mean_iou"][0] == judged.values["boundary_f1"][0] == 0.0

    def test_agrees_with_a_plain_count(self):
        generator = np.random.default_rng(0)
        truth, answer = generator.integers(0, 5, (2, 40, 30))
        labels = tuple("abcde")
        found = scores([answer], [write_mask(truth, labels)], labels)
        wanted = [((truth == c) & (answer == c)).sum() / ((truth == c) | (answer == c)).sum() for c in range(5)]
        assert list(found.per_class.values()) == pytest.approx(wanted)


class TestBorders:
    def test_within_and_beyond_the_tolerance(self):
        truth = np.zeros((300, 400), np.uint8)
        truth[:, 200:] = 1
        moved = np.zeros_like(truth)
        moved[:, 203:] = 1  # 0.75 % of the diagonal, 500, are 4 pixels
        assert boundary_f1(truth, moved) == 1.0
        moved[:, 200:220] = 0
        assert boundary_f1(truth, moved) == 0.0

    def test_agrees_with_distances_to_every_border_pixel(self):
        generator = np.random.default_rng(1)
        small = generator.integers(0, 4, (2, 6, 7)).astype(np.uint8)
        truth, answer = (one.repeat(25, 0).repeat(25, 1) for one in small)
        truth[:20, :20] = IGNORED
        reach = round(0.0075 * float(np.hypot(*truth.shape)))
        judged = np.where(truth == IGNORED, IGNORED, answer)
        values = []
        for number in range(4):
            borders = [_border_pixels(one, number) for one in (truth, judged)]
            if not len(borders[0]) + len(borders[1]):
                continue
            near = [_share_near(one, other, reach) for one, other in (borders, borders[::-1])]
            values.append(2 * near[0] * near[1] / max(sum(near), 1e-12))
        assert boundary_f1(truth, answer) == pytest.approx(np.mean(values))

    def test_a_picture_of_one_class_has_none(self):
        assert boundary_f1(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)) == 1.0


def _border_pixels(numbers, number):
    found = []
    for y, x in np.argwhere(numbers == number):
        around = [numbers[b, a] for b, a in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                  if 0 <= b < numbers.shape[0] and 0 <= a < numbers.shape[1]]  # fmt: skip
        if any(value not in (number, IGNORED) for value in around):
            found.append((y, x))
    return np.array(found).reshape(-1, 2)


def _share_near(pixels, others, reach):
    if not len(pixels) or not len(others):
        return 0.0
    squares = ((pixels[:, None] - others[None]) ** 2).sum(axis=2).min(axis=1)
    return float((squares <= reach**2).mean())


class TestInspect:
    def test_a_mask_that_fits_is_kept_as_it_is(self):
        truth = write_mask(np.where(HALVES == 1, 2, 0), NAMES)
        seen = task.inspect(picture(), truth)
        assert seen.truth == truth
        assert seen.classes == ("sky", "tree")
        assert seen.remarks == ()
        assert task.inspect(picture()).truth is None

    def test_another_size_of_the_same_shape_is_resized(self):
        seen = task.inspect(picture((24, 32)), write_mask(HALVES, NAMES))
        assert seen.remarks == ("MASK_RESIZED",)
        assert read_mask(seen.truth)[0].tolist() == HALVES.repeat(2, 0).repeat(2, 1).tolist()

    def test_masks_turn_with_pictures_that_exif_turns(self):
        file = io.BytesIO()
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(file, "JPEG", exif=exif)
        stored = np.zeros((40, 64), np.uint8)
        stored[:10] = 1
        seen = task.inspect(file.getvalue(), write_mask(stored, NAMES))
        assert seen.remarks == ("MASK_TURNED",)
        kept = read_mask(seen.truth)[0]
        assert kept.shape == (64, 40)
        assert (kept[:, 30:] == 1).all()
        assert (kept[:, :30] == 0).all()

    @pytest.mark.parametrize(
        ("numbers", "said"), [(np.zeros((12, 12)), "not the same shape"), (np.full((12, 16), IGNORED), "says nothing")]
    )
    def test_what_cannot_be_used_is_told(self, numbers, said):
        with pytest.raises(DataError, match=said):
            task.inspect(picture(), write_mask(numbers, NAMES))


class TestAnswers:
    def test_words_shares_and_a_mask_of_the_pictures_size(self):
        answer = task.answer(output(HALVES, 204), PIPELINE, np.zeros((24, 32, 3), np.uint8))
        assert answer["label"] == "sky 50 %, road 50 %"
        assert answer["confidence"] == pytest.approx(0.8)
        assert answer["shares"] == {"sky": 0.5, "road": 0.5}
        numbers, names = read_mask(base64.b64decode(answer["mask"]))
        assert names == NAMES
        assert numbers.tolist() == HALVES.repeat(2, 0).repeat(2, 1).tolist()

    def test_difference_counts_pixels_and_confidence(self):
        assert task.difference(output(HALVES), output(HALVES)) == 0.0
        assert task.difference(output(HALVES), output(1 - HALVES)) == 1.0
        assert task.difference(output(HALVES, 255), output(HALVES, 204)) == pytest.approx(0.2)

    def test_shown_beside_the_truth(self):
        example = task.show(picture(), write_mask(HALVES, NAMES), output(1 - HALVES), PIPELINE)
        assert (example.truth, example.answer) == ("sky 50 %, road 50 %", "sky 50 %, road 50 %")
        drawn = Image.open(io.BytesIO(base64.b64decode(example.thumbnail)))
        assert drawn.width == 2 * 176 + 6
        assert drawn.height > 132
        below = {ink for _, ink in drawn.convert("RGB").crop((0, 132, drawn.width, drawn.height)).getcolors()}
        assert below == {(255, 255, 255), (0, 0, 0), colour(0), colour(1)}

    def test_explained_by_what_the_main_class_rests_on(self):
        """A stand-in that sees road wherever the left upper corner is bright."""

        def ask(raws):
            bright = [task.decode(raw)[:4, :4].mean() > 200 for raw in raws]
            return np.stack([output(np.full((8, 8), 1 if one else 0), 255 if one else 128) for one in bright])

        pixels = np.full((28, 28, 3), 60, np.uint8)
        pixels[:4, :4] = 255
        found = task.explain(ask, to_png(pixels), PIPELINE)
        assert found.causes[0].name == "top left"
        assert found.causes[0].weight == pytest.approx(1.0)
        assert "road" in found.sentence


class TestTraining:
    def test_targets_are_numbered_as_labels_at_the_inputs_size(self):
        target = task.target(write_mask(HALVES, ("road", "lake", "sky")), (6, 8), NAMES)
        assert target.shape == (6, 8)
        assert target.dtype == np.uint8
        assert (target[:, :4] == 1).all()
        assert (target[:, 4:] == IGNORED).all()

    def test_pictures_and_masks_move_together(self):
        """A picture that shows its own mask shows it still, up to the pixels between two classes."""
        mask = np.random.default_rng(0).integers(0, 3, (6, 4, 4)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
        pixels = np.repeat(mask[:, None], 3, axis=1).astype(np.float32)
        given = torch.from_numpy(pixels), torch.from_numpy(mask)
        moved, targets = task.augment(*given, ("flip", "zoom"), torch.Generator().manual_seed(0))
        assert targets.dtype == torch.uint8
        known = targets != IGNORED
        assert 0.5 < known.float().mean() < 1
        agree = (moved[:, 0].round() == targets)[known].float().mean()
        assert agree > 0.85
        assert (moved[:, 0].round() != given[1]).float().mean() > 0.3
        again = task.augment(*given, ("flip", "zoom"), torch.Generator().manual_seed(0))
        assert torch.equal(again[0], moved)
        assert torch.equal(again[1], targets)

    def test_flips_are_exact_and_light_leaves_masks_alone(self):
        pixels = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        mask = torch.randint(0, 255, (16, 8, 8), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
        moved, targets = task.augment(pixels, mask, ("flip",), torch.Generator().manual_seed(3))
        flipped = [not torch.equal(one, other) for one, other in zip(mask, targets, strict=True)]
        assert 2 < sum(flipped) < 14
        for place, turned in enumerate(flipped):
            assert torch.equal(targets[place], mask[place].flip(1) if turned else mask[place])
            assert torch.allclose(moved[place], pixels[place].flip(2) if turned else pixels[place], atol=1e-5)
        brighter, same = task.augment(pixels, mask, ("light",), torch.Generator().manual_seed(3))
        assert same is mask
        assert not torch.allclose(brighter, pixels)

    def test_the_loss_ignores_what_nobody_judged_and_falls_towards_the_truth(self):
        targets = torch.from_numpy(HALVES.astype(np.int64))[None].to(torch.uint8)
        right = torch.nn.functional.one_hot(targets.long(), 3).permute(0, 3, 1, 2).float() * 20
        assert map_loss(right, targets, 0.0) < 0.01
        assert map_loss(-right, targets, 0.0) > 5
        half = targets.clone()
        half[:, :, 8:] = IGNORED
        assert map_loss(torch.where(half[:, None] == IGNORED, -right, right), half, 0.0) < 0.01
        nothing = torch.full_like(targets, IGNORED)
        logits = right.clone().requires_grad_()
        map_loss(logits, nothing, 0.0).backward()
        assert logits.grad.isfinite().all()

    def test_what_ships_gives_classes_and_their_probability(self):
        logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).view(1, 3, 1, 1).repeat(1, 1, 4, 4)

        class Fixed(torch.nn.Module):
            def forward(self, x):
                return logits.expand(len(x), -1, -1, -1)

        shipped = ShippedSegmenter(Fixed(), {"mean": (0.0,) * 3, "std": (1.0,) * 3})
        found = shipped(torch.zeros(2, 16, 24, 3, dtype=torch.uint8))
        assert found.dtype == torch.uint8
        assert found.shape == (2, 2, 8, 12)
        assert (found[:, 0] == 0).all()
        assert (found[:, 1] == round(0.7 * 255)).all()

    @pytest.mark.parametrize(
        ("median", "first"),
        [((240, 320), (224, 320)), ((20, 30), (24, 32)), ((720, 960), (224, 320)), ((100, 100), (96, 96))],
    )
    def test_sizes_keep_the_shape_and_divide(self, median, first):
        sizes = task.input_sizes(card(task="image-segmentation", size=median))
        assert sizes[0] == first
        assert len(set(sizes)) == len(sizes)
        assert all(side % 8 == 0 for size in sizes for side in size)

    def test_survey_finds_shares_and_rare_classes(self):
        truth = np.zeros((48, 64), np.uint8)
        truth[:12] = 1
        truth[0, 0] = 2
        pictures = [task.decode(picture((48, 64), seed)) for seed in range(6)]
        facts = task.survey(iter(pictures), [write_mask(truth, NAMES)] * 6, {}, 0)
        assert facts["pixel_shares"]["road"] == pytest.approx(12 / 48, abs=0.01)
        assert facts["pictures_with"]["tree"] == 6
        assert [problem.code for problem in facts["problems"]] == ["RARE_CLASS"]
        assert set(task.augmentations(card(facts=facts))) >= {"zoom", "light"}


def scenes(folder, count, size=(32, 48)):
    """Pictures of a bright sky over dark ground with a red post somewhere; masks say which is which."""
    generator = np.random.default_rng(0)
    for split, many in (("train", count), ("val", count // 2), ("test", count // 2)):
        for number in range(many):
            mask = np.zeros(size, np.uint8)
            mask[int(generator.integers(8, 24)) :] = 1
            left = int(generator.integers(4, 36))
            mask[10:30, left : left + 8] = 2
            colours = np.array([(200, 210, 230), (70, 80, 60), (220, 40, 40)])[mask]
            pixels = (colours + generator.normal(0, 12, colours.shape)).clip(0, 255).astype(np.uint8)
            for kind, content in (("images", to_png(pixels)), ("masks", write_mask(mask))):
                path = folder / kind / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    (folder / "classes.txt").write_text("sky\nground\npost\nlake\n")
    return folder


def test_from_folders_to_a_file_that_ships(tmp_path):
    """Data, training, export and the same answers from the file: with what every task goes through."""
    workspace = Workspace(tmp_path / "workspace")
    source = DataSource(str(scenes(tmp_path / "data", 24)))
    data = prepare(PrepareJob(source, task.name, 0, stamp(source)), workspace).card
    assert data.labels == ("sky", "ground", "post")
    assert {problem.code for problem in data.problems} >= {"ABSENT_CLASS"}
    assert data.facts["pictures_with"]["post"] == 24
    network = Network("unet-small", "tiny", {"widths": [8, 12, 16]}, task.input_sizes(data)[0], len(data.labels))
    assert network.input_size == (32, 48)
    recipe = replace(registry.get("models", "unet-small").recipe(network, 24, 20.0), augment=("auto",))
    result = train(TrainJob(task.name, network, data.fingerprint, recipe, 0, 1), workspace)
    assert result.score > 0.5
    artifact = export(ExportJob(task.name, network, data.fingerprint, result.weights.sha256, 1, 0), workspace).artifact
    session = onnxruntime.InferenceSession(str(workspace.objects.path(artifact.sha256)))
    test = open_data(data.fingerprint, workspace).split("test")
    outputs = np.concatenate([session.run(None, {"input": one[None]})[0] for one in test.prepared(network.input_size)])
    found = task.score(outputs, test.truths, data.labels, 0.95)
    assert found.values["mean_iou"][0] > 0.5
    assert found.values["mean_iou"][1] <= found.values["mean_iou"][0] <= found.values["mean_iou"][2]
