"""Image segmentation: a class for every pixel of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks.parts import picture_methods
from sartor.catalog.tasks.parts.picture_statistics import channel_statistics
from sartor.catalog.tasks.parts.segmentation_scores import METRICS
from sartor.errors import DataError
from sartor.reading.masks import OPTIONS
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

LADDER = (64, 96, 128, 160, 224, 320, 448, 640)  # pixels: longer sides offered for pictures that are no smaller
MOST_NATURAL = 320
"""Longer inputs are offered, but last: cost grows with the square, and the map is half as large anyway."""

STEP, SMALL_STEP = 32, 8  # pixels: both sides are multiples, so that maps can be halved five (three) times
SAME_ASPECT = 0.02  # how far a mask's aspect ratio may be off, as a share


@register("tasks", "image-segmentation")
class ImageSegmentation:
    """A class for every pixel.

    The deployed graph takes uint8 (batch, H, W, 3) and gives uint8 (batch, 2, H / 2, W / 2): class numbers, and the
    confidence in each in 1/255. The whole picture is stretched to the input size; answers and scores are brought back
    to the picture's own size. Modules map normalised pictures to logits (n, classes, h, w) of any size.

    Truths are PNG files of class numbers with the class names inside (``media.masks``); 255 is judged by nobody.
    """

    name = "image-segmentation"
    title = "tell what every pixel shows"
    version = 1
    media = "image"
    truth = "structure"
    splitting = "random"
    options = OPTIONS
    advice: Mapping[str, str] = {
        "MASK_RESIZED": "have masks of another size but the same shape; masks were resized to their picture",
        "MASK_TURNED": "are turned by EXIF and their masks are not; masks were turned with them",
    }
    metrics = METRICS

    alike = staticmethod(picture_methods.alike)
    decode = staticmethod(picture_methods.decode)
    learn = staticmethod(picture_methods.learn_nothing)
    recall = staticmethod(picture_methods.recall_nothing)
    prepare = staticmethod(picture_methods.stretched)
    noise = staticmethod(picture_methods.noise)
    example = staticmethod(picture_methods.example)
    statistics = staticmethod(channel_statistics)
    loss_spans_batch = True
    normalise = staticmethod(picture_methods.normalise)

    def read(self, source: DataSource) -> list[Part]:
        """Pictures and masks of the same name, or COCO outlines, in folders or in a .tar."""
        from sartor.reading.masks import read_scenes_of

        return read_scenes_of(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        """A mask has to fit its picture and say something."""
        from sartor.media.image import look

        seen = look(raw)
        facts = {"mode": seen.mode, "size": seen.size}
        if truth is None:
            return Sighting(seen.content, facts, seen.likeness)
        from sartor.media.masks import read_mask

        numbers, names = read_mask(truth)
        fitted, remarks = _fitted(raw, numbers, seen.size)
        held = _held(fitted, names)
        if not held:
            raise DataError("its mask says nothing: every pixel is ignored")
        return Sighting(
            seen.content,
            facts,
            seen.likeness,
            truth if fitted is numbers else _written(fitted, names),
            tuple(names[place] for place in held),
            remarks,
        )

    def survey(
        self, decoded: Iterator[Array], truths: Truths, facts: Mapping[str, Any], seed: int
    ) -> Mapping[str, Any]:
        """Shares of the classes, rare ones, and whether mirroring suits."""
        from sartor.catalog.tasks.parts.segmentation_survey import survey_masks

        return survey_masks(decoded, list(truths), seed)

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        from sartor.catalog.tasks.parts.segmentation_answers import map_answer

        return map_answer(output, pipeline, decoded)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """By occlusion: how far confidence in the main class falls, where it was answered, as regions are covered."""
        from sartor.catalog.tasks.parts.segmentation_answers import explain_map

        return explain_map(ask, raw, self.decode(raw), pipeline)

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        from sartor.catalog.tasks.parts.segmentation_scores import segmentation_scores

        return segmentation_scores(outputs, list(truths), labels, confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        """No class anywhere, without confidence."""
        import numpy as np

        from sartor.media.masks import IGNORED

        wrong = np.zeros_like(output)
        wrong[0] = IGNORED
        return wrong

    def difference(self, now: Array, then: Array) -> float:
        """The larger of: share of pixels of another class, mean difference of the confidence."""
        import numpy as np

        classes = float((now[0] != then[0]).mean())
        confidence = float(np.abs(now[1].astype(np.float64) - then[1].astype(np.float64)).mean() / 255)
        return max(classes, confidence) if math.isfinite(confidence) else math.inf

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        """The answer and the truth over the picture, side by side."""
        from sartor.catalog.tasks.parts.segmentation_answers import shown

        return shown(self.decode(raw), truth, output, pipeline)

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        """The mask at the input's size, (H, W) uint8, numbered as the labels."""
        from sartor.media.masks import nearest, numbered_as

        return nearest(numbered_as(truth, labels), input_size)

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """From the median picture, its shape kept but for the step; never much enlarged."""
        median = [int(side) for side in card.facts["sizes"]["median"]]
        longest = max(median)
        if longest < LADDER[0]:
            return (tuple(SMALL_STEP * math.ceil(side / SMALL_STEP) for side in median),)
        fitting = [side for side in LADDER if side <= longest * 1.1]
        natural = max(side for side in fitting if side <= MOST_NATURAL)
        order = [natural, *sorted((side for side in fitting if side < natural), reverse=True)[:2]]
        order += [side for side in fitting if side > natural]
        sizes = [tuple(_stepped(side * wanted / longest) for side in median) for wanted in order]
        return tuple(dict.fromkeys(sizes))

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.segmentation_tensors import ShippedSegmenter

        return ShippedSegmenter(module, statistics)

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """``zoom`` and ``light`` always; ``flip`` only where mirrored patches of train keep their class."""
        return ("flip", "zoom", "light") if card.facts.get("mirror", {}).get("suits") else ("zoom", "light")

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        from sartor.catalog.tasks.parts.segmentation_tensors import augment

        return augment(batch, targets, names, generator)

    def loss(self, outputs: Any, targets: Tensor, label_smoothing: float) -> Tensor:
        from sartor.catalog.tasks.parts.segmentation_tensors import map_loss

        return map_loss(outputs, targets, label_smoothing)


