"""Class maps as people see them: in words, as a PNG, drawn beside the truth, and explained. Base install only."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError
from sartor.media.masks import IGNORED, nearest, numbered_as, write_mask
from sartor.types import Example, Explanation, Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

MOST_NAMED, LEAST_NAMED = 4, 0.01  # classes in a label, and the share of pixels that is worth a word
PANEL = 240  # pixels: longer side of one of two pictures beside each other
GAP, ROW = 6, 14  # pixels: between them, and a line of the legend


def map_answer(output: Array, pipeline: Pipeline, decoded: Any) -> dict[str, Any]:
    """``label`` in words, mean ``confidence``, ``shares`` of pixels, and the ``mask`` as PNG (base64) of class numbers.

    The mask has the size of the decoded picture and carries the class names; without a picture its own size.
    """
    if not np.isfinite(output).all():
        raise DataError("the model's output is not finite for this input, so there is no answer")
    numbers = output[0].astype(np.uint8)
    shares = shares_of(numbers, pipeline.labels)
    size = numbers.shape if decoded is None else decoded.shape[:2]
    mask = write_mask(nearest(numbers, size), pipeline.labels)
    return {
        "label": in_words(shares),
        "confidence": float(output[1].astype(np.float64).mean() / 255),
        "shares": {name: round(share, 4) for name, share in shares.items()},
        "mask": base64.b64encode(mask).decode("ascii"),
    }


def shares_of(numbers: Array, labels: Sequence[str]) -> dict[str, float]:
    """Class to its share of the judged pixels, largest first; classes without pixels are left out."""
    counts = np.bincount(numbers.ravel(), minlength=256)[: len(labels)]
    total = max(int(counts.sum()), 1)
    order = np.argsort(-counts, kind="stable")
    return {labels[place]: float(counts[place] / total) for place in order if counts[place]}


def in_words(shares: dict[str, float]) -> str:
    """The main classes: ``Road 31 %, Sky 18 %``."""
    named = [(name, share) for name, share in shares.items() if share >= LEAST_NAMED][:MOST_NAMED]
    return ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in named) or "nothing"


def shown(raw_pixels: Array, truth: bytes, output: Array, pipeline: Pipeline) -> Example:
    """The answer over the picture, beside it the truth, below both which colour is which class."""
    answer = output[0].astype(np.uint8)
    wanted = numbered_as(truth, pipeline.labels)
    return Example(
        "",
        in_words(shares_of(wanted, pipeline.labels)),
        in_words(shares_of(answer, pipeline.labels)),
        float(output[1].astype(np.float64).mean() / 255),
        _drawn(raw_pixels, answer, wanted, pipeline.labels),
    )


def _drawn(pixels: Array, answer: Array, wanted: Array, labels: Sequence[str]) -> str:
    from sartor.media.draw import class_map
    from sartor.media.image import resize

    factor = PANEL / max(pixels.shape[:2])
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    small = resize(pixels, (height, width))
    maps = [nearest(numbers, (height, width)) for numbers in (answer, wanted)]
    held = [number for number in np.unique(np.concatenate([m.ravel() for m in maps])) if number < len(labels)]
    white = np.full((height, GAP, 3), 255, np.uint8)
    clear = np.full((height, GAP), IGNORED, np.uint8)
    legend, squares = _legend([(int(number), labels[number]) for number in held], 2 * width + GAP)
    picture = np.concatenate([np.concatenate([small, white, small], axis=1), legend])
    numbers = np.concatenate([np.concatenate([maps[0], clear, maps[1]], axis=1), squares])
    return class_map(picture, numbers, side=max(picture.shape[:2]))


def _legend(entries: Sequence[tuple[int, str]], width: int) -> tuple[Array, Array]:
    """Names on white (h, width, 3), and the class numbers of the squares before them (h, width)."""
    from PIL import Image, ImageDraw

    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, left, row = [], 2, 0
    for number, name in entries:
        wide = 14 + round(pen.textlength(name)) + 8
        if left > 2 and left + wide > width:
            left, row = 2, row + 1
        places.append((number, name, left, row))
        left += wide
    image = Image.new("RGB", (width, (row + 1) * ROW + 4), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    squares = np.full((image.height, width), IGNORED, np.uint8)
    for number, name, left, row in places:
        top = 4 + row * ROW
        squares[top : top + 10, left : left + 10] = number
        pen.text((left + 14, top - 1), name, fill=(0, 0, 0))
    return np.asarray(image), squares


def explain_map(ask: Callable[[Sequence[bytes]], Array], raw: bytes, pixels: Array, pipeline: Pipeline) -> Explanation:
    """Which regions the answer's main class rests on.

    Its confidence is the mean, over the pixels that were given that class, of the confidence in it; 0 where another
    class is answered once a region is covered.
    """
    from sartor.catalog.tasks._occlusion import explain_regions

    first = ask([raw])[0]
    counts = np.bincount(first[0].astype(np.uint8).ravel(), minlength=256)[: len(pipeline.labels)]
    main = int(counts.argmax())
    place = first[0] == main

    def confidence(output: Array) -> float:
        kept = np.where(output[0] == main, output[1].astype(np.float64) / 255, 0.0)
        return float(kept[place].mean()) if place.any() else 0.0

    return explain_regions(ask, pixels, confidence, pipeline.labels[main])
