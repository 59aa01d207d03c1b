"""What is said and shown of found boxes, and how far two answers are apart. Needs numpy and Pillow only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.tasks.parts.detection_scores import SHOWN_FROM
from sartor.catalog.tasks.parts.detection_truths import PLAIN, read_truth
from sartor.types import Example, Explanation, Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

GREEN = (44, 160, 44)  # of true boxes
NOTHING = "nothing"


def shown_rows(output: Array, pipeline: Pipeline) -> Array:
    """Rows of an output (rows, 6) that are answers: scored ``score_min`` or more, an option of the pipeline."""
    least = float(pipeline.options.get("score_min", SHOWN_FROM))
    return np.asarray(output[(output[:, 4] >= least) & (output[:, 4] > 0)])


def box_answer(output: Array, pipeline: Pipeline) -> dict[str, Any]:
    """``label`` counts what was found, ``confidence`` is the best score, ``objects`` hold a box each.

    A box is top, left, bottom, right in shares of the upright picture. Where nothing was found, the confidence is
    what the best rejected box lacks.
    """
    rows = shown_rows(output, pipeline)
    objects = [
        {
            "label": _name(row, pipeline),
            "confidence": float(row[4]),
            "box": [round(float(side), 4) for side in row[:4]],
        }
        for row in rows
    ]
    best = float(output[:, 4].max())
    label = in_words([str(found["label"]) for found in objects])
    return {"label": label, "confidence": best if objects else 1 - best, "objects": objects}


def in_words(names: Sequence[str]) -> str:
    """``12 RBC, 1 WBC``: commonest first."""
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {name}" for name, count in counts) or NOTHING


def _name(row: Array, pipeline: Pipeline) -> str:
    return pipeline.labels[int(row[5])]


def example_of(pixels: Array, truth: bytes, output: Array, pipeline: Pipeline) -> Example:
    """The picture with true boxes in green, without names, and found ones in their class's colour."""
    from sartor.media import draw

    boxes = read_truth(truth)
    plain = [number for number in range(len(boxes)) if boxes.flags[number] == PLAIN]
    drawn = [(_sides(boxes.places[number]), "", GREEN) for number in plain]
    drawn += [
        (_sides(row[:4]), f"{_name(row, pipeline)} {row[4]:.2f}", _ink(int(row[5])))
        for row in shown_rows(output, pipeline)[::-1]  # the best on top
    ]
    answer = box_answer(output, pipeline)
    true = in_words([boxes.names[number] for number in plain])
    return Example("", true, answer["label"], answer["confidence"], draw.boxes(pixels, drawn))


def _ink(label: int) -> tuple[int, int, int]:
    """The colour of a class; the palette's green, its third, is left to the true boxes."""
    from sartor.media import draw

    return draw.colour(label + (label >= 2))


def _sides(box: Array) -> tuple[float, float, float, float]:
    top, left, bottom, right = (float(side) for side in box)
    return top, left, bottom, right


def explain_best(ask: Callable[[Sequence[bytes]], Array], pixels: Array, raw: bytes, pipeline: Pipeline) -> Explanation:
    """Which regions the best box rests on: how far its score falls when they are covered."""
    from sartor.catalog.tasks.parts.occlusion import explain_regions

    best = ask([raw])[0][0]
    name = f"the best {_name(best, pipeline)}" if best[4] > 0 else "that there is nothing"

    def confidence(output: Array) -> float:
        same = (output[:, 5] == best[5]) & (overlaps(best[None, :4], output[:, :4])[0] >= 0.5)
        return float((output[:, 4] * same).max())

    return explain_regions(ask, pixels, confidence, name)


def apart(now: Array, then: Array) -> float:
    """How far two outputs (rows, 6) are apart: the largest loss of score or of place of any box, 0..1.

    A box is compared with the box of its class that overlaps it most; what is lost in overlap weighs by the score.
    Boxes at the end of the list, whose neighbours in score may or may not have made it, weigh by their small score.
    """
    return max(_missed(now, then), _missed(then, now))


def _missed(left: Array, right: Array) -> float:
    left, right = left[left[:, 4] > 0].astype(np.float64), right[right[:, 4] > 0].astype(np.float64)
    if not len(left):
        return 0.0
    if not len(right):
        return float(left[:, 4].max())
    shares = overlaps(left[:, :4], right[:, :4]) * (left[:, None, 5] == right[None, :, 5])
    # a twin is near in place and in score; of two boxes at one place the one of its own score is meant
    distance = np.maximum(np.abs(left[:, None, 4] - right[None, :, 4]), left[:, None, 4] * (1 - shares))
    return float(np.minimum(distance.min(axis=1), left[:, 4]).max())


def overlaps(left: Array, right: Array) -> Array:
    """Intersection over union, (m, n), of boxes (m, 4) and (n, 4)."""
    height = np.minimum(left[:, None, 2], right[:, 2]) - np.maximum(left[:, None, 0], right[:, 0])
    width = np.minimum(left[:, None, 3], right[:, 3]) - np.maximum(left[:, None, 1], right[:, 1])
    shared = height.clip(0) * width.clip(0)
    areas = [(boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0) for boxes in (left, right)]
    union = areas[0][:, None] + areas[1] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))
