"""Runs a packaged model from an input's bytes to its answer: the very path that is measured, shipped and served.

Base install only: no trainer is imported unless the pipeline names the reference runtime.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import registry
from sartor.codec import from_plain, to_plain
from sartor.errors import DataError, Refused, SartorError, Unsupported
from sartor.modelfile import check_model, read_regular
from sartor.storage import write_text
from sartor.types import Explanation, Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Session, Task

PARTS = ("decode", "prepare", "model", "answer")
ENCODER = "encoder.bin"
"""Beside ``pipeline.json``: what preparing learnt from train, where the pipeline names it."""

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
    for field in ("task", "model", "runtime", "precision", "encoding", "learnt"):
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


def write_pipeline(folder: Path, pipeline: Pipeline) -> None:
    """Write ``pipeline.json`` beside the files it names; labels that ``encoder.bin`` holds are not written again."""
    task = registry.get("tasks", pipeline.task)
    if pipeline.learnt and pipeline.labels and hasattr(task, "labels_of"):
        learnt = task.recall(pipeline.encoding, (folder / ENCODER).read_bytes())
        if tuple(task.labels_of(learnt)) == pipeline.labels:
            pipeline = replace(pipeline, labels=())
    text = json.dumps(to_plain(pipeline), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / "pipeline.json", f"{text}\n")


class Predictor:
    """A loaded model with its task around it. One thread at a time: a session keeps its buffers.

    Args:
        folder: holds ``pipeline.json`` and, beside it, the model file it names and ``encoder.bin`` where it says so.

    Raises:
        SartorError: the pipeline is not valid, or its task or runtime is unknown.
        Refused: the model file is unsafe to load, or ``encoder.bin`` is not the one it was made for.
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
        self._learnt = self._recall(folder / ENCODER)
        if self.pipeline.learnt and not self.pipeline.labels and hasattr(self.task, "labels_of"):
            self.pipeline = replace(self.pipeline, labels=tuple(self.task.labels_of(self._learnt)))
        self.session: Session = runtime.load(path, self.pipeline.precision, self.pipeline.threads)

    def _recall(self, path: Path) -> Any:
        """What preparing learnt, ready to use."""
        content = b""
        if self.pipeline.learnt:
            content = read_regular(path)
            if hashlib.sha256(content).hexdigest() != self.pipeline.learnt:
                raise Refused(f"{path} is not the encoder that the pipeline was made with; nothing was loaded")
        try:
            return self.task.recall(self.pipeline.encoding, content)
        except SartorError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise Refused(f"{path} holds nothing that {self.pipeline.task} can prepare with ({error})") from None

    def prepare(self, raw: bytes) -> Array:
        """One raw input to what the model takes, without the batch axis; raise ``DataError`` when it is broken."""
        return self._prepared(self.task.decode(raw))

    def _prepared(self, decoded: Any) -> Array:
        return self.task.prepare(decoded, self.pipeline.input_size, self._learnt)

    def run(self, prepared: Sequence[Array]) -> Array:
        """Prepared inputs to outputs (n, …), in batches of the pipeline's size, the last one padded."""
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
        if output.ndim == 0 or len(output) != size or output.dtype.kind not in "fiub":
            found = f"{output.dtype} of shape {output.shape}"
            raise Unsupported("WRONG_OUTPUT", f"the model gave {found}; it must be numbers of shape ({size}, …)")
        if output.ndim == 1:
            output = output[:, None]
        return output[: len(prepared)]

    def outputs(self, raws: Sequence[bytes]) -> Array:
        """Raw inputs to outputs (n, …); raise ``DataError`` at the first broken one."""
        return self.run([self.prepare(raw) for raw in raws])

    def predict(self, raw: bytes, *, top: int | None = None) -> dict[str, Any]:
        """One raw input to its answer, at least ``label``; raise ``DataError`` when it is broken.

        ``top`` is how many of the best answers are named where the task names several; None for the pipeline's own.
        """
        return self.answers([raw], top=top)[0][0]

    def predict_batch(self, raws: Sequence[bytes]) -> list[dict[str, Any]]:
        """Raw inputs to their answers; see :meth:`answers`."""
        return self.answers(raws)[0]

    def answers(self, raws: Sequence[bytes], *, top: int | None = None) -> tuple[list[dict[str, Any]], Array]:
        """Raw inputs to their answers and the outputs (n, …) behind them.

        Raises:
            DataError: an input is broken.
            Unsupported: the model's output is no answer, e.g. not finite.
        """
        decoded = [self.task.decode(raw) for raw in raws]
        outputs = self.run([self._prepared(item) for item in decoded])
        return self._worded(outputs, decoded, top), outputs

    def explain(self, raw: bytes) -> Explanation:
        """Why the answer to one input is what it is; the model is asked again many times.

        Raises:
            DataError: the input is broken.
        """
        spell_out = getattr(self.task, "spell_out", None)
        return self.task.explain(self.outputs, spell_out(raw, self._learnt) if spell_out else raw, self.pipeline)

    def _worded(self, outputs: Array, decoded: Sequence[Any], top: int | None = None) -> list[dict[str, Any]]:
        pipeline = self.pipeline
        if top is not None:
            pipeline = replace(pipeline, options={**pipeline.options, "top_k": top})
        try:
            return [self.task.answer(output, pipeline, item) for output, item in zip(outputs, decoded, strict=True)]
        except DataError as error:  # the input was sound, so it is the model
            raise Unsupported("NO_ANSWER", f"{pipeline.model}: {error}") from None

    def timed(self, raw: bytes) -> tuple[dict[str, Any], Mapping[str, float]]:
        """Like :meth:`predict`, with the milliseconds of ``decode``, ``prepare``, ``model`` and ``answer``."""
        answers, nanoseconds = self.timed_batch([raw])
        return answers[0], {part: spent / _NANOSECONDS_PER_MS for part, spent in zip(PARTS, nanoseconds, strict=True)}

    def timed_batch(self, raws: Sequence[bytes]) -> tuple[list[dict[str, Any]], tuple[int, int, int, int]]:
        """One call on at most ``batch`` inputs: their answers, and the nanoseconds of each of ``PARTS``."""
        start = perf_counter_ns()
        decoded = [self.task.decode(raw) for raw in raws]
        after_decode = perf_counter_ns()
        prepared = [self._prepared(item) for item in decoded]
        after_prepare = perf_counter_ns()
        outputs = self._run_batch(prepared)
        after_model = perf_counter_ns()
        answers = self._worded(outputs, decoded)
        end = perf_counter_ns()
        return answers, (
            after_decode - start,
            after_prepare - after_decode,
            after_model - after_prepare,
            end - after_model,
        )
