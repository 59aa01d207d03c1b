"""Object detection: boxes with labels in a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks.parts import picture_methods
from sartor.catalog.tasks.parts.detection_scores import METRICS
from sartor.catalog.tasks.parts.detection_truths import ADVICE
from sartor.catalog.tasks.parts.picture_statistics import channel_statistics
from sartor.errors import Unsupported
from sartor.reading.boxes import OPTIONS
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

STEP = 32  # pixels: both sides of an input are multiples, as detectors halve it five times
LADDER = (160, 224, 320, 416, 512, 640)  # longer sides offered
LEAST_NATURAL, MOST_NATURAL = 224, 416
SEEN = 16  # pixels: nine of ten objects, and most of every class, should be as large in the most natural input


@register("tasks", "object-detection")
class ObjectDetection:
    """Boxes with labels in a picture.

    The deployed graph takes uint8 (batch, H, W, 3) and gives float32 (batch, 100, 6): rows of top, left, bottom, right
    in shares of the picture, score and class number, best first, zeros where nothing more was found. Pictures are
    stretched to the input size: shares of a side stay what they are.

    A family's module for this task maps pictures to whatever its own ``loss`` takes, and has a method
    ``candidates(outputs)`` -> boxes (n, q, 4), scores (n, q, classes), and an attribute ``overlapping``: whether
    several candidates may mean one object, so that they have to be thinned out.
    """

    name = "object-detection"
    title = "find objects in images"
    version = 1
    media = "image"
    truth = "structure"
    splitting = "random"
    options = OPTIONS
    advice = ADVICE
    metrics = METRICS

    alike = staticmethod(picture_methods.alike)
    decode = staticmethod(picture_methods.decode)
    learn = staticmethod(picture_methods.learn_nothing)
    recall = staticmethod(picture_methods.recall_nothing)
    prepare = staticmethod(picture_methods.stretched)
    noise = staticmethod(picture_methods.noise)
    example = staticmethod(picture_methods.example)
    statistics = staticmethod(channel_statistics)
    normalise = staticmethod(picture_methods.normalise)

    def read(self, source: DataSource) -> list[Part]:
        """COCO json, Pascal VOC xml or YOLO txt, in folders or in a .tar."""
        from sartor.reading.boxes import read_boxes

        return read_boxes(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        """Boxes are checked against the picture and brought to shares of the upright one."""
        from sartor.catalog.tasks.parts.detection_truths import check_truth
        from sartor.media.image import look, turn_of

        seen = look(raw)
        facts: dict[str, Any] = {"mode": seen.mode, "size": seen.size}
        if truth is None:
            return Sighting(seen.content, facts, seen.likeness)
        checked = check_truth(truth, seen.size, turn_of(raw))
        facts["box_count"] = (len(checked.names),)
        return Sighting(seen.content, facts, seen.likeness, checked.truth, checked.names, checked.remarks)

    def survey(
        self, decoded: Iterator[Array], truths: Truths, facts: Mapping[str, Any], seed: int
    ) -> Mapping[str, Any]:
        """How large objects are, whether mirroring suits them and their pictures, which classes are rare."""
        from sartor.catalog.tasks.parts.detection_survey import survey_boxes

        return survey_boxes(decoded, list(truths), seed)

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        """What was found, in words and as boxes; the option ``score_min`` (0.3) says from which score on they count."""
        from sartor.catalog.tasks.parts.detection_answers import box_answer

        return box_answer(output, pipeline)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """By occlusion: how far the best box's score falls when a region is covered."""
        from sartor.catalog.tasks.parts.detection_answers import explain_best

        return explain_best(ask, self.decode(raw), raw, pipeline)

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        from sartor.catalog.tasks.parts.detection_scores import detection_scores

        return detection_scores(outputs, list(truths), labels, confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        """One sure false alarm in a corner, too small to be anything."""
        import numpy as np

        wrong = np.zeros_like(output)
        wrong[0] = (0, 0, 1e-3, 1e-3, 1, 0)
        return wrong

    def difference(self, now: Array, then: Array) -> float:
        from sartor.catalog.tasks.parts.detection_answers import apart

        return apart(now, then)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.catalog.tasks.parts.detection_answers import example_of

        return example_of(self.decode(raw), truth, output, pipeline)

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        """(300, 5) float32: class number (-1: no box), top, left, bottom, right in shares."""
        from sartor.catalog.tasks.parts.detection_truths import target_rows

        return target_rows(truth, labels)

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """In the shape of the median picture, never enlarged; the first shows nearly all objects large enough."""
        height, width = (int(side) for side in card.facts["sizes"]["median"])
        longer = max(height, width)
        sides = [side for side in LADDER if side <= longer] or [max(2 * STEP, -(-longer // STEP) * STEP)]
        shares = card.facts.get("box_side", {})
        small = min((float(shares[name]) for name in ("p10", "smallest_class") if name in shares), default=1.0)
        wanted = min(max(SEEN / max(small, 1e-3), LEAST_NATURAL), MOST_NATURAL)
        natural = next((side for side in sides if side >= wanted), sides[-1])
        order = [natural, *sorted((s for s in sides if s < natural), reverse=True), *(s for s in sides if s > natural)]
        return tuple(
            tuple(max(STEP, STEP * round(s * side / longer / STEP)) for side in (height, width)) for s in order
        )

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.detection_tensors import ShippedDetector

        return ShippedDetector(module, statistics)

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """``zoom`` and ``light`` always; ``flip`` and ``upend`` only where the survey showed that they suit."""
        found = [name for fact, name in (("mirror", "flip"), ("upend", "upend")) if _suits(card, fact)]
        return (*found, "zoom", "light")

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        from sartor.catalog.tasks.parts.detection_tensors import augment

        return augment(batch, targets, names, generator)

    def loss(self, outputs: Any, targets: Tensor, label_smoothing: float) -> Tensor:
        """None that would suit every detector: each family brings its own."""
        raise Unsupported("NO_LOSS", "a family for object-detection that is trained by gradient has a loss of its own")


def _suits(card: DataCard, fact: str) -> bool:
    return bool(card.facts.get(fact, {}).get("suits"))
