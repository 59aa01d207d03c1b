"""Runs a packaged model from an input's bytes to its answer: the very path that is measured, shipped and served.

Base install only: no trainer is imported unless the pipeline names the reference runtime.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import registry
from sartor.codec import from_plain
from sartor.errors import DataError, Refused, SartorError, Unsupported
from sartor.modelfile import check_model
from sartor.types import Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Session, Task

PARTS = ("decode", "prepare", "model", "answer")
_NANOSECONDS_PER_MS = 1e6


def read_pipeline(path: Path) -> Pipeline:
    """Read and check a ``pipeline.json``.

    Raises:
        SartorError: it is missing, no JSON, or a field is missing, unknown or of the wrong kind.
        Refused: the model's name leads out of the folder.
    """
    try:
        pipeline: Pipeline = from_plain(Pipeline, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise SartorError(f"{path} does not exist; give a folder that holds a package") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise SartorError(f"{path} is not a pipeline ({error}); build the package again") from None
    for field in ("task", "model", "runtime", "precision"):
        if not isinstance(getattr(pipeline, field), str):
            raise SartorError(f"{path} {field} is {getattr(pipeline, field)!r}; it must be text")
    sizes: dict[str, Any] = {"threads": pipeline.threads, "batch": pipeline.batch}
    sizes |= {f"input_size[{axis}]": value for axis, value in enumerate(pipeline.input_size)}
    for field, value in sizes.items():
        if type(value) is not int or value < 1:
            raise SartorError(f"{path} {field} is {value!r}; it must be a whole number of at least 1")
    if Path(pipeline.model).name != pipeline.model or pipeline.model in ("", ".", ".."):
        raise Refused(f"{path} model is {pipeline.model!r}; it must name a file in the same folder")
    return pipeline


class Predictor:
    """A loaded model with its task around it. One thread at a time: a session keeps its buffers.

    Args:
        folder: holds ``pipeline.json`` and, beside it, the model file it names.

    Raises:
        SartorError: the pipeline is not valid, or its task or runtime is unknown.
        Refused: the model file is unsafe to load.
        Unsupported: the runtime cannot run it at the pipeline's precision.
        MissingExtra: the runtime is not installed.

    Example:
        ``Predictor(Path("package")).predict(Path("seven.png").read_bytes())["label"]``
    """

    def __init__(self, folder: Path) -> None:
        self.pipeline = read_pipeline(folder / "pipeline.json")
        self.task: Task = registry.get("tasks", self.pipeline.task)
        runtime = registry.get("runtimes", self.pipeline.runtime)
        path = folder / self.pipeline.model
        check_model(path)
        self.session: Session = runtime.load(path, self.pipeline.precision, self.pipeline.threads)

    def prepare(self, raw: bytes) -> Array:
        """One raw input to what the model takes, without the batch axis; raise ``DataError`` when it is broken."""
        return self.task.prepare(self.task.decode(raw), self.pipeline.input_size)

    def run(self, prepared: Sequence[Array]) -> Array:
        """Prepared inputs to outputs (n, outputs) float32, in batches of the pipeline's size, the last one padded."""
        size = self.pipeline.batch
        parts = [self._run_batch(prepared[start : start + size]) for start in range(0, len(prepared), size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run_batch(self, prepared: Sequence[Array]) -> Array:
        size = self.pipeline.batch
        if size == 1:
            batch = np.ascontiguousarray(prepared[0])[None]
        else:
            batch = np.zeros((size, *prepared[0].shape), prepared[0].dtype)
            for row, sample in enumerate(prepared):
                batch[row] = sample
        output = self.session.run(batch)
        if output.ndim != 2 or len(output) != size:
            raise Unsupported(
                "WRONG_OUTPUT", f"the model gave an output of shape {output.shape}; it must be ({size}, outputs)"
            )
        return output[: len(prepared)]

    def outputs(self, raws: Sequence[bytes]) -> Array:
        """Raw inputs to outputs (n, outputs) float32; raise ``DataError`` at the first broken one."""
        return self.run([self.prepare(raw) for raw in raws])

    def predict(self, raw: bytes) -> dict[str, Any]:
        """One raw input to its answer: at least ``label`` and ``confidence``; raise ``DataError`` when it is broken."""
        return self.predict_batch([raw])[0]

    def predict_batch(self, raws: Sequence[bytes]) -> list[dict[str, Any]]:
        """Raw inputs to their answers.

        Raises:
            DataError: an input is broken.
            Unsupported: the model's output is no answer, e.g. not finite.
        """
        return self._answers(self.outputs(raws))

    def _answers(self, outputs: Array) -> list[dict[str, Any]]:
        try:
            return [self.task.answer(output, self.pipeline) for output in outputs]
        except DataError as error:  # the input was sound, so it is the model
            raise Unsupported("NO_ANSWER", f"{self.pipeline.model}: {error}") from None

    def timed(self, raw: bytes) -> tuple[dict[str, Any], Mapping[str, float]]:
        """Like :meth:`predict`, with the milliseconds of ``decode``, ``prepare``, ``model`` and ``answer``."""
        answers, nanoseconds = self.timed_batch([raw])
        return answers[0], {part: spent / _NANOSECONDS_PER_MS for part, spent in zip(PARTS, nanoseconds, strict=True)}

    def timed_batch(self, raws: Sequence[bytes]) -> tuple[list[dict[str, Any]], tuple[int, int, int, int]]:
        """One call on at most ``batch`` inputs: their answers, and the nanoseconds of each of ``PARTS``."""
        start = perf_counter_ns()
        decoded = [self.task.decode(raw) for raw in raws]
        after_decode = perf_counter_ns()
        prepared = [self.task.prepare(item, self.pipeline.input_size) for item in decoded]
        after_prepare = perf_counter_ns()
        outputs = self._run_batch(prepared)
        after_model = perf_counter_ns()
        answers = self._answers(outputs)
        end = perf_counter_ns()
        return answers, (
            after_decode - start,
            after_prepare - after_decode,
            after_model - after_prepare,
            end - after_model,
        )
