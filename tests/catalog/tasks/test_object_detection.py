"""Object detection: truths, scores by the COCO rules, the shipped thinning out of boxes, augmentation, answers."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.catalog.tasks.parts.detection_answers import overlaps
from sartor.catalog.tasks.parts.detection_scores import detection_scores
from sartor.catalog.tasks.parts.detection_tensors import OVERLAP_LIMIT, best_boxes
from sartor.catalog.tasks.parts.detection_truths import ADVICE, check_truth
from sartor.errors import DataError
from sartor.evidence import Workspace
from sartor.jobs import CompressJob, ExportJob, PrepareJob, TrainJob
from sartor.media.image import to_png, turn_of
from sartor.modelfile import check_model
from sartor.prepared import open_data
from sartor.stages.compress import compress, export
from sartor.stages.data import prepare
from sartor.stages.data.stamping import stamp
from sartor.stages.train import train
from sartor.types import DataCard, DataSource, Network, Pipeline

TASK = registry.get("tasks", "object-detection")
LABELS = ("cat", "dog", "hen")


def truth(*boxes: tuple) -> bytes:
    return json.dumps({"size": [100, 200], "boxes": [list(box) for box in boxes]}).encode()


def found(*rows: tuple, count: int = 100) -> np.ndarray:
    output = np.zeros((count, 6), np.float32)
    for number, row in enumerate(rows):
        output[number] = row
    return output


def random_scene(seed: int, pictures: int, flags: bool) -> tuple[np.ndarray, list[bytes]]:
    """Truths, and answers that are the truths moved a little, some of them of another class, and false alarms."""
    rng = np.random.default_rng(seed)
    outputs, truths = [], []
    for _ in range(pictures):
        boxes, rows = [], []
        for _ in range(rng.integers(0, 9)):
            top, left = rng.uniform(0, 0.7, 2)
            height, width = rng.uniform(0.05, 0.3, 2)
            place = np.array([top, left, top + height, left + width])
            label = int(rng.integers(0, len(LABELS)))
            flag = int(rng.choice([0, 0, 0, 1])) if flags else 0
            boxes.append([*place.round(6).tolist(), LABELS[label], flag])
            for _ in range(rng.integers(0, 4)):
                moved = place + rng.normal(0, 0.01, 4) * rng.integers(0, 4)
                named = label if rng.random() < 0.8 else int(rng.integers(0, len(LABELS)))
                moved[2:] = np.maximum(moved[2:], moved[:2] + 0.01)
                rows.append((*moved, round(float(rng.uniform(0.01, 1)), 2), named))
        for _ in range(rng.integers(0, 6)):
            top, left = rng.uniform(0, 0.8, 2)
            rows.append((top, left, top + 0.2, left + 0.2, round(float(rng.uniform(0.01, 0.6)), 2), rng.integers(0, 3)))
        rows.sort(key=lambda row: -row[4])
        outputs.append(found(*rows))
        truths.append(truth(*boxes))
    return np.stack(outputs), truths


def reference(outputs: np.ndarray, truths: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Precision (thresholds, labels) and the summary of faster-coco-eval."""
    coco = pytest.importorskip("faster_coco_eval")
    document = {"images": [], "annotations": [], "categories": [{"id": i + 1, "name": n} for i, n in enumerate(LABELS)]}
    answers = []
    for number, (output, text) in enumerate(zip(outputs, truths, strict=True), 1):
        document["images"].append({"id": number, "height": 1000, "width": 1000})
        for top, left, bottom, right, name, flag in json.loads(text)["boxes"]:
            box = [1000 * left, 1000 * top, 1000 * (right - left), 1000 * (bottom - top)]
            document["annotations"].append(
                {"id": len(document["annotations"]) + 1, "image_id": number, "bbox": box, "area": box[2] * box[3],
                 "category_id": LABELS.index(name) + 1, "iscrowd": flag}
            )  # fmt: skip
        for top, left, bottom, right, score, label in output[output[:, 4] > 0].astype(float):
            box = [1000 * left, 1000 * top, 1000 * (right - left), 1000 * (bottom - top)]
            answers.append({"image_id": number, "category_id": int(label) + 1, "score": score, "bbox": box})
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = coco.COCO(document)
        judge = coco.COCOeval_faster(truth_set, truth_set.loadRes(answers), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = np.asarray(judge.eval["precision"]).reshape(10, 101, len(LABELS), 4, 3)[:, :, :, 0, 2].mean(axis=1)
    return precision, np.asarray(judge.stats)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("flags", [False, True])
def test_scores_agree_with_the_coco_evaluation(seed: int, flags: bool) -> None:
    outputs, truths = random_scene(seed, 30, flags)
    precision, stats = reference(outputs, truths)
    scores = detection_scores(outputs, truths, LABELS, 0.95)
    assert scores.values["map_50_95"][0] == pytest.approx(stats[0], abs=1e-9)
    assert scores.values["map_50"][0] == pytest.approx(stats[1], abs=1e-9)
    assert scores.values["map_75"][0] == pytest.approx(stats[2], abs=1e-9)
    assert scores.values["recall_100"][0] == pytest.approx(stats[8], abs=1e-9)
    for number, name in enumerate(LABELS):
        assert scores.per_class[name] == pytest.approx(precision[:, number].mean(), abs=1e-9)
    for value, low, high in scores.values.values():
        assert 0 <= low <= value <= high <= 1


@pytest.mark.parametrize("seed", range(3))
def test_a_resampled_value_is_that_of_the_chosen_pictures(seed: int) -> None:
    outputs, truths = random_scene(seed, 20, True)
    outputs[..., 4] *= np.random.default_rng(seed).uniform(0.999, 1, outputs.shape[:2])  # no two scores are equal
    chosen = np.random.default_rng(seed).integers(0, 20, 20)
    scores = detection_scores(outputs, truths, LABELS, 0.95)
    anew = detection_scores(outputs[chosen], [truths[i] for i in chosen], LABELS, 0.95)
    assert scores.resample is not None
    assert scores.resample(chosen) == pytest.approx(anew.values["map_50_95"][0], abs=1e-6)
    assert scores.resample(np.arange(20)) == pytest.approx(scores.values["map_50_95"][0], abs=1e-6)


def test_perfect_answers_and_none_at_all() -> None:
    truths = [truth((0.1, 0.1, 0.5, 0.5, "cat", 0), (0.5, 0.5, 0.9, 0.9, "dog", 0)), truth()]
    perfect = np.stack([found((0.1, 0.1, 0.5, 0.5, 0.9, 0), (0.5, 0.5, 0.9, 0.9, 0.8, 1)), found()])
    scores = detection_scores(perfect, truths, LABELS, 0.95)
    assert scores.values["map_50_95"] == (1.0, 1.0, 1.0)
    assert scores.correct.tolist() == [1.0, 1.0]
    assert scores.worst == ()
    assert set(scores.per_class) == {"cat", "dog"}  # there is no hen to find
    assert [line.name for line in scores.charts[0].lines] == ["cat", "dog"]
    nothing = detection_scores(np.zeros_like(perfect), truths, LABELS, 0.95)
    assert nothing.values["map_50_95"][0] == 0
    assert nothing.worst == (0,)


def test_a_box_that_counts_for_nothing_is_neither_found_nor_missed() -> None:
    truths = [truth((0.1, 0.1, 0.5, 0.5, "cat", 0), (0.6, 0.6, 0.9, 0.9, "cat", 2))]
    both = found((0.6, 0.6, 0.9, 0.9, 0.9, 0), (0.1, 0.1, 0.5, 0.5, 0.8, 0))[None]
    assert detection_scores(both, truths, LABELS, 0.95).values["map_50_95"][0] == pytest.approx(1.0)
    # a second box at the same place is a false alarm
    twice = found((0.6, 0.6, 0.9, 0.9, 0.9, 0), (0.6, 0.6, 0.9, 0.89, 0.85, 0), (0.1, 0.1, 0.5, 0.5, 0.8, 0))[None]
    assert detection_scores(twice, truths, LABELS, 0.95).values["map_50"][0] == pytest.approx(0.5)


# ------------------------------------------------------------------------------------------------------- truths


def checked(*boxes: tuple, size: tuple | None = (100, 200), unit: str = "pixel", of: tuple = (100, 200), turn: int = 1):
    document = {"size": size, "unit": unit, "boxes": [list(box) for box in boxes]}
    result = check_truth(json.dumps(document).encode(), of, turn)
    return json.loads(result.truth)["boxes"], result


def test_pixels_become_shares_and_a_kept_truth_stays() -> None:
    rows, result = checked((10, 20, 60, 120, "cat", 0), (0, 0, 50, 50, "dog", 1))
    assert rows == [[0.1, 0.1, 0.6, 0.6, "cat", 0], [0.0, 0.0, 0.5, 0.25, "dog", 1]]
    assert result.names == ("cat",)  # a crowd is no instance to learn
    assert result.remarks == ()
    again = check_truth(result.truth, (100, 200))
    assert again.truth == result.truth
    assert again.remarks == ()


@pytest.mark.parametrize(
    ("box", "remark", "kept"),
    [
        ((-30, 20, 60, 120), "BOX_OUTSIDE", [0.0, 0.1, 0.6, 0.6]),
        ((0, 20, 60, 200.8), None, [0.0, 0.1, 0.6, 1.0]),  # less than a pixel is rounding
        ((10, 20, 10, 120), "BOX_EMPTY", None),
        ((60, 20, 10, 120), "BOX_EMPTY", None),
        ((120, 20, 130, 60), "BOX_OUTSIDE", None),
    ],
)
def test_odd_boxes_are_clipped_or_left_out(box: tuple, remark: str | None, kept: list | None) -> None:
    rows, result = checked((*box, "cat", 0), (10, 10, 20, 20, "dog", 0))
    assert (remark is None) == (result.remarks == ())
    assert remark is None or remark in result.remarks
    assert [row[:4] for row in rows if row[4] == "cat"] == ([kept] if kept else [])


def test_remarks_on_pictures() -> None:
    assert checked()[1].remarks == ("NO_BOXES",)
    rows, result = checked((10, 20, 60, 120, "cat", 0), (10, 20, 60, 120, "cat", 0), (10, 20, 60, 120, "dog", 0))
    assert len(rows) == 2
    assert result.remarks == ("BOX_TWICE",)
    assert checked((10, 20, 60, 120, "cat", 0), size=(200, 400), of=(100, 200))[1].remarks == ("SIZE_DIFFERS",)
    rows, result = checked(*((i / 4, 0, 100, 200, "cat", 0) for i in range(301)))
    assert len(rows) == 300
    assert "MANY_BOXES" in result.remarks
    assert set(result.remarks) <= set(ADVICE)


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_boxes_drawn_on_a_lying_picture_turn_with_it(turn: int) -> None:
    """The box is drawn into the picture, which Pillow then turns upright: it must lie where the box says."""
    from PIL import Image, ImageOps

    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:15, 10:40] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = turn
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    assert turn_of(file.getvalue()) == turn
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    rows, result = checked((5, 10, 15, 40, "cat", 0), size=(40, 60), of=(60, 40), turn=turn)
    assert result.remarks == ("TURNED",)
    top, left, bottom, right = np.round(np.array(rows[0][:4]) * np.tile(upright.shape[:2], 2)).astype(int)
    assert upright[top:bottom, left:right].min() == 255
    assert (bottom - top) * (right - left) == (upright[..., 0] == 255).sum()


