"""Finds the largest face of a picture and lays it straight: eyes level, eyes, nose and mouth in their usual places.

The detector is BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047), the short-range weights of Google's MediaPipe,
Apache-2.0, as the ONNX file beside this one; ``tools/face_detector.py`` of the repository makes it. Base install only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import Refused
from sartor.media.image import resize

Array = np.ndarray[Any, np.dtype[Any]]

_FILE = Path(__file__).with_name("face_detector.onnx")
KNOWN_SHA256 = frozenset({"dcaf1b11f056378375551bad86a1163a4c6d894edd2fa06bdf8dc6a70e16cde4"})
"""Detectors that are loaded: nothing else reaches the runtime, whatever a package brings along."""

SIDE = 128  # pixels that the detector sees
LEAST_SCORE = 0.5
SAME_FACE = 0.3  # intersection over union from which on two findings are of one face
CLOSE_UP = 2.0  # sides of a face that a second, closer look spans
MARGIN = 1.6  # sides of the picture that a look from further away spans, for faces that fill it

PLACES = np.array([[0.342, 0.461], [0.658, 0.461], [0.5, 0.640], [0.5, 0.824]])
"""Where eyes, tip of the nose and mouth lie in a face laid straight, (x, y) in shares of the shorter side.

The places that face networks are commonly trained with (Deng et al. 2019, ArcFace, arXiv:1801.07698, section 3.1).
"""


@dataclass(frozen=True)
class Face:
    """A face that was found, in pixels of its picture.

    Args:
        middle: (x, y).
        side: the longer one of its box, from brow to chin.
        points: eyes (the left one of the picture first), tip of the nose and mouth, (4, 2).
        score: how sure the detector is, 0..1.
    """

    middle: tuple[float, float]
    side: float
    points: Array
    score: float


class Detector:
    """A loaded detector; safe to use from several threads.

    Args:
        content: bytes of a known detector's file.

    Raises:
        Refused: it is not known.
    """

    def __init__(self, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() not in KNOWN_SHA256:
            raise Refused("the face detector is none that is known here; build the package anew")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def largest(self, pixels: Array) -> Face | None:
        """The largest face of a picture (h, w, 3) uint8; None where none is found.

        Looks at the whole, where that shows nothing from further away (a face that fills the picture is no longer seen
        as one) and at nine overlapping parts (small faces); then once more, closely, at what was found.
        """
        for windows in _rounds(*pixels.shape[:2]):
            found = [face for window in windows for face in self._faces(pixels, window)]
            if found:
                return self._closer(pixels, max(found, key=lambda face: face.side))
        return None

    def _closer(self, pixels: Array, face: Face) -> Face:
        """The same face as seen in a close-up, where its points are told more exactly."""
        again = self._faces(pixels, (*face.middle, CLOSE_UP * face.side))
        near = [one for one in again if _overlap(one, face) >= SAME_FACE]
        return max(near, key=lambda one: one.score, default=face)

    def _faces(self, pixels: Array, window: tuple[float, float, float]) -> list[Face]:
        """Faces in a square window: its middle (x, y) and side, in pixels, which may reach beyond the picture."""
        x, y, side = window
        seen = cut(pixels, (x - side / 2, y - side / 2), side)
        scores, points = self._session.run(None, {"input": seen[None]})
        sure = np.flatnonzero(scores[0] >= LEAST_SCORE)
        corner = np.array([x - side / 2, y - side / 2])
        faces = []
        for number in sure[np.argsort(-scores[0][sure], kind="stable")]:
            places = points[0, number].astype(np.float64) * side
            middle, size = places[0] + corner, float(places[1].max())
            faces.append(Face((middle[0], middle[1]), size, places[2:6] + corner, float(scores[0][number])))
        return _blended(faces)


def bundled() -> bytes:
    """The detector that comes along."""
    return _FILE.read_bytes()


def straightened(pixels: Array, face: Face, size: Sequence[int]) -> Array:
    """The face turned upright, scaled and moved so that its points come as near to :data:`PLACES` as they can.

    Only a similarity is applied (Umeyama 1991, doi:10.1109/34.88573): a face seen from the side keeps its shape.

    Returns:
        (H, W, 3) uint8; what lies outside the picture is black.
    """
    from PIL import Image

    height, width = int(size[0]), int(size[1])
    shorter = min(height, width)
    wanted = PLACES * shorter + np.array([(width - shorter) / 2, (height - shorter) / 2])
    scale, turn, shift = similarity(wanted, face.points)  # from the new picture's pixels to the old one's
    factor = max(1, int(scale))  # bilinear sampling alone would skip pixels
    reach = face.middle, 2.5 * face.side
    left, top = (max(0, int(middle - reach[1])) for middle in reach[0])
    right, bottom = (int(middle + reach[1]) + 1 for middle in reach[0])
    part = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    if factor > 1:
        part = part.reduce(factor)
    rows = np.concatenate([scale * turn, (shift - np.array([left, top]))[:, None]], axis=1) / factor
    straight = part.transform((width, height), Image.Transform.AFFINE, rows.ravel().tolist(), Image.Resampling.BILINEAR)
    return np.asarray(straight)


def similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation (2, 2) and shift (2,) that bring points (n, 2) nearest to others: s · R · p + t."""
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    left, stretch, right = np.linalg.svd((target - aim).T @ (source - middle) / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    turn = left @ np.diag(signs) @ right
    scale = float((stretch * signs).sum() / ((source - middle) ** 2).sum(axis=1).mean())
    return scale, turn, aim - scale * turn @ middle


def cut(pixels: Array, corner: Sequence[float], side: float) -> Array:
    """The square part of a picture with its upper left ``corner`` (x, y), as the detector sees it; black outside."""
    height, width = pixels.shape[:2]
    left, top = (max(0, round(edge)) for edge in corner)
    right, bottom = min(width, round(corner[0] + side)), min(height, round(corner[1] + side))
    seen = np.zeros((SIDE, SIDE, 3), np.uint8)
    if right <= left or bottom <= top:
        return seen
    scale = SIDE / side
    across, down = (max(1, min(SIDE, round(length * scale))) for length in (right - left, bottom - top))
    x = min(SIDE - across, max(0, round((left - corner[0]) * scale)))
    y = min(SIDE - down, max(0, round((top - corner[1]) * scale)))
    seen[y : y + down, x : x + across] = resize(np.ascontiguousarray(pixels[top:bottom, left:right]), (down, across))
    return seen


def _rounds(height: int, width: int) -> Iterator[list[tuple[float, float, float]]]:
    """Windows to look at, one list after the other as long as nothing is found."""
    longer, shorter = max(height, width), min(height, width)
    x, y = width / 2, height / 2
    yield [(x, y, float(longer))]
    yield [(x, y, MARGIN * longer)]
    if shorter >= SIDE:  # parts of less are blown up, and show nothing new
        half = longer / 2
        columns, rows = (sorted({min(half, length) / 2, length / 2, length - min(half, length) / 2})
                         for length in (width, height))  # fmt: skip
        yield [(column, row, half) for row in rows for column in columns]


def _overlap(one: Face, other: Face) -> float:
    """Intersection over union of two faces' squares."""
    sides = [
        max(0.0, min(a + one.side / 2, b + other.side / 2) - max(a - one.side / 2, b - other.side / 2))
        for a, b in zip(one.middle, other.middle, strict=True)
    ]
    common = sides[0] * sides[1]
    return common / max(one.side**2 + other.side**2 - common, 1e-9)


def _blended(faces: list[Face]) -> list[Face]:
    """One face for findings that overlap, their mean weighted by score (BlazeFace, section 3.4); surest first given."""
    kept: list[Face] = []
    while faces:
        mine = [face for face in faces if face is faces[0] or _overlap(face, faces[0]) >= SAME_FACE]
        weights = np.array([face.score for face in mine]) / sum(face.score for face in mine)
        middle = weights @ np.array([face.middle for face in mine])
        points = np.einsum("n,npk->pk", weights, np.stack([face.points for face in mine]))
        side = float(weights @ np.array([face.side for face in mine]))
        kept.append(Face((float(middle[0]), float(middle[1])), side, points, faces[0].score))
        faces = [face for face in faces if not any(face is one for one in mine)]
    return kept
