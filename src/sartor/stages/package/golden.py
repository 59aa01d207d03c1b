"""Golden pairs: inputs with the answers the model gave where it was accepted, to recognise it anywhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sartor.storage import write_bytes, write_text

FOLDER = "golden"
TOLERANCES: Mapping[str, float] = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 1e-2, "int8": 2e-2}
"""Largest difference of a probability that is put down to arithmetic, by precision.

Other kernels sum in another order (fp32) or round elsewhere (bf16, int8); more than this is another model.
"""
_OTHER_TOLERANCE = 2e-2
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"BM": "bmp", b"RIFF": "webp"}


class Predicts(Protocol):
    """What is needed of a predictor."""

    def predict(self, raw: bytes) -> dict[str, Any]:
        """The answer people read."""

    def outputs(self, raws: Sequence[bytes]) -> Any:
        """Probabilities (n, outputs) as an array."""


@dataclass(frozen=True)
class Pair:
    """One input (a file name in the golden folder) and what is expected for it."""

    input: str
    answer: Mapping[str, Any]
    outputs: tuple[float, ...]


@dataclass(frozen=True)
class GoldenResult:
    """How well golden pairs are reproduced.

    Args:
        matched: of ``total`` pairs, those with the same label and all probabilities within ``tolerance``.
        worst: largest difference of a probability over all pairs.
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


def write_inputs(folder: Path, golden: Sequence[bytes]) -> list[str]:
    """Store inputs; returns their names, e.g. ``000.png``, with the ending their first bytes tell."""
    names = []
    for place, raw in enumerate(golden):
        kind = next((kind for magic, kind in _KINDS.items() if raw.startswith(magic)), "bin")
        names.append(f"{place:03d}.{kind}")
        write_bytes(folder / FOLDER / names[-1], raw)
    return names


def write_expected(folder: Path, names: Sequence[str], golden: Sequence[bytes], predictor: Predicts) -> None:
    """Answer every input with the shipping file and store the answers."""
    outputs = predictor.outputs(golden) if golden else []
    pairs = [
        {"input": name, "answer": _lasting(predictor.predict(raw)), "outputs": [float(value) for value in row]}
        for name, raw, row in zip(names, golden, outputs, strict=True)
    ]
    write_text(folder / FOLDER / "golden.json", json.dumps(pairs, indent=1, ensure_ascii=False) + "\n")


def _lasting(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without what differs from call to call."""
    return {key: value for key, value in answer.items() if not key.endswith("_ms")}


def compare(pairs: Sequence[Pair], raws: Sequence[bytes], predictor: Predicts, precision: str) -> GoldenResult:
    """Answer the golden inputs again and compare.

    The label must be the same, unless the two best were closer than arithmetic can tell apart.
    """
    allowed = tolerance(precision)
    outputs = predictor.outputs(raws) if raws else []
    worst, mismatches = 0.0, []
    for pair, row in zip(pairs, outputs, strict=True):
        now = [float(value) for value in row]
        if len(now) != len(pair.outputs):
            mismatches.append(f"{pair.input}: {len(now)} outputs, {len(pair.outputs)} are expected")
            continue
        difference = max((abs(a - b) for a, b in zip(now, pair.outputs, strict=True)), default=0.0)
        worst = max(worst, difference) if difference == difference else float("inf")  # NaN is never a match
        first, second = (*sorted(pair.outputs, reverse=True), 0.0)[:2]
        moved = _best(now) != _best(pair.outputs) and first - second > 2 * allowed
        if not difference <= allowed or moved:
            label = pair.answer.get("label", _best(pair.outputs))
            mismatches.append(f"{pair.input}: expected {label}; a probability differs by {difference:.2g}")
    return GoldenResult(len(pairs) - len(mismatches), len(pairs), worst, allowed, tuple(mismatches))


def _best(row: Sequence[float]) -> int:
    return max(range(len(row)), key=row.__getitem__) if row else -1
