"""Reads NumPy archives (.npz) of pictures and labels, row by row, without ever trusting what a header claims."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.errors import DataError, nearest
from sartor.media.image import PIXEL_LIMIT, to_png
from sartor.reading.sample import SPLIT_NAMES, Part, Sample, label_text
from sartor.types import DataProblem, DataSource, Split

Array = np.ndarray[Any, np.dtype[Any]]

IMAGE_NAMES = ("images", "image", "x", "data", "pixels", "inputs")
LABEL_NAMES = ("labels", "label", "y", "targets", "target", "classes", "class")
MOST_LABEL_BYTES = 1 << 30
BOMB_BYTES, BOMB_RATIO = 1 << 28, 200
"""Deflate packs at most about 1,030 to 1; pictures seldom reach 50. Big and beyond 200 is refused before it is read."""


@dataclass(frozen=True)
class Member:
    """One array of an archive, by its header alone."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int  # bytes of the .npy header
    fortran: bool


def read_arrays(path: Path, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[Part]:
    """Parts of one archive; arrays named ``x_train``, ``y_train``, ``x_test`` … hold their own splits.

    Raises:
        DataError: not an archive, Python objects inside, no images or labels to be found, shapes that do not fit.
    """
    members = _members(path)
    if may_hold_splits and not source.input and not source.label:
        by_split = _by_split(members)
        if by_split:
            return [_part(path, name, *_pair(path, found, source, name, [])) for name, found in by_split.items()]
    notes: list[DataProblem] = []
    return [_part(path, split, *_pair(path, members, source, split, notes))]


def _members(path: Path) -> dict[str, Member]:
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    name = info.filename.removesuffix(".npy")
                    found[name] = _header(archive, info, name, path)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: it is not a readable NumPy archive ({str(error)[:100]})") from error
    return found


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, path: Path) -> Member:
    if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(info.compress_size, 1):
        raise DataError(
            f"{path}: {name} would unpack {info.compress_size:,} bytes to {info.file_size:,}, which is refused"
        )
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        start = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path}: {name} holds Python objects, which are never loaded; save it as plain numbers")
    if start + dtype.itemsize * int(np.prod(shape, dtype=object)) != info.file_size:
        raise DataError(f"{path}: {name} claims the shape {shape}, which its {info.file_size:,} bytes do not hold")
    return Member(name, tuple(shape), dtype, start, bool(fortran))


def _by_split(members: Mapping[str, Member]) -> dict[Split, dict[str, Member]]:
    """Arrays grouped by a split in their names (``x_train``, ``test_images``), the split taken out of the name."""
    groups: dict[Split, dict[str, Member]] = {}
    for name, member in members.items():
        words = [word for word in re.split(r"[_\-.]", name.lower()) if word]
        splits = [word for word in words if word in SPLIT_NAMES]
        if len(splits) == 1 and len(words) > 1:
            rest = "_".join(word for word in words if word not in splits)
            groups.setdefault(SPLIT_NAMES[splits[0]], {})[rest] = member
    return groups if "train" in groups else {}


def _pair(
    path: Path, members: Mapping[str, Member], source: DataSource, split: Split, notes: list[DataProblem]
) -> tuple[Member, Member, list[DataProblem]]:
    images = _one(path, members, source.input, "input", IMAGE_NAMES, lambda member: len(member.shape) in (3, 4))
    count = images.shape[0]
    rest = {name: member for name, member in members.items() if member is not images}
    labels = _one(
        path,
        rest,
        source.label,
        "label",
        LABEL_NAMES,
        lambda m: m.shape in ((count,), (count, 1)) and m.dtype.kind in "iubUSf",
    )
    if labels.shape not in ((count,), (count, 1)):
        raise DataError(f"{path}: {images.name} holds {count} samples but {labels.name} has the shape {labels.shape}")
    if labels.dtype.itemsize * count > MOST_LABEL_BYTES:
        raise DataError(f"{path}: {labels.name} is larger than 1 GB, which no set of labels is")
    return images, labels, notes


