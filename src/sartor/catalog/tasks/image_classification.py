"""Image classification: one label per picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.errors import DataError
from sartor.metrics import Metric
from sartor.registry import register
from sartor.types import DataCard, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Tensor

LADDER = (32, 48, 64, 96, 128, 160, 224)
"""Input sizes for pictures larger than 40 pixels; all divide by 16."""

MOST_NATURAL = 128
"""Larger inputs are offered, but last: cost grows with the square, and small nets gain little beyond this."""


@register("tasks", "image-classification")
class ImageClassification:
    """One label per picture; probabilities over all labels out.

    The deployed graph takes uint8 (batch, H, W, 3) and gives float32 probabilities (batch, labels).
    """

    name = "image-classification"
    title = "classify images"
    reader = "images"
    version = 1  # of what ``prepare`` yields; a change makes cached prepared data stale
    metrics = (
        Metric("accuracy", "", "higher", "quality", "accuracy", bounded=True),
        Metric("accuracy_top5", "", "higher", "quality", "top-5 accuracy", bounded=True),
        Metric("f1_macro", "", "higher", "quality", "macro F1", bounded=True),
        Metric("calibration_error", "", "lower", "quality", "calibration error", bounded=True),
    )

    def inspect(self, raw: bytes) -> Sighting:
        from sartor.media.image import look

        seen = look(raw)
        return Sighting(seen.content, {"mode": seen.mode, "size": seen.size}, seen.likeness)

    def survey(self, prepared: Array, truths: Array, seed: int) -> Mapping[str, Any]:
        """``mirror``: whether mirrored pictures look like pictures of the same class (see ``media.mirror``)."""
        from sartor.media.mirror import mirror_evidence

        return {"mirror": mirror_evidence(prepared, truths, seed)}

    def decode(self, raw: bytes) -> Array:
        from sartor.media.image import decode

        return decode(raw)

    def prepare(self, decoded: Array, input_size: Sequence[int]) -> Array:
        from sartor.media.image import resize

        return resize(decoded, input_size)

    def answer(self, output: Array, pipeline: Pipeline) -> dict[str, Any]:
        import numpy as np

        if not np.isfinite(output).all():
            raise DataError("the model's output is not finite for this input, so there is no answer")
        count = max(1, min(int(pipeline.options.get("top_k", 5)), len(pipeline.labels)))
        best = np.argsort(-output, kind="stable")[:count]
        top = [{"label": pipeline.labels[index], "confidence": float(output[index])} for index in best]
        return {**top[0], "top": top}

    def score(self, outputs: Array, truths: Array, labels: Sequence[str], confidence: float) -> Scores:
        from sartor.catalog.tasks._classification_scores import classification_scores

        return classification_scores(outputs, truths, labels, confidence)

    def thumbnail(self, raw: bytes) -> str:
        from sartor.media.image import thumbnail

        return thumbnail(raw)

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
        from sartor.catalog.tasks._image_tensors import ShippedClassifier

        return ShippedClassifier(module, statistics)

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        from sartor.catalog.tasks._image_tensors import normalise

        return normalise(batch, statistics)

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        """``mean`` and ``std`` per channel on the scale 0..255; a deviation below 1 counts as 1."""
        import numpy as np

        total, squares, count = np.zeros(3), np.zeros(3), 0
        for start in range(0, len(prepared), 256):
            pixels = np.asarray(prepared[start : start + 256]).reshape(-1, 3).astype(np.float64)
            total, squares, count = total + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
        mean = total / max(count, 1)
        std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 1.0))
        return {"mean": tuple(float(value) for value in mean), "std": tuple(float(value) for value in std)}

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """``shift`` always; ``flip`` only where the survey of the data showed that mirroring keeps the class.

        ``cutout`` is known to :meth:`augment` but not proposed: it pays in long trainings only.
        """
        mirror = card.facts.get("mirror", {})
        return ("flip", "shift") if mirror.get("suits") else ("shift",)

    def augment(self, batch: Tensor, names: Sequence[str], generator: torch.Generator) -> Tensor:
        from sartor.catalog.tasks._image_tensors import augment

        return augment(batch, names, generator)

    def loss(self, outputs: Tensor, truths: Tensor, label_smoothing: float) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, truths, label_smoothing=label_smoothing)
