"""Class maps as people see them: in words, as a PNG, drawn beside the truth, and explained. Base install only."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError
from sartor.media.masks import IGNORED, nearest, numbered_as, write_mask
from sartor.types import Example, Explanation, Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

MOST_NAMED, LEAST_NAMED = 4, 0.01  # classes in a label, and the share of pixels that is worth a word
PANEL = 176  # pixels: longer side of one of two pictures beside each other
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
    both = np.concatenate([small, white, small], axis=1), np.concatenate([maps[0], clear, maps[1]], axis=1)
    return _with_legend(class_map(*both, side=max(both[1].shape)), [(int(number), labels[number]) for number in held])


def _with_legend(drawn: str, entries: Sequence[tuple[int, str]]) -> str:
    """A PNG with a palette (base64), below it the names of classes, each behind a square of its colour.

    The colours are added to the picture's palette: merged with those of the picture, small squares would lose theirs.
    """
    from PIL import Image, ImageDraw

    from sartor.media.draw import colour

    picture = Image.open(io.BytesIO(base64.b64decode(drawn)))
    palette = picture.getpalette() or []
    first = len(palette) // 3
    inks = [(255, 255, 255), (0, 0, 0), *dict.fromkeys(colour(number) for number, _ in entries)]
    places, left, row = [], 0, 0
    pen = ImageDraw.Draw(picture)
    for number, name in entries:
        wide = 14 + round(pen.textlength(name)) + 8
        if left and left + wide > picture.width:
            left, row = 0, row + 1
        places.append((inks.index(colour(number)), name, left, row))
        left += wide
    whole = Image.new("P", (picture.width, picture.height + (row + 1) * ROW + 4), first)
    whole.putpalette([*palette, *(value for ink in inks for value in ink)])
    whole.paste(picture, (0, 0))
    pen = ImageDraw.Draw(whole)
    pen.fontmode = "1"
    for ink, name, left, row in places:
        top = picture.height + 4 + row * ROW
        pen.rectangle((left, top, left + 9, top + 9), fill=first + ink)
        pen.text((left + 14, top - 1), name, fill=first + 1)
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def explain_map(ask: Callable[[Sequence[bytes]], Array], raw: bytes, pixels: Array, pipeline: Pipeline) -> Explanation:
    """Which regions the answer's main class rests on.

    Its confidence is the mean, over the pixels that were given that class, of the confidence in it; 0 where another
    class is answered once a region is covered.
    """
    from sartor.catalog.tasks.parts.occlusion import explain_regions

    first = ask([raw])[0]
    counts = np.bincount(first[0].astype(np.uint8).ravel(), minlength=256)[: len(pipeline.labels)]
    main = int(counts.argmax())
    place = first[0] == main

    def confidence(output: Array) -> float:
        kept = np.where(output[0] == main, output[1].astype(np.float64) / 255, 0.0)
        return float(kept[place].mean()) if place.any() else 0.0

    return explain_regions(ask, pixels, confidence, pipeline.labels[main])