def _one(path: Path, members: Mapping[str, Member], given: str, role: str, usual: tuple[str, ...], fits: Any) -> Member:
    listed = ", ".join(f"{name} {member.shape}" for name, member in members.items()) or "nothing"
    if given:
        if given not in members:
            near = nearest(given, members)
            hint = f"did you mean {near!r}?" if near else f"it holds {listed}."
            raise DataError(f"{path}: data.{role} names the array {given!r}, which is not there; {hint}")
        return members[given]
    lower = {name.lower(): member for name, member in members.items()}
    for name in usual:
        if name in lower and fits(lower[name]):
            return lower[name]
    fitting = [member for member in members.values() if fits(member)]
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(f"{path}: it is not clear which array is the {role} among {listed}; name it with data.{role}")


def _part(path: Path, split: Split, images: Member, labels: Member, notes: list[DataProblem]) -> Part:
    if images.fortran:
        raise DataError(f"{path}: {images.name} is stored column by column; save it with numpy.ascontiguousarray")
    shape = images.shape[1:]
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        hint = "; move the channels to the end" if shape[0] in (1, 3, 4) else ""
        raise DataError(
            f"{path}: {images.name} has the shape {images.shape}; pictures are (n, h, w) or (n, h, w, 3){hint}"
        )
    if shape[0] * shape[1] > PIXEL_LIMIT:
        raise DataError(
            f"{path}: pictures of {shape[1]} × {shape[0]} pixels are more than {PIXEL_LIMIT / 1e6:g} million"
        )
    scale = _scale(path, images)
    return Part(split, str(path), path.parent, _samples(path, images, labels, scale), (), notes)


def _samples(path: Path, images: Member, labels: Member, scale: float) -> Iterator[Sample]:
    values = _load_small(path, labels)
    for number, (pixels, value) in enumerate(zip(_rows(path, images), values, strict=True)):
        place = f"{path.name} {images.name}[{number}]"
        yield Sample(place, label_text(value.item()), to_png(_to_bytes(pixels, scale)))


def _load_small(path: Path, member: Member) -> Array:
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive[member.name]).reshape(-1)


def _rows(path: Path, member: Member) -> Iterator[Array]:
    """The first axis of an array, streamed."""
    size = member.dtype.itemsize * int(np.prod(member.shape[1:]))
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member.name}.npy") as file:
            file.read(member.start)
            for _ in range(member.shape[0]):
                yield np.frombuffer(_exactly(file, size), member.dtype).reshape(member.shape[1:])
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{path}: {member.name} is damaged and cannot be read to its end ({error})") from error


def _exactly(file: Any, size: int) -> bytes:
    content: bytes = file.read(size)
    if len(content) < size:
        raise EOFError("it ends too early")
    return content


def _scale(path: Path, member: Member) -> float:
    """What pixel values are multiplied by to lie in 0..255; one pass over the values where the type leaves it open.

    Raises:
        DataError: negative values, or a range nobody can guess.
    """
    if member.dtype == np.uint8:
        return 1.0
    if member.dtype == np.bool_:
        return 255.0
    if member.dtype.kind not in "iuf":
        raise DataError(f"{path}: {member.name} has the type {member.dtype}; pixels are whole or real numbers")
    low, high, whole = np.inf, -np.inf, True
    for row in _rows(path, member):
        if row.dtype.kind == "f" and not np.isfinite(row).all():
            raise DataError(f"{path}: {member.name} holds values that are not finite (nan or infinity)")
        low, high = min(low, float(row.min())), max(high, float(row.max()))
        whole = whole and (row.dtype.kind != "f" or bool((row == np.round(row)).all()))
    if low < 0:
        raise DataError(f"{path}: {member.name} holds values from {low:g} to {high:g}; pixels are 0..255 or 0..1")
    if high <= 1:
        return 255.0
    if high <= 255:
        return 1.0
    if whole and high <= 65535:
        return 1 / 257
    raise DataError(f"{path}: {member.name} holds values up to {high:g}; pixels are 0..255, 0..1 or 16-bit")


def _to_bytes(pixels: Array, scale: float) -> Array:
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray(np.clip(np.round(pixels.astype(np.float64) * scale), 0, 255).astype(np.uint8))
