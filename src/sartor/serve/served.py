"""The model behind a server: loaded once, checked against its golden pairs at the start and ever again."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Sequence
from typing import Any

from sartor.codec import to_plain
from sartor.language import ENGLISH, say
from sartor.stages.package import Model, compare, open_package
from sartor.stages.requirement import measurables
from sartor.types import Limit

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


class Served:
    """One package, ready to answer. All methods but the constructor run in the lane's thread.

    Args:
        package: its folder or file.
        gallery, false_accepts: whom answers are compared with, see :meth:`Model.enrol`; empty and 0 for none.

    Raises:
        Refused: the package is not what its manifest says.
        DataError: the gallery cannot be opened.
    """

    def __init__(self, package: str, gallery: str = "", false_accepts: float = 0.0) -> None:
        self._contents = open_package(package)
        self.model = Model(self._contents)
        if gallery or hasattr(self.model.task, "enrol"):
            self.model.enrol(gallery or None, false_accepts=false_accepts or None)
        name = re.sub(r"[^a-z0-9._-]+", "-", self._contents.requirement.name.lower()).strip("-._")
        self.name = name if _NAME.fullmatch(name) else "model"
        self.version = self._contents.manifest.digest[:12]
        self.wrong = ""
        """Why answers must not be trusted any more; empty while all is well."""
        self.outputs = ("answer", *(CLASS_OUTPUTS if self._gives_probabilities() else ()))
        """Names of the output tensors of the Open Inference Protocol."""
        self._next = 0
        self._lock = threading.Lock()

    def _gives_probabilities(self) -> bool:
        """True where an output is a row of probabilities, one for each label."""
        rows = self._contents.golden_outputs
        if not len(rows):
            rows = self.model.outputs(self.model.task.noise(1, self.model.pipeline.input_size, 0))
        return (
            self.model.task.truth == "class" and rows.dtype.kind == "f" and rows.shape[1:] == (len(self.model.labels),)
        )

    @property
    def media(self) -> str:
        """What a raw input is: ``image``, ``text`` or ``record``."""
        return self.model.task.media

    def check(self, *, all_pairs: bool = False) -> None:
        """Ask golden pairs, one or all; from the first wrong answer on nothing is answered any more."""
        pairs, expected, raws = self._contents.golden, self._contents.golden_outputs, self._contents.golden_inputs()
        if not all_pairs and pairs:
            with self._lock:
                place = self._next % len(pairs)
                self._next += 1
            one = slice(place, place + 1)
            pairs, expected, raws = pairs[one], expected[one], raws[one]
        result = compare(pairs, expected, raws, self.model, self.model.task, self.model.pipeline.precision)
        if result.mismatches:
            self.wrong = f"the model no longer gives its golden answers on this machine ({result.mismatches[0]})"

    def answer(self, raw: bytes, language: str = ENGLISH) -> dict[str, Any]:
        """One answer with the milliseconds of each part; its note, if it has one, in the reader's language."""
        answer, parts = self.model.timed(raw)
        if "note" in answer:
            answer["note"] = say(answer["note"], language)
        rounded = {part: round(spent, 3) for part, spent in parts.items()}
        return {**answer, "latency_ms": {**rounded, "total": round(sum(parts.values()), 3)}}

    def explain(self, raw: bytes, language: str = ENGLISH) -> dict[str, Any]:
        """Why the answer to one input is what it is, in the reader's language."""
        explanation: dict[str, Any] = to_plain(self.model.explain(raw))
        return {**explanation, "sentence": say(explanation["sentence"], language)}

    def examples(self) -> list[str]:
        """A few inputs to try: golden ones, as text, or as base64 where they are pictures."""
        found, size = [], 0
        for raw in self._contents.golden_inputs()[:MOST_EXAMPLES]:
            size += len(raw)
            if size <= MOST_EXAMPLE_BYTES:
                image = self.model.task.media == "image"
                found.append(base64.b64encode(raw).decode() if image else raw.decode(errors="replace"))
        return found

    def infer(self, inputs: Sequence[bytes], wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Output tensors of the Open Inference Protocol for several inputs."""
        answers, rows = self.model.answers(list(inputs))
        n = len(answers)
        tensors = {"answer": _tensor("BYTES", [n], [json.dumps(answer, ensure_ascii=False) for answer in answers])}
        if "label" in self.outputs:
            best = rows.argmax(axis=1)
            sure = [float(row[place]) for row, place in zip(rows, best, strict=True)]
            tensors["label"] = _tensor("BYTES", [n], [self.model.labels[place] for place in best])
            tensors["confidence"] = _tensor("FP32", [n], sure)
            tensors["probabilities"] = _tensor("FP32", list(rows.shape), [float(value) for value in rows.ravel()])
        return [{"name": name, **tensors[name]} for name in (wanted or self.outputs)]

    def metadata(self) -> dict[str, Any]:
        """Model metadata of the Open Inference Protocol, with what a person wants to know."""
        pipeline, task, labels = self.model.pipeline, self.model.task, self.model.labels
        shapes = {"answer": ("BYTES", [-1]), "label": ("BYTES", [-1]), "confidence": ("FP32", [-1])}
        shapes["probabilities"] = ("FP32", [-1, len(labels)])
        encoding = {"content_type": "base64" if task.media == "image" else "str"}
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": f"{pipeline.runtime}_{pipeline.precision}",
            "inputs": [{"name": "input", "datatype": "BYTES", "shape": [-1], "parameters": encoding}],
            "outputs": [{"name": name, "datatype": shapes[name][0], "shape": shapes[name][1]} for name in self.outputs],
            "task": task.name,
            "title": task.title,
            "media": task.media,
            "labels": list(labels[:MOST_LABELS]),
            "limits": [str(limit) for limit in self.model.requirement.limits],
            "asked": [_asked(limit, task.name) for limit in self.model.requirement.limits],
        }


def _asked(limit: Limit, task: str) -> dict[str, str]:
    """A limit as people say it: the metric's title, and the bound with its unit."""
    metric = measurables(task)[limit.metric].metric
    sign = "≥" if limit.bound == "min" else "≤"
    return {"title": metric.title, "bound": f"{sign} {limit.value:g} {metric.unit}".rstrip()}


CLASS_OUTPUTS = ("label", "confidence", "probabilities")
MOST_LABELS = 1000  # named in the metadata
MOST_EXAMPLES, MOST_EXAMPLE_BYTES = 8, 2_000_000


def _tensor(datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"datatype": datatype, "shape": shape, "data": data}
