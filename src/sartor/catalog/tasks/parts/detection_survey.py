"""What many pictures with boxes show together: how large objects are, whether mirroring suits, what is rare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.tasks.parts.detection_truths import PLAIN, read_truth
from sartor.types import DataProblem

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

SIDE = 32  # pixels: mirroring is judged on small pictures
OBJECTS_A_PICTURE, OBJECTS = 8, 2000
LEAST_OBJECT = 8  # pixels a side; smaller ones show nothing that could be mirrored
RARE, TELLING = 20, 5  # boxes: fewer are few to learn from, fewer do not tell how large a class is


def survey_boxes(decoded: Iterator[Array], truths: Sequence[bytes], seed: int) -> Mapping[str, Any]:
    """Facts of a choice of training pictures.

    Returns:
        ``mirror`` and ``upend``: evidence that mirroring left-right and top-bottom suits (see ``media.mirror``), by
        whole pictures and by objects; ``box_side``: quantiles of the mean side of a box, and the median of the
        class that is smallest, in shares of the picture's longer side; ``problems``.
    """
    from sartor.media.image import resize

    rng = np.random.default_rng(seed)
    wholes: list[Array] = []
    objects: list[Array] = []
    names: list[str] = []
    sides: dict[str, list[float]] = {}
    for pixels, truth in zip(decoded, truths, strict=True):
        wholes.append(resize(pixels, (SIDE, SIDE)))
        boxes = read_truth(truth)
        size = np.array(pixels.shape[:2])
        edges = np.round(boxes.places * np.tile(size, 2)).astype(int)
        plain = np.flatnonzero(boxes.flags == PLAIN)
        extents = (boxes.places[plain, 2:] - boxes.places[plain, :2]) * size
        for number, side in zip(plain, np.sqrt(extents.prod(axis=1)) / size.max(), strict=True):
            sides.setdefault(boxes.names[number], []).append(float(side))
        for number in rng.permutation(plain)[:OBJECTS_A_PICTURE]:
            top, left, bottom, right = edges[number]
            if min(bottom - top, right - left) >= LEAST_OBJECT and len(objects) < OBJECTS:
                objects.append(resize(pixels[top:bottom, left:right], (SIDE, SIDE)))
                names.append(boxes.names[number])
    facts: dict[str, Any] = {"mirror": _mirrored(wholes, objects, names, seed, turn=False)}
    facts["upend"] = _mirrored(wholes, objects, names, seed, turn=True)
    counts = {name: len(found) for name, found in sides.items()}
    if sides:
        low, middle, high = np.quantile([side for found in sides.values() for side in found], [0.1, 0.5, 0.9])
        least = min(np.median(found) for found in sides.values() if len(found) >= min(TELLING, max(counts.values())))
        named = {"p10": low, "median": middle, "p90": high, "smallest_class": least}
        facts["box_side"] = {name: round(float(value), 4) for name, value in named.items()}
    rare = [f"{name}: {count}" for name, count in sorted(counts.items(), key=lambda item: item[1]) if count < RARE]
    if rare:
        sentence = (
            f"{len(rare)} classes have fewer than {RARE} boxes in the {len(truths)} training pictures looked at; "
            "collect more of them"
        )
        facts["problems"] = [DataProblem("SMALL_CLASS", "train", len(rare), sentence, tuple(rare[:5]))]
    return facts


def _mirrored(
    wholes: Sequence[Array], objects: Sequence[Array], names: Sequence[str], seed: int, *, turn: bool
) -> dict[str, Any]:
    """Whether mirroring suits pictures and the objects in them; ``turn`` asks for top-bottom."""
    from sartor.media.mirror import mirror_evidence

    def evidence(pictures: Sequence[Array], truths: Array) -> dict[str, Any]:
        if not pictures:
            return {"suits": False, "n": 0}
        stack = np.stack(pictures)
        return mirror_evidence(stack.transpose(0, 2, 1, 3) if turn else stack, truths, seed)

    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    # of whole pictures only handedness is asked: they have no class to keep
    scene = evidence(wholes, np.zeros(len(wholes), np.int64))
    thing = evidence(objects, np.array([numbers[name] for name in names], np.int64))
    return {"suits": bool(scene["suits"] and thing["suits"]), "pictures": scene, "objects": thing}
