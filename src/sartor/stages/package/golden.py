"""Golden pairs: inputs with the outputs the model gave where it was accepted, to recognise it anywhere else.

``golden/`` holds the inputs, ``golden.json`` (per input its file and its answer) and ``outputs.npy``, their outputs
(n, …) in the model's own type.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sartor.storage import write_bytes, write_text

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Task

FOLDER = "golden"
OUTPUTS = f"{FOLDER}/outputs.npy"
TOLERANCES: Mapping[str, float] = {
    "fp32": 1e-3,
    "w8": 1e-3,
    "w4": 1e-3,
    "bf16": 2e-2,
    "fp16": 1e-2,
    "int8": 2e-2,
    "int8-dynamic": 2e-2,
}
"""Largest difference of a probability that is put down to arithmetic, by precision.

Other kernels sum in another order (fp32) or round elsewhere (bf16, int8); more than this is another model.
"""
_OTHER_TOLERANCE = 2e-2
_ENDINGS = {"text": "txt", "record": "json"}  # by media; pictures tell theirs by their first bytes
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp"}


class Answers(Protocol):
    """What is needed of a predictor."""

    def answers(self, raws: Sequence[bytes]) -> tuple[list[dict[str, Any]], Any]:
        """Answers people read, and the outputs (n, …) behind them."""


class Outputs(Protocol):
    """What is needed of a predictor to compare."""

    def outputs(self, raws: Sequence[bytes]) -> Any:
        """Outputs (n, …)."""


@dataclass(frozen=True)
class Pair:
    """One input (a file name in the golden folder) and the answer to it; its outputs are a row of ``outputs.npy``."""

    input: str
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class GoldenResult:
    """How well golden pairs are reproduced.

    Args:
        matched: of ``total`` pairs, those whose outputs are within ``tolerance``.
        worst: largest difference over all pairs, on the scale of a probability (``Task.difference``).
        mismatches: a sentence for each pair that did not match.
    """

    matched: int
    total: int
    worst: float
    tolerance: float
    mismatches: tuple[str, ...] = ()


def tolerance(precision: str) -> float:
    """The tolerance of a precision."""
    return TOLERANCES.get(precision, _OTHER_TOLERANCE)


def write_golden(folder: Path, golden: Sequence[bytes], task: Task, predictor: Answers) -> list[str]:
    """Store inputs, and what the shipping file answers to them; returns the inputs' names, e.g. ``000.png``."""
    import numpy as np

    names = [f"{place:03d}.{_ending(raw, task.media)}" for place, raw in enumerate(golden)]
    for name, raw in zip(names, golden, strict=True):
        write_bytes(folder / FOLDER / name, raw)
    answers, outputs = predictor.answers(golden) if golden else ([], np.zeros((0, 0), np.float32))
    buffer = io.BytesIO()
    np.save(buffer, outputs, allow_pickle=False)
    write_bytes(folder / OUTPUTS, buffer.getvalue())
    pairs = [{"input": name, "answer": _lasting(one)} for name, one in zip(names, answers, strict=True)]
    write_text(folder / FOLDER / "golden.json", json.dumps(pairs, indent=1, ensure_ascii=False) + "\n")
    return names


def _ending(raw: bytes, media: str) -> str:
    if media in _ENDINGS:
        return _ENDINGS[media]
    return next((kind for magic, kind in _KINDS.items() if raw.startswith(magic)), "bin")


def _lasting(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without what differs from call to call."""
    return {key: value for key, value in answer.items() if not key.endswith("_ms")}


def compare(
    pairs: Sequence[Pair], expected: Array, raws: Sequence[bytes], predictor: Outputs, task: Task, precision: str
) -> GoldenResult:
    """Answer the golden inputs again and compare the outputs with the ``expected`` ones (n, …)."""
    allowed = tolerance(precision)
    outputs = predictor.outputs(raws) if raws else expected
    worst, mismatches = 0.0, []
    for pair, now, then in zip(pairs, outputs, expected, strict=True):
        label = pair.answer.get("label", "another answer")
        if now.shape != then.shape or now.dtype.kind != then.dtype.kind:
            found, wanted = f"{now.dtype} {now.shape}", f"{then.dtype} {then.shape}"
            mismatches.append(f"{pair.input}: expected {label}; the output is {found} instead of {wanted}")
            continue
        difference = task.difference(now, then)
        worst = max(worst, difference) if difference == difference else float("inf")  # NaN is never a match
        if not difference <= allowed:
            mismatches.append(f"{pair.input}: expected {label}; the output differs by {difference:.2g}")
    return GoldenResult(len(pairs) - len(mismatches), len(pairs), worst, allowed, tuple(mismatches))
