"""Image classification: one label per picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks.parts import picture_methods
from sartor.catalog.tasks.parts.labels import METRICS, class_loss, label_answer, largest_difference, wrong_label
from sartor.catalog.tasks.parts.picture_statistics import channel_statistics
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

LADDER = (32, 48, 64, 96, 128, 160, 224)
"""Input sizes for pictures larger than 40 pixels; all divide by 16."""

SURVEY_SIDE = 32  # pixels: what many pictures together show is seen on small ones

MOST_NATURAL = 128
"""Larger inputs are offered, but last: cost grows with the square, and small nets gain little beyond this."""


@register("tasks", "image-classification")
class ImageClassification:
    """One label per picture; probabilities over all labels out.

    The deployed graph takes uint8 (batch, H, W, 3) and gives float32 probabilities (batch, labels).
    """

    name = "image-classification"
    title = "classify images"
    version = 1
    media = "image"
    truth = "class"
    splitting = "stratified"
    advice: Mapping[str, str] = {}
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
        """Folders per class, tables of paths or bytes, archives, data sets of the hub."""
        from sartor.reading.locate import locate

        return locate(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        from sartor.media.image import look

        seen = look(raw)
        return Sighting(seen.content, {"mode": seen.mode, "size": seen.size}, seen.likeness)

    def survey(
        self, decoded: Iterator[Array], truths: Truths, facts: Mapping[str, Any], seed: int
    ) -> Mapping[str, Any]:
        """``mirror``: whether mirrored pictures look like pictures of the same class (see ``media.mirror``)."""
        import numpy as np

        from sartor.media.image import resize
        from sartor.media.mirror import mirror_evidence

        side = max(1, min(SURVEY_SIDE, *facts["sizes"]["median"]))
        pictures = np.stack([resize(picture, (side, side)) for picture in decoded])
        return {"mirror": mirror_evidence(pictures, np.asarray(truths), seed)}

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        return label_answer(output, pipeline)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """By occlusion: how far the best label's confidence falls when a region is covered."""
        from sartor.catalog.tasks.parts.occlusion import explain_regions

        best = int(ask([raw])[0].argmax())
        return explain_regions(ask, self.decode(raw), lambda output: float(output[best]), pipeline.labels[best])

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        import numpy as np

        from sartor.catalog.tasks.parts.classification_scores import classification_scores

        return classification_scores(outputs, np.asarray(truths), labels, confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        return wrong_label(output, truth)

    def difference(self, now: Array, then: Array) -> float:
        return largest_difference(now, then)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.media.image import thumbnail

        answer = label_answer(output, pipeline)
        return Example("", pipeline.labels[int(truth)], answer["label"], answer["confidence"], thumbnail(raw))

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        import numpy as np

        return np.asarray(truth)

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """From the shorter side of the median picture: never enlarged, except tiny pictures (up to 16) twofold."""
        height, width = card.facts["sizes"]["median"]
        side = max(1, min(int(height), int(width)))
        if side <= 40:
            return tuple((size, size) for size in ((side, 2 * side) if side <= 16 else (side,)))
        fitting = [size for size in LADDER if size <= side]
        natural = max(size for size in fitting if size <= MOST_NATURAL)
        smaller = sorted((size for size in fitting if size < natural), reverse=True)
        larger = [size for size in fitting if size > natural]
        return tuple((size, size) for size in (natural, *smaller, *larger))

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.image_tensors import ShippedClassifier

        return ShippedClassifier(module, statistics)

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """``shift`` always; ``flip`` only where the survey of the data showed that mirroring keeps the class.

        ``cutout`` is known to :meth:`augment` but not proposed: it pays in long trainings only.
        """
        mirror = card.facts.get("mirror", {})
        return ("flip", "shift") if mirror.get("suits") else ("shift",)

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        from sartor.catalog.tasks.parts.image_tensors import augment

        return augment(batch, names, generator), targets

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        return class_loss(outputs, targets, label_smoothing)
