"""Whether faces have to be found and laid straight before they are compared, and doing it. numpy, Pillow, ONNX Runtime.

An encoding says how a picture becomes an input: empty for its middle part as it is, :data:`ALIGNED` for its largest
face laid straight, where a picture without one gives no embedding, and :data:`ALIGNED_OR_WHOLE`, where such a picture
is taken by its middle part after all. What is learnt of the two is the detector's file, so that a package holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError
from sartor.media.faces import Detector, Face, bundled, straightened
from sartor.media.image import resize
from sartor.types import DataProblem

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

ALIGNED, ALIGNED_OR_WHOLE = "aligned", "aligned-or-whole"

ALIGN_WORDS, WITHOUT_WORDS = ("auto", "detect", "none"), ("refuse", "whole")
"""What ``data.align`` and ``data.without_face`` may be; the first is what they are where nothing is said."""

MOST_LOOKED_AT = 200  # pictures, which show well enough how faces lie in them
LEAST_FOUND = 0.9  # share of pictures with a face from which on finding faces is worth it
LEAST_SIDE = 48  # pixels: in smaller pictures a detector has little to go by
FILLING = 0.45  # share of the shorter side; a face that fills less stands in a photograph
APART = 0.3  # of the eyes' distance; eyes in places that differ by more are not cut out alike
SPAN = 1.4
"""Sides of a face's box, brow to chin, that a straightened face spans."""


@dataclass(frozen=True)
class Aligner:
    """A detector, and whether a picture without a face is taken by its middle part."""

    detector: Detector
    else_whole: bool


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ``DataError`` where ``align`` or ``without_face`` is not one of its words."""
    for name, words in (("align", ALIGN_WORDS), ("without_face", WITHOUT_WORDS)):
        if options.get(name, words[0]) not in words:
            raise DataError(f"data.{name} is {options[name]!r}; it must be one of {', '.join(words)}")


def encoding_of(facts: Mapping[str, Any]) -> str:
    """The encoding that the survey's facts and the options in them ask for."""
    if not facts.get("aligned"):
        return ""
    return ALIGNED_OR_WHOLE if facts.get("options", {}).get("without_face") == "whole" else ALIGNED


def aligner_of(encoding: str, learnt: bytes) -> Aligner | None:
    """What :func:`prepared_face` needs; None for the empty encoding."""
    return Aligner(Detector(learnt), encoding == ALIGNED_OR_WHOLE) if encoding else None


def detector_file(encoding: str) -> bytes:
    """What a package has to hold for an encoding."""
    return bundled() if encoding else b""


def prepared_face(pixels: Array, size: Sequence[int], aligner: Aligner | None) -> Array:
    """A picture (h, w, 3) to the model's input (H, W, 3); zeros where there is no face and there must be one."""
    if aligner is None:
        return middle_part(pixels, size)
    face = aligner.detector.largest(pixels)
    if face is not None:
        return straightened(pixels, face, size)
    return middle_part(pixels, size) if aligner.else_whole else np.zeros((*size, 3), np.uint8)


def middle_part(pixels: Array, size: Sequence[int]) -> Array:
    """The largest part around the middle that has the input's shape, resized; nothing is stretched."""
    height, width = pixels.shape[:2]
    aspect = size[0] / size[1]
    rows, columns = min(height, max(1, round(width * aspect))), min(width, max(1, round(height / aspect)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return resize(np.ascontiguousarray(pixels[top : top + rows, left : left + columns]), size)


class FaceSurvey:
    """How faces lie in pictures of train: looked at one by one, as large pictures do not all fit into memory.

    Args:
        facts: of the data; ``options`` in it may say what is to be done whatever the pictures show.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.options = facts.get("options", {})
        self.align = self.options.get("align", ALIGN_WORDS[0])
        tiny = min(facts["sizes"]["median"]) < LEAST_SIDE if "sizes" in facts else False
        wanted = self.align == "detect" or (self.align == "auto" and not tiny)
        self.detector = Detector(bundled()) if wanted else None
        self.looked = 0
        self.faces: list[tuple[Sequence[int], Face]] = []

    def look(self, picture: Array) -> None:
        """Look for the face of one more picture, as long as more are needed."""
        if self.detector is None or self.looked == MOST_LOOKED_AT:
            return
        self.looked += 1
        face = self.detector.largest(picture)
        if face is not None:
            self.faces.append((picture.shape[:2], face))

    def found(self) -> tuple[dict[str, Any], list[DataProblem]]:
        """Facts, and what is to be said of them.

        ``aligned`` says whether faces are to be found and laid straight. Where pictures were looked at, ``faces`` holds
        how many were ``looked`` at, the share ``found``, the median share of the shorter side that a face fills
        (``fill``), how far apart the eyes' places are in units of the eyes' distance (``apart``), and the median
        ``side`` in pixels of a straightened face.

        Raises:
            DataError: faces must be found, and there are none.
        """
        if not self.looked:
            return {"aligned": False}, []
        if not self.faces:
            if self.align == "detect":
                raise DataError(f"data.align is detect, but in none of {self.looked} pictures of train is a face found")
            return {"aligned": False, "faces": {"looked": self.looked, "found": 0.0}}, []
        how = {"looked": self.looked, "found": round(len(self.faces) / self.looked, 3), **_lying(self.faces)}
        loose = how["found"] >= LEAST_FOUND and (how["fill"] < FILLING or how["apart"] > APART)
        aligned = self.align == "detect" or loose
        missed = self.looked - len(self.faces)
        return {"aligned": aligned, "faces": how}, list(_told(how, missed, self.options)) if aligned else []


def _lying(faces: Sequence[tuple[Sequence[int], Face]]) -> dict[str, Any]:
    """How large faces are, and how alike they lie when the middle part of their pictures is taken."""
    distances = np.array([np.linalg.norm(face.points[1] - face.points[0]) for _, face in faces])
    sides = np.array([min(shape) for shape, _ in faces], np.float64)
    middles = np.array([[shape[1] / 2, shape[0] / 2] for shape, _ in faces])
    eyes = np.stack([face.points[:2] for _, face in faces])  # (n, 2, 2)
    places = (eyes - middles[:, None]) / sides[:, None, None]
    apart = np.sqrt(((places - np.median(places, axis=0)) ** 2).sum(axis=2).mean()) / np.median(distances / sides)
    boxes = np.array([face.side for _, face in faces])
    return {
        "fill": round(float(np.median(boxes / sides)), 3),
        "apart": round(float(apart), 3),
        "side": round(SPAN * float(np.median(boxes))),
    }


def _told(how: Mapping[str, Any], missed: int, options: Mapping[str, Any]) -> Iterable[DataProblem]:
    if options.get("align", ALIGN_WORDS[0]) == "auto":
        fill = f"{how['fill']:.0%}"
        sentence = (
            f"faces fill {fill} of their pictures' sides or lie in different places: each is found and laid straight"
        )
        yield DataProblem("FACES_ALIGNED", "train", 0, sentence)
    if missed:
        what = (
            "are compared by their middle part"
            if options.get("without_face") == "whole"
            else "give no embedding and are never accepted"
        )
        sentence = f"in {missed} of {how['looked']} pictures of train looked at no face was found; such pictures {what}"
        yield DataProblem("NO_FACE", "train", missed, sentence)