@pytest.mark.parametrize("text", [b"no json", b"[]", b'{"boxes": [[0, 0, 1]]}', b'{"boxes": [[0, 0, 1, NaN, "cat"]]}'])
def test_truths_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(DataError):
        check_truth(text, (10, 10))


def test_targets_hold_what_is_learnt() -> None:
    text = truth((0.1, 0.2, 0.3, 0.4, "hen", 0), (0, 0, 1, 1, "cat", 1), (0, 0, 1, 1, "emu", 0))
    rows = TASK.target(text, (64, 64), LABELS)
    assert rows.shape == (300, 5)
    assert rows[0].tolist() == pytest.approx([2, 0.1, 0.2, 0.3, 0.4])
    assert (rows[1:, 0] == -1).all()


# ------------------------------------------------------------------------------------------- the shipped graph


def greedy(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Suppression as everybody knows it, one box after the other."""
    kept: list[int] = []
    for number in np.argsort(-scores, kind="stable"):
        if all(overlaps(boxes[[number]], boxes[[other]])[0, 0] <= limit for other in kept):
            kept.append(int(number))
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_thinning_out_is_greedy_suppression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    middles = rng.uniform(0.2, 0.8, (6, 2))[rng.integers(0, 6, 60)] + rng.normal(0, 0.02, (60, 2))
    boxes = np.concatenate([middles - 0.1, middles + 0.1], axis=1).astype(np.float32)
    scores = rng.permutation(np.linspace(0.1, 0.9, 60)).astype(np.float32)
    rows = best_boxes(torch.from_numpy(boxes)[None], torch.from_numpy(scores)[None, :, None], overlapping=True)[0]
    wanted = greedy(boxes, scores, OVERLAP_LIMIT)
    assert int((rows[:, 4] > 0).sum()) == len(wanted)
    assert rows[: len(wanted), 4].tolist() == pytest.approx(scores[wanted].tolist())
    assert rows[: len(wanted), :4].numpy() == pytest.approx(boxes[wanted])
    assert (rows[len(wanted) :] == 0).all()


def test_boxes_of_other_classes_stay() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5]] * 3])
    scores = torch.tensor([[[0.9, 0.0], [0.8, 0.7], [0.0, 0.6]]])
    rows = best_boxes(boxes, scores, overlapping=True)[0]
    assert [(round(float(row[4]), 2), int(row[5])) for row in rows if row[4] > 0] == [(0.9, 0), (0.7, 1)]
    all_of_them = best_boxes(boxes, scores, overlapping=False)[0]
    assert int((all_of_them[:, 4] > 0).sum()) == 4


# ------------------------------------------------------------------------------------------------ augmentation


@pytest.mark.parametrize("names", [("flip",), ("upend",), ("zoom",), ("flip", "upend", "zoom", "light")])
def test_boxes_move_with_their_picture(names: tuple[str, ...]) -> None:
    """A bright rectangle on dark ground is still where its box says after augmentation."""
    pictures = torch.zeros(12, 3, 64, 96)
    targets = torch.full((12, 4, 5), -1.0)
    rng = np.random.default_rng(0)
    for number in range(12):
        top, left = rng.uniform(0.1, 0.5, 2)
        box = torch.tensor([top, left, top + 0.3, left + 0.3])
        rows, columns = (box[[0, 2]] * 64).round().int(), (box[[1, 3]] * 96).round().int()
        pictures[number, :, rows[0] : rows[1], columns[0] : columns[1]] = 9.0
        targets[number, 2] = torch.tensor([1, rows[0] / 64, columns[0] / 96, rows[1] / 64, columns[1] / 96])
    moved, boxes = TASK.augment(pictures, targets, names, torch.Generator().manual_seed(0))
    assert moved.shape == pictures.shape
    assert not torch.equal(moved, pictures)
    judged = 0
    for picture, rows in zip(moved, boxes, strict=True):
        (box,) = rows[rows[:, 0] >= 0].tolist() or [None]
        if box is None:
            continue
        seen = torch.nonzero(picture.mean(dim=0) > 4.5)
        (top, left), (bottom, right) = seen.amin(dim=0), seen.amax(dim=0) + 1
        assert box[0] == 1
        assert box[1:] == pytest.approx([int(top) / 64, int(left) / 96, int(bottom) / 64, int(right) / 96], abs=0.035)
        judged += 1
    assert judged >= 8


def test_augmentation_is_fixed_by_its_generator_and_suits_the_evidence() -> None:
    pictures, targets = torch.rand(2, 3, 32, 32), torch.full((2, 3, 5), -1.0)
    one, other = (
        TASK.augment(pictures, targets, ("zoom", "light"), torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(one[0], other[0])
    assert TASK.augmentations(card(mirror={"suits": True})) == ("flip", "zoom", "light")
    assert TASK.augmentations(card(upend={"suits": True})) == ("upend", "zoom", "light")


def card(size: tuple[int, int] = (480, 640), **facts: object) -> DataCard:
    sizes = {"smallest": size, "median": size, "largest": size}
    return DataCard("object-detection", "f", LABELS, {}, (), {"sizes": sizes, **facts})


def test_the_survey_measures_objects_and_finds_handedness() -> None:
    rng = np.random.default_rng(0)
    pictures, truths = [], []
    for number in range(48):
        pixels = rng.integers(0, 60, (64, 64, 3)).astype(np.uint8)
        pixels[:, :20] += 120  # always lit from the left
        name, side = (("cat", 16), ("dog", 24))[number % 2]
        pixels[8 : 8 + side, 30 : 30 + side] = 250
        pictures.append(pixels)
        truths.append(truth((8 / 64, 30 / 64, (8 + side) / 64, (30 + side) / 64, name, 0)))
    facts = TASK.survey(iter(pictures), truths, {}, 0)
    assert facts["box_side"]["smallest_class"] == pytest.approx(0.25)
    assert facts["box_side"]["p90"] == pytest.approx(0.375)
    assert facts["mirror"]["suits"] is False
    assert facts["mirror"]["pictures"]["told_apart"] > 0.9
    rare = TASK.survey(iter(pictures[:8]), truths[:8], {}, 0)["problems"]
    assert [problem.code for problem in rare] == ["SMALL_CLASS"]


@pytest.mark.parametrize(
    ("size", "share", "first"),
    [
        ((480, 640), 0.06, (256, 320)),
        ((480, 640), 0.5, (160, 224)),
        ((2000, 1000), 0.001, (416, 192)),
        ((100, 50), 0.2, (128, 64)),
        ((20, 20), 0.5, (64, 64)),
    ],
)
def test_inputs_show_objects_large_enough(size: tuple[int, int], share: float, first: tuple[int, int]) -> None:
    sizes = TASK.input_sizes(card(size, box_side={"p10": share, "smallest_class": share}))
    assert sizes[0] == first
    assert len(set(sizes)) == len(sizes)
    assert all(side % 32 == 0 for pair in sizes for side in pair)


# ------------------------------------------------------------------------------------------------------ answers


PIPELINE = Pipeline("object-detection", LABELS, (64, 64), "model.onnx", "onnxruntime", "fp32", 1, 1)
OUTPUT = found(
    (0.1, 0.1, 0.5, 0.5, 0.9, 1), (0.2, 0.6, 0.6, 0.9, 0.8, 1), (0.5, 0.5, 0.9, 0.9, 0.4, 0), (0, 0, 1, 1, 0.1, 2)
)


def test_an_answer_counts_what_was_found() -> None:
    answer = TASK.answer(OUTPUT, PIPELINE)
    assert answer["label"] == "2 dog, 1 cat"
    assert answer["confidence"] == pytest.approx(0.9)
    assert answer["objects"][0] == {"label": "dog", "confidence": pytest.approx(0.9), "box": [0.1, 0.1, 0.5, 0.5]}
    strict = TASK.answer(OUTPUT, replace(PIPELINE, options={"score_min": 0.85}))
    assert strict["label"] == "1 dog"
    nothing = TASK.answer(found(), PIPELINE)
    assert (nothing["label"], nothing["confidence"], nothing["objects"]) == ("nothing", 1.0, [])


def test_a_wrong_answer_is_wrong_for_any_picture() -> None:
    truths = [truth((0.1, 0.1, 0.5, 0.5, "cat", 0)), truth()]
    outputs = np.stack([TASK.wrong(OUTPUT, text) for text in truths])
    scores = detection_scores(outputs, truths, LABELS, 0.95)
    assert scores.correct.tolist() == [0.0, 0.0]
    assert scores.values["map_50_95"][0] == 0


def test_difference_is_of_scores_and_places_and_not_of_order() -> None:
    assert TASK.difference(OUTPUT, OUTPUT) == 0
    swapped = OUTPUT.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert TASK.difference(OUTPUT, swapped) == 0
    scored = OUTPUT.copy()
    scored[2, 4] = 0.45
    assert TASK.difference(OUTPUT, scored) == pytest.approx(0.05, abs=1e-6)
    lost = OUTPUT.copy()
    lost[3] = 0
    assert TASK.difference(OUTPUT, lost) == pytest.approx(0.1)  # it weighs by its score
    renamed = OUTPUT.copy()
    renamed[0, 5] = 2
    assert TASK.difference(OUTPUT, renamed) == pytest.approx(0.9)


def test_examples_and_explanations_are_drawn() -> None:
    pixels = np.full((40, 60, 3), 120, np.uint8)
    pixels[4:20, 6:30] = 250
    raw = to_png(pixels)
    example = TASK.show(raw, truth((0.1, 0.1, 0.5, 0.5, "dog", 0)), OUTPUT, PIPELINE)
    assert (example.truth, example.answer) == ("1 dog", "2 dog, 1 cat")
    assert example.thumbnail

    def ask(raws: Sequence[bytes]) -> np.ndarray:
        """Finds the dog only where it is still bright."""
        shares = [TASK.decode(item)[4:20, 6:30].mean() / 250 for item in raws]
        return np.stack([found((0.1, 0.1, 0.5, 0.5, 0.9 * share, 1)) for share in shares])

    explanation = TASK.explain(ask, raw, PIPELINE)
    assert explanation.causes[0].weight > 0.02
    top, left, bottom, right = explanation.causes[0].place
    assert top < 0.5
    assert left < 0.5
    assert "dog" in explanation.sentence


def test_a_picture_is_inspected_with_its_boxes() -> None:
    raw = to_png(np.zeros((10, 20, 3), np.uint8))
    text = json.dumps({"size": None, "unit": "pixel", "boxes": [[0, 0, 5, 40, "cat", 0]]}).encode()
    seen = TASK.inspect(raw, text)
    assert seen.classes == ("cat",)
    assert seen.remarks == ("BOX_OUTSIDE",)
    assert json.loads(seen.truth or b"") == {"size": [10, 20], "boxes": [[0.0, 0.0, 0.5, 1.0, "cat", 0]]}
    assert TASK.inspect(raw).truth is None


# --------------------------------------------------------------------------------------------------- the whole way


def discs(folder: Path, count: int) -> Path:
    """Pictures 64 × 96 of bright squares and dark bars on grey noise, with COCO json."""
    rng = np.random.default_rng(0)
    for split, many in (("train", count), ("val", count // 2), ("test", count // 2)):
        document: dict = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}],
        }
        for number in range(many):
            pixels = rng.normal(120, 10, (64, 96, 3))
            document["images"].append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 96})
            for kind, (height, width), light in ((1, (20, 20), 240), (2, (12, 34), 20)):
                top, left = int(rng.integers(0, 64 - height)), int(rng.integers(0, 96 - width))
                pixels[top : top + height, left : left + width] = light
                box = [left, top, width, height]
                document["annotations"].append({"image_id": number, "category_id": kind, "bbox": box})
            path = folder / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_png(pixels.clip(0, 255).astype(np.uint8)))
        (folder / f"{split}.json").write_text(json.dumps(document))
    return folder


def test_from_pictures_to_a_file_that_ships(tmp_path: Path) -> None:
    """Data, training, export, 8 bits, and answers from both files: with what every task goes through."""
    workspace = Workspace(tmp_path / "workspace")
    source = DataSource(str(discs(tmp_path / "data", 32)))
    data = prepare(PrepareJob(source, TASK.name, 0, stamp(source)), workspace).card
    assert data.labels == ("square", "bar")
    assert data.splits["train"].classes == {"square": 32, "bar": 32}
    size = (64, 96)
    options = {"widths": [8, 12, 16, 24, 32], "depths": [1, 1, 1, 1], "neck": 16}
    network = Network("dense-detector", "tiny", options, size, len(data.labels))
    recipe = registry.get("models", "dense-detector").recipe(network, 32, 25.0)
    result = train(TrainJob(TASK.name, network, data.fingerprint, recipe, 0, 1), workspace)
    assert result.score > 0.3
    artifact = export(ExportJob(TASK.name, network, data.fingerprint, result.weights.sha256, 1, 0), workspace).artifact
    options = registry.get("compressors", "int8-static").options(identify())
    job = CompressJob("int8-static", artifact.sha256, TASK.name, data.fingerprint, size, 1, 0, options)
    small = compress(job, workspace).artifact
    test = open_data(data.fingerprint, workspace).split("test")
    found = {}
    for name, sha256 in (("fp32", artifact.sha256), ("int8", small.sha256)):
        content = workspace.objects.path(sha256).read_bytes()
        (tmp_path / "model.onnx").write_bytes(content)
        check_model(tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        outputs = np.concatenate([session.run(None, {"input": one[None]})[0] for one in test.prepared(size)])
        assert outputs.shape == (16, 100, 6)
        found[name] = TASK.score(outputs, test.truths, data.labels, 0.95).values["map_50"][0]
        operators = {node.op_type for node in onnx.load_from_string(content).graph.node}
        assert not operators & {"NonMaxSuppression", "NonZero", "Loop", "MatMul", "Gemm"}  # all shapes are fixed
    assert found["fp32"] > 0.6
    assert found["int8"] > found["fp32"] - 0.1