def _stepped(side: float) -> int:
    """The nearest multiple of ``STEP``, the smaller of two equally near, and not 0."""
    return STEP * max(1, math.ceil(side / STEP - 0.5))


def _fitted(raw: bytes, numbers: Array, size: tuple[int, int]) -> tuple[Array, tuple[str, ...]]:
    """A mask brought to its picture's size and turn, and what is odd about it; the same array where nothing is.

    Raises:
        DataError: its shape is another than the picture's.
    """
    from sartor.media.image import turn_of
    from sartor.media.masks import nearest, turned

    turn = turn_of(raw)
    if turn != 1 and not _same_shape(numbers.shape, size) and _same_shape(numbers.shape[::-1], size):
        return nearest(turned(numbers, turn), size), ("MASK_TURNED",)
    if numbers.shape == size:
        return numbers, ()
    if not _same_shape(numbers.shape, size):
        mine, its = (f"{height} × {width}" for height, width in (numbers.shape, size))
        raise DataError(f"its mask has {mine} pixels, the picture {its}: not the same shape")
    return nearest(numbers, size), ("MASK_RESIZED",)


def _same_shape(one: Sequence[int], other: Sequence[int]) -> bool:
    """Equal aspect ratios, up to the rounding of a small side."""
    ratio = (one[0] / one[1]) / (other[0] / other[1])
    return abs(ratio - 1) <= SAME_ASPECT + 1 / min(*one, *other)


def _held(numbers: Array, names: Sequence[str]) -> list[int]:
    import numpy as np

    counts = np.bincount(numbers.ravel(), minlength=256)
    return [place for place in range(len(names)) if counts[place]]


def _written(numbers: Array, names: Sequence[str]) -> bytes:
    from sartor.media.masks import write_mask

    return write_mask(numbers, names)
