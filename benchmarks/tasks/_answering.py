"""Sides of a contest, each in processes of its own: they learn, answer the same inputs, and are timed in turn.

A block holds every side twice, forth and back (a, b, c, c, b, a), so that a steady drift of the machine cancels out of
each ratio and the two turns of a side give the noise floor. Each turn is a fresh process with pinned threads: it loads,
answers its first input, warms up, and is then timed from an input's bytes to what a caller gets. The sides' order moves
on from block to block.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _child import BUSY, write_bytes
from _protocol import Block, Turn

from sartor.metrics import COST_METRICS, index
from sartor.types import Measurement

CHILD = Path(__file__).resolve().parent / "_child.py"
SIDES = Path(__file__).resolve().parent / "peers"
METRICS = ("latency_p50_ms", "latency_p95_ms", "memory_peak_mb", "cold_start_ms")
Array = np.ndarray[Any, np.dtype[Any]]


class Lost(Exception):
    """A side's process ended badly; the text is its last line."""


@dataclass(frozen=True)
class Answerer:
    """One side.

    Args:
        name: as it is shown.
        file, side: where it is defined (``peers/<file>.py``), and its key there.
        model: folder of what it learnt, or of a package.
        python: the interpreter of its environment.
    """

    name: str
    file: str
    side: str
    model: Path
    python: str = sys.executable

    @property
    def size_mb(self) -> float:
        """All files that it answers from."""
        return sum(path.stat().st_size for path in self.model.rglob("*") if path.is_file()) / 1e6


def hand_over(folder: Path, splits: Mapping[str, tuple[list[bytes], Any]], facts: Mapping[str, Any]) -> Path:
    """Write the same files for every side: raw inputs and truths of the splits that it may learn from."""
    folder.mkdir(parents=True)
    for split, (raws, truths) in splits.items():
        write_bytes(folder / f"{split}.raws.npz", raws)
        if facts["truth"] == "structure":
            write_bytes(folder / f"{split}.truths.npz", [bytes(one) for one in truths])
        else:
            np.save(folder / f"{split}.truths.npy", np.asarray(truths))
    (folder / "facts.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
    return folder


def learn(side: Answerer, data: Path, seconds: float, threads: int, seed: int = 0) -> Mapping[str, Any]:
    """Let a side learn; ``note`` and ``seconds``, the whole process.

    Raises:
        Lost: it did not get to its end.
    """
    side.model.mkdir(parents=True)
    asked = {"data": str(data), "seconds": seconds, "threads": threads, "seed": seed}
    return _in_process(side, {"do": "learn", **asked}, threads, 3 * seconds + 300)


def outputs_of(side: Answerer, raws: Path, scratch: Path, threads: int) -> Array:
    """Its outputs for all inputs, in one process.

    Raises:
        Lost: it did not get to its end.
    """
    path = scratch / "outputs.npy"
    _in_process(side, {"do": "answer", "raws": str(raws), "outputs": str(path)}, threads, 900)
    found: Array = np.load(path)
    return found


def in_turns(
    sides: Sequence[Answerer], raws: Path, *, blocks: int, seconds: float, threads: int, say: Callable[[str], None]
) -> Mapping[str, list[tuple[Turn, Turn]]]:
    """By name, the two turns of each side in every block.

    Raises:
        Lost: a side did not answer.
    """
    request = {"do": "time", "raws": str(raws), "seconds": seconds}
    found: dict[str, list[tuple[Turn, Turn]]] = {side.name: [] for side in sides}
    for number in range(blocks):
        first = number % len(sides)
        order = [*sides[first:], *sides[:first]]
        say(f"block {number + 1} of {blocks}: {', '.join(side.name for side in order)}, and back")
        turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
        for side in (*order, *reversed(order)):
            turns[side.name].append(_turn(_in_process(side, request, threads, 120 + 20 * seconds)))
        for name, (forth, back) in turns.items():
            found[name].append((forth, back))
    return found


def blocks_of(found: Mapping[str, list[tuple[Turn, Turn]]], ours: str, other: str) -> list[Block]:
    """Two of the sides as the protocol compares them."""
    return [Block(mine, theirs) for mine, theirs in zip(found[ours], found[other], strict=True)]


def _turn(facts: Mapping[str, Any]) -> Turn:
    noise = [f"others used more than {BUSY:.0%} of the cores"] if facts["foreign_load"] > BUSY else []
    conditions = {"foreign_load": facts["foreign_load"], "steal": facts["steal"], "noise": noise}
    metrics = index(COST_METRICS)
    return {
        name: Measurement(
            metrics[name], facts[name], facts[name], facts[name], facts["calls"], "measured",
            noisy=bool(noise), conditions=conditions,
        )
        for name in METRICS
    }  # fmt: skip


def _in_process(side: Answerer, request: Mapping[str, Any], threads: int, patience: float) -> Mapping[str, Any]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONWARNINGS": "ignore"}
    asked = {**request, "file": str(SIDES / f"{side.file}.py"), "side": side.side, "model": str(side.model)}
    command = [side.python, str(CHILD), json.dumps(asked)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired:
        raise Lost(f"{side.name} did not {request['do']} within {patience:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise Lost(f"{side.name} did not {request['do']}: {said[-1]}")
    found: Mapping[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
