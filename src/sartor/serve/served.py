"""The model behind a server: loaded once, checked against its golden pairs at the start and ever again."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sartor.stages.package import Model, compare, open_package

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


class Served:
    """One package, ready to answer. All methods but the constructor run in the lane's thread.

    Raises:
        Refused: the package is not what its manifest says.
    """

    def __init__(self, package: str) -> None:
        self._contents = open_package(package)
        self.model = Model(self._contents)
        name = re.sub(r"[^a-z0-9._-]+", "-", self._contents.requirement.name.lower()).strip("-._")
        self.name = name if _NAME.fullmatch(name) else "model"
        self.version = self._contents.manifest.digest[:12]
        self.wrong = ""
        """Why answers must not be trusted any more; empty while all is well."""
        self._next = 0
        self._lock = threading.Lock()

    def check(self, *, all_pairs: bool = False) -> None:
        """Ask golden pairs, one or all; from the first wrong answer on nothing is answered any more."""
        pairs, raws = self._contents.golden, self._contents.golden_inputs()
        if not all_pairs and pairs:
            with self._lock:
                place = self._next % len(pairs)
                self._next += 1
            pairs, raws = pairs[place : place + 1], raws[place : place + 1]
        result = compare(pairs, raws, self.model, self.model.pipeline.precision)
        if result.mismatches:
            self.wrong = f"the model no longer gives its golden answers on this machine ({result.mismatches[0]})"

    def answer(self, raw: bytes) -> dict[str, Any]:
        """One answer with the milliseconds of each part."""
        answer, parts = self.model.timed(raw)
        rounded = {part: round(spent, 3) for part, spent in parts.items()}
        return {**answer, "latency_ms": {**rounded, "total": round(sum(parts.values()), 3)}}

    def infer(self, inputs: Sequence[bytes], wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Output tensors of the Open Inference Protocol for several inputs."""
        rows = self.model.outputs(list(inputs))
        best = rows.argmax(axis=1)
        tensors: Mapping[str, dict[str, Any]] = {
            "label": _tensor("BYTES", [len(rows)], [self.model.labels[place] for place in best]),
            "confidence": _tensor(
                "FP32", [len(rows)], [float(row[place]) for row, place in zip(rows, best, strict=True)]
            ),
            "probabilities": _tensor("FP32", list(rows.shape), [float(value) for value in rows.ravel()]),
        }
        return [{"name": name, **tensors[name]} for name in (wanted or tensors)]

    def metadata(self) -> dict[str, Any]:
        """Model metadata of the Open Inference Protocol, with what a person wants to know."""
        pipeline, outputs = self.model.pipeline, len(self.model.labels)
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": f"{pipeline.runtime}_{pipeline.precision}",
            "inputs": [{"name": "input", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": "label", "datatype": "BYTES", "shape": [-1]},
                {"name": "confidence", "datatype": "FP32", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, outputs]},
            ],
            "task": pipeline.task,
            "labels": list(self.model.labels),
            "limits": [str(limit) for limit in self.model.requirement.limits],
        }


OUTPUTS = frozenset({"label", "confidence", "probabilities"})


def _tensor(datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"datatype": datatype, "shape": shape, "data": data}
