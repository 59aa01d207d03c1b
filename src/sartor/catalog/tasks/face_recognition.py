"""Face recognition: embeddings of faces by which people are verified and identified, people never seen included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks.parts import picture_methods
from sartor.catalog.tasks.parts.faces_gallery import UNKNOWN, Gallery, name_face, threshold_of, verify
from sartor.catalog.tasks.parts.faces_scores import METRICS
from sartor.errors import DataError
from sartor.reading.faces import OPTIONS
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataProblem, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

__all__ = ["FaceRecognition", "Gallery", "threshold_of", "verify"]

LADDER = (16, 24, 32, 48, 64, 80, 96, 112)  # pixels of the shorter side; all divide by 8
MOST_NATURAL = 64
"""Larger inputs are offered, but last: they pay with many people to learn from, and cost grows with the square."""

LONGEST, WIDEST = 1.34, 0.75
"""Faces are upright: heights over widths beyond these are cut to them, around the middle."""

SMALL_FACE = 32  # pixels of the shorter side: below it people are told apart by little
COLOURED = 3.0  # mean difference of two channels, 0..255, from which a picture counts as colour
MIXED_SHARE = 0.05

NEAR_SIDE, NEAR_DIFFERENCE = 24, 5.0
"""Two pictures are near copies when, at 24 × 24 pixels, they differ by at most 5 of 255 (root mean squares).

