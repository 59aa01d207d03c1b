"""A loaded package that answers: ``sartor.load(path).predict(x)``. Base install only."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sartor.errors import DataError, Refused
from sartor.stages.package.read import Contents, open_package
from sartor.types import Explanation, Pipeline, Requirement, RunFile

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from sartor.catalog.contracts import Task

    Input: TypeAlias = (
        str | Path | bytes | bytearray | memoryview | Mapping[str, Any] | Image.Image | np.ndarray[Any, np.dtype[Any]]
    )

MAX_INPUT_BYTES = 256 << 20
_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


class Model:
    """A package, checked and ready to answer; safe to call from several threads.

    Args:
        contents: an opened package.

    Attributes:
        labels: in output order.
    """

    def __init__(self, contents: Contents) -> None:
        from sartor.pipeline import Predictor

        self._contents = contents
        self.labels = contents.labels
        self._predictor = Predictor(contents.folder)
        if self._predictor.pipeline.labels != self.labels:
            raise Refused(f"{contents.place}: labels.json and encoder.bin name different labels")
        self._one_at_a_time = threading.Lock()  # one session; runtimes differ in what they allow

    @property
    def card(self) -> str:
        """The model card (Markdown with YAML front matter)."""
        return self._contents.text("README.md")

    @property
    def task(self) -> Task:
        """What is asked of it."""
        return self._predictor.task

    @property
    def pipeline(self) -> Pipeline:
        """How the model is run."""
        return self._contents.pipeline

    @property
    def requirement(self) -> Requirement:
        """What it was made to meet."""
        return self._contents.requirement

    @property
    def run(self) -> RunFile:
        """The run that made it, with its decision and evidence."""
        return self._contents.run

    def enrol(self, place: str | Path | None, *, false_accepts: float | None = None) -> None:
        """From now on answer by comparing with known samples, of tasks that know how: who is it, of these people.

        Args:
            place: a gallery, e.g. a folder with one folder of pictures per person; None for none, where an answer can
                say from which similarity on two inputs count as one.
            false_accepts: the share of strangers that may pass; None for what the task finds usual.

        Raises:
            DataError: the gallery cannot be opened; the task's answers are not comparisons.
        """
        if not hasattr(self.task, "enrol"):
            raise DataError(f"{self.task.name} compares inputs with nothing, so it has no gallery; leave it out")
        options = self.task.enrol(self, Path(place) if place is not None else None, false_accepts)
        with self._one_at_a_time:
            pipeline = self._predictor.pipeline
            self._predictor.pipeline = replace(pipeline, options={**pipeline.options, **options})

    def predict(self, input: Input | list[Input], *, top: int | None = None) -> Any:
        """Answer one input, or each of a list.

        Args:
            input: a path or the bytes of a file. Of tasks about pictures also a PIL image or an array (h, w, 3) or
                (h, w) of uint8; of tasks about texts the text itself (str); of tasks about records a mapping, or what
                else is a record of the task (an id, JSON text). A str is a path for pictures only.
            top: how many of the best answers are named where the task names several; None for what the package says.

        Returns:
            The task's answer, at least ``label`` and mostly ``confidence``; a list of answers for a list.

        Raises:
            DataError: an input cannot be read.
        """
        if isinstance(input, list):
            return [self._answer(one, top) for one in input]
        return self._answer(input, top)

    def _answer(self, input: Any, top: int | None) -> dict[str, Any]:
        raw = to_bytes(input, self.task.media)
        with self._one_at_a_time:
            return self._predictor.predict(raw, top=top)

    def explain(self, input: Input) -> Explanation:
        """Why the answer to one input is what it is: the model is asked again with parts of the input taken away.

        Raises:
            DataError: the input cannot be read.
        """
        raw = to_bytes(input, self.task.media)
        with self._one_at_a_time:
            return self._predictor.explain(raw)

    def timed(self, raw: bytes) -> tuple[dict[str, Any], Mapping[str, float]]:
        """An answer and the milliseconds of each part of the call."""
        with self._one_at_a_time:
            return self._predictor.timed(raw)

    def outputs(self, raws: Sequence[bytes]) -> Any:
        """Outputs (n, …) of raw inputs."""
        with self._one_at_a_time:
            return self._predictor.outputs(raws)

    def answers(self, raws: Sequence[bytes]) -> tuple[list[dict[str, Any]], Any]:
        """Answers to raw inputs, and the outputs (n, …) behind them."""
        with self._one_at_a_time:
            return self._predictor.answers(raws)

    def __repr__(self) -> str:
        pipeline = self.pipeline
        return (
            f"<sartor.Model {self.requirement.name}: {pipeline.task}, {len(self.labels)} labels, "
            f"{pipeline.runtime} {pipeline.precision}>"
        )


def load(path: str | Path) -> Model:
    """Check a package (folder or ``.sartor`` file) and load it.

    Example:
        >>> model = sartor.load("runs/digits/package")       # doctest: +SKIP
        >>> model.predict("seven.png")["label"]              # doctest: +SKIP
        '7'

    Raises:
        Refused: a byte of it differs from its manifest, or its model must not be loaded.
        MissingExtra: its runtime is not installed.
    """
    return Model(open_package(path))


def to_bytes(input: Any, media: str = "image") -> bytes:
    """The raw input of a task for any accepted form; pixels are encoded without loss, records as canonical JSON.

    Args:
        input: see :meth:`Model.predict`.
        media: ``image``, ``text`` or ``record``.

    Raises:
        DataError: a missing or unreadable file, or a value that is no input of this kind.
    """
    if isinstance(input, (bytes, bytearray, memoryview)):
        return bytes(input)
    if isinstance(input, Path) or (isinstance(input, str) and media == "image"):
        return read_input(Path(input))
    if isinstance(input, str):
        return _utf8(input)
    if media == "record" and isinstance(input, (Mapping, list, tuple, int, float)):
        return _json(input)
    if media == "image" and hasattr(input, "__array_interface__") and hasattr(input, "dtype"):
        return _encoded(_as_image(input))
    if media == "image" and hasattr(input, "save") and hasattr(input, "mode"):
        return _encoded(input)
    raise DataError(f"{type(input).__name__} is no input; give {_FORMS[media]}")


_FORMS = {
    "image": "a path, bytes, a PIL image or an array (h, w, 3) of uint8",
    "text": "the text as str, a pathlib.Path or bytes in UTF-8",
    "record": "a dict, JSON text as str, a pathlib.Path or bytes",
}


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError("the text holds half a surrogate pair, so it is no Unicode text; decode it anew") from None


def _json(value: Any) -> bytes:
    """Canonical JSON; numbers of numpy and pandas count as numbers."""

    def plain(item: Any) -> Any:
        if isinstance(item, Mapping):
            return dict(item)
        if hasattr(item, "item") and getattr(item, "ndim", 0) == 0:
            return item.item()
        raise TypeError(f"{type(item).__name__} is no JSON value")

    try:
        return json.dumps(
            value if not isinstance(value, Mapping) else dict(value),
            default=plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False,
        ).encode()  # fmt: skip
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"the record has no JSON form ({error}); give numbers, texts, lists and None") from None


def read_input(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DataError: it cannot be read, is empty, or is too large.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
        if path.stat().st_size > MAX_INPUT_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_INPUT_BYTES:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{path!s} cannot be read ({error})") from None


def _as_image(array: Any) -> Any:
    from PIL import Image

    if str(array.dtype) != "uint8" or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise DataError(
            f"an array of shape {tuple(array.shape)} and type {array.dtype} is no image; (h, w, 3) of uint8 would be"
        )
    if 0 in array.shape:
        raise DataError(f"an array of shape {tuple(array.shape)} holds no pixels")
    return Image.fromarray(array)


def _encoded(image: Any) -> bytes:
    """A PIL image as PNG bytes; the orientation tag goes along, so that a file and its image give one answer."""
    if image.mode not in _PNG_MODES:
        image = image.convert("RGB")
    buffer = io.BytesIO()
    try:
        image.save(buffer, "PNG", compress_level=1, exif=image.getexif())
    except (OSError, ValueError) as error:
        raise DataError(f"the image cannot be encoded ({error})") from None
    return buffer.getvalue()
