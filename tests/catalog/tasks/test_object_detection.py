"""Object detection: truths, scores by the COCO rules, the shipped thinning out of boxes, augmentation, answers."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest

from sartor.catalog.tasks._detection_matching import match
from sartor.catalog.tasks._detection_scores import detection_scores, resampled

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
            answers.append({"image_id": number, "category_id": int(label) + 1, "score": score,
                            "bbox": [1000 * left, 1000 * top, 1000 * (right - left), 1000 * (bottom - top)]})  # fmt: skip
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