Looser measures of likeness, good among pictures of things, find every two frontal faces alike.
"""


@register("tasks", "face-recognition")
class FaceRecognition:
    """An embedding per picture of one face; cosines of embeddings say whether two pictures show one person.

    The deployed graph takes uint8 (batch, H, W, 3) and gives float32 (batch, d), each row of length 1. It is judged on
    people who do not occur in training.
    """

    name = "face-recognition"
    title = "recognise faces"
    version = 1
    media = "image"
    truth = "class"
    splitting = "by-label"
    advice: Mapping[str, str] = {
        "SMALL_FACE": f"are less than {SMALL_FACE} pixels wide or high; larger faces tell more"
    }
    metrics = METRICS
    options = OPTIONS

    decode = staticmethod(picture_methods.decode)
    noise = staticmethod(picture_methods.noise)
    example = staticmethod(picture_methods.example)

    def read(self, source: DataSource) -> list[Part]:
        """Folders per person, tables of paths or bytes with or without face boxes, arrays; people to be tested."""
        from sartor.catalog.tasks.parts.faces_alignment import check_options
        from sartor.reading.faces import read_faces

        check_options(source.options)
        return read_faces(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        from sartor.media.image import look

        seen = look(raw)
        remarks = ("SMALL_FACE",) if min(seen.size) < SMALL_FACE else ()
        return Sighting(seen.content, {"mode": seen.mode, "size": seen.size}, seen.likeness, remarks=remarks)

    def alike(self, left: Array, right: Array) -> bool:
        import numpy as np

        from sartor.media.image import resize

        one, other = (resize(picture, (NEAR_SIDE, NEAR_SIDE)).astype(np.float32) for picture in (left, right))
        return float(np.sqrt(((one - other) ** 2).mean())) <= NEAR_DIFFERENCE

    def survey(
        self, decoded: Iterator[Array], truths: Truths, facts: Mapping[str, Any], seed: int
    ) -> Mapping[str, Any]:
        """``colour``: share of pictures with colours; told where people have one picture, or grey and colour mix.

        And how faces lie in their pictures, and whether they have to be found and laid straight (``aligned``).
        """
        import numpy as np

        from sartor.catalog.tasks.parts.faces_alignment import FaceSurvey

        survey, coloured = FaceSurvey(facts), []
        for picture in decoded:
            coloured.append(float(np.abs(picture[..., 0].astype(np.int16) - picture[..., 2]).mean()) >= COLOURED)
            survey.look(picture)
        lying, problems = survey.found()
        share = float(np.mean(coloured)) if coloured else 0.0
        pictures = np.unique(np.asarray(truths), return_counts=True)[1]
        single = int((pictures == 1).sum())
        if single and len(truths) < 2000:  # else a part of train was seen, and some people's other pictures were not
            sentence = f"{single} people of train have one picture; they are told apart from others, never verified"
            problems.append(DataProblem("ONE_PICTURE", "train", single, sentence))
        if MIXED_SHARE < share < 1 - MIXED_SHARE:
            sentence = f"{share:.0%} of train's pictures have colours, the others are grey: who is who may hang on that"
            problems.append(DataProblem("GREY_AND_COLOUR", "train", sum(coloured), sentence))
        each = round(float(pictures.mean()), 2)
        known = {"labels_are": "people", "colour": round(share, 3), "pictures_each": each}
        return {**known, **lying, "problems": problems}

    def encoding(self, card: DataCard) -> str:
        """Whether faces are found and laid straight first, as the survey or ``data.align`` says."""
        from sartor.catalog.tasks.parts.faces_alignment import encoding_of

        return encoding_of(card.facts)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Array], truths: Truths) -> bytes:
        """The face detector's file where faces are to be found, so that a package holds it."""
        from sartor.catalog.tasks.parts.faces_alignment import detector_file

        return detector_file(encoding)

    def recall(self, encoding: str, learnt: bytes) -> Any:
        from sartor.catalog.tasks.parts.faces_alignment import aligner_of

        return aligner_of(encoding, learnt)

    def prepare(self, decoded: Array, input_size: Sequence[int], learnt: Any = None) -> Array:
        """The largest face laid straight, or the middle part as it is; zeros where there must be a face and is none."""
        from sartor.catalog.tasks.parts.faces_alignment import prepared_face

        return prepared_face(decoded, input_size, learnt)

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        return name_face(output, pipeline)

    def enrol(self, model: Any, place: Path | None, false_accepts: float | None) -> Mapping[str, Any]:
        """The threshold of a rate of false accepts, and of a gallery the people that answers name.

        Raises:
            DataError: the gallery cannot be opened, or the rate has no threshold.
        """
        if place is not None:
            return Gallery.open(model, place, false_accepts=false_accepts).options()
        try:
            return {"threshold": threshold_of(getattr(model, "run", None), false_accepts)}
        except DataError:
            if false_accepts is not None:
                raise
            return {}

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """By occlusion: how far the face's likeness falls when a region is covered.

        Likeness is to the nearest enrolled person where there is a gallery, else to the uncovered face itself.
        """
        from dataclasses import replace

        import numpy as np

        from sartor.catalog.tasks.parts.faces_pairs import unit_rows
        from sartor.catalog.tasks.parts.occlusion import explain_regions

        pixels = self.decode(raw)
        itself = np.asarray(ask([raw])[0])
        answer = name_face(itself, pipeline)
        enrolled = answer.get("nearest", "")
        reference = unit_rows(itself[None])[0][0]
        if enrolled:
            embeddings = np.asarray(pipeline.options["embeddings"])
            reference = embeddings[int((embeddings @ reference).argmax())]

        def likeness(output: Array) -> float:
            return float(unit_rows(np.asarray(output)[None])[0][0] @ reference)

        found = explain_regions(ask, pixels, likeness, enrolled or "the face")
        if not found.causes or found.causes[0].weight < 0.01:
            return found
        strongest = found.causes[0]
        what = f"likeness to {enrolled}" if enrolled else "likeness to itself"
        sentence = (
            f"the face is told by its {strongest.name} first: covered, its {what} falls by {strongest.weight:.2f}"
        )
        return replace(found, sentence=sentence)

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        import numpy as np

        from sartor.catalog.tasks.parts.faces_scores import face_scores

        return face_scores(outputs, np.asarray(truths), labels, confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        """Zeros: a picture without an embedding is never accepted."""
        import numpy as np

        return np.zeros_like(output)

    def difference(self, now: Array, then: Array) -> float:
        """The length of the difference: no similarity to any other face differs by more."""
        import numpy as np

        length = float(np.linalg.norm(now.astype(np.float64) - then.astype(np.float64)))
        return length if length == length else float("inf")

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.media.image import thumbnail

        answer = name_face(output, pipeline)
        named = answer["label"] if answer["label"] != UNKNOWN or "confidence" in answer else ""  # nobody is enrolled
        return Example("", pipeline.labels[int(truth)], named, answer.get("confidence", 0.0), thumbnail(raw))

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        import numpy as np

        return np.asarray(truth)

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """In the shape of the median picture, within limits, square for straightened faces; enlarged to 16 at most."""
        if card.facts.get("aligned"):
            aspect, side = 1.0, int(card.facts["faces"]["side"])
        else:
            height, width = (int(side) for side in card.facts["sizes"]["median"])
            aspect = min(LONGEST, max(WIDEST, height / width))
            side = min(height, width, round(width * aspect), round(height / aspect))
        fitting = [size for size in LADDER if size <= side] or [LADDER[0]]
        natural = max(size for size in fitting if size <= MOST_NATURAL)
        order = (natural, *(size for size in reversed(fitting) if size < natural), *(s for s in fitting if s > natural))
        return tuple(_shaped(size, aspect) for size in order)

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.faces_tensors import ShippedEmbedder

        return ShippedEmbedder(module)

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        from sartor.catalog.tasks.parts.faces_tensors import normalise

        return normalise(batch)

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        """None: every picture is normalised by itself."""
        return {}

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """All of them: a face is the same person mirrored, turned a little, and in other light."""
        return ("flip", "shift", "turn", "light")

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        from sartor.catalog.tasks.parts.faces_tensors import augment

        return augment(batch, names, generator), targets

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Cross entropy of logits (n, people); families of embeddings bring losses with a margin."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets, label_smoothing=label_smoothing)


def _shaped(side: int, aspect: float) -> tuple[int, int]:
    """(height, width) with the shorter side given, both multiples of 8."""
    longer = max(side, 8 * round(side * max(aspect, 1 / aspect) / 8))
    return (longer, side) if aspect >= 1 else (side, longer)
