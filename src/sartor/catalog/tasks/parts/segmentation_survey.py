"""What many masks show together: how much of the pixels each class has, and whether mirroring keeps classes. numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.media.image import resize
from sartor.media.masks import IGNORED, nearest, read_mask
from sartor.media.mirror import mirror_evidence
from sartor.types import DataProblem

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

SIDE = 192  # pixels: longer side at which pictures are looked at
PATCH = 24  # pixels at that size
LEAST_PATCHES, MOST_PATCHES = 4, 24  # of one picture
PATCHES = 3000  # of all, at most
RARE = 0.001  # share of the pixels
FEW = 5  # pictures


def survey_masks(decoded: Iterable[Array], truths: Sequence[bytes], seed: int) -> dict[str, Any]:
    """Facts of masks with their pictures.

    Returns:
        ``pixel_shares`` class -> share of the judged pixels, ``pictures_with`` class -> pictures that show it,
        ``unjudged_share`` of all pixels, ``mirror`` (see ``media.mirror``), asked of patches and the class in their
        middle: a scene as a whole may well have a left and a right, but what counts here is whether things seen
        mirrored stay what they are. ``problems``: classes with few pixels or pictures.
    """
    generator = np.random.default_rng(seed)
    pixels: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    unjudged = []
    patches: list[Array] = []
    classes: list[str] = []
    each = min(MOST_PATCHES, max(LEAST_PATCHES, PATCHES // max(len(truths), 1)))
    for picture, truth in zip(decoded, truths, strict=True):
        numbers, names = read_mask(truth)
        counts = np.bincount(numbers.ravel(), minlength=256)
        unjudged.append(counts[IGNORED] / numbers.size)
        held = [place for place in range(len(names)) if counts[place]]
        pictures.update(names[place] for place in held)
        for place in held:  # as shares of the picture: a few large ones must not drown the others
            pixels[names[place]] += counts[place] / max(counts[: len(names)].sum(), 1)
        if len(patches) < PATCHES:
            for patch, number in _patches(picture, numbers, each, generator):
                patches.append(patch)
                classes.append(names[number])
    return {
        "pixel_shares": {name: round(count / max(len(truths), 1), 5) for name, count in pixels.most_common()},
        "pictures_with": dict(pictures.most_common()),
        "unjudged_share": round(float(np.mean(unjudged or [0.0])), 5),
        "mirror": _mirror(patches, classes, seed),
        "problems": _rare(pixels, pictures, len(truths)),
    }


def _patches(picture: Array, numbers: Array, count: int, generator: np.random.Generator) -> Iterable[tuple[Array, int]]:
    """Squares cut at random, each with the class number in its middle."""
    factor = min(1.0, SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    side = min(PATCH, height, width)
    small, map_ = resize(picture, (height, width)), nearest(numbers, (height, width))
    for _ in range(count):
        top, left = (int(generator.integers(0, length - side + 1)) for length in (height, width))
        number = int(map_[top + side // 2, left + side // 2])
        if number != IGNORED and side == PATCH:
            yield small[top : top + side, left : left + side], number


def _mirror(patches: Sequence[Array], classes: Sequence[str], seed: int) -> dict[str, Any]:
    if len(set(classes)) < 2:
        return {"suits": False, "n": 0}
    _, numbers = np.unique(classes, return_inverse=True)
    return mirror_evidence(np.stack(patches), numbers, seed)


def _rare(pixels: Counter[str], pictures: Counter[str], total: int) -> tuple[DataProblem, ...]:
    shares = {name: count / max(total, 1) for name, count in pixels.items()}
    rare = [name for name in sorted(shares, key=lambda name: shares[name]) if shares[name] < RARE]
    few = [name for name in sorted(pictures, key=lambda name: pictures[name]) if pictures[name] < FEW]
    found = []
    if rare:
        sentence = f"{len(rare)} classes have less than {RARE:.1%} of train's pixels; collect pictures that show them"
        examples = tuple(f"{name}: {shares[name]:.3%}" for name in rare[:5])
        found.append(DataProblem("RARE_CLASS", "train", len(rare), sentence, examples))
    if few:
        sentence = f"{len(few)} classes are shown by fewer than {FEW} training pictures; collect more of them"
        examples = tuple(f"{name}: {pictures[name]}" for name in few[:5])
        found.append(DataProblem("SMALL_CLASS", "train", len(few), sentence, examples))
    return tuple(found)
