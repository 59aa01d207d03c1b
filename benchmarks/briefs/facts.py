"""Cheap facts about data, from which limits are drawn that are known to be possible, or known to be impossible.

Possible: scikit-learn reaches it on the same test rows, provably. Impossible: the labels are noise, the bits do not
fit, or an empty Python, or decoding alone, already takes more.
"""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.intervals import proportion

CONFIDENCE = 0.95
TOLD = """
import os
if os.path.exists("/proc/self/status"):  # what getrusage tells there is of the process that started this one as well
    print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024 / 1e6)
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
TIMED_CALLS = 400
DRAWS = 400  # of a bootstrap
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Facts:
    """What is known of data before any run.

    Args:
        metric: of quality, whose limits are drawn; ``lower`` where smaller is better.
        trivial: its value without looking at the input.
        light, strong: what a linear reference, and the best of several, prove on the test rows (the unfavourable end of
            the interval at 95 %).
        ceiling: no model is beyond, as so many labels are noise; None where nobody knows.
        worst_class: the same of one class alone.
        answer_ms: p95 of the linear reference from an input's bytes to its answer, in a warm process.
        light_mb: of the linear reference, pickled.
        decode_ms: decoding one input alone, the fastest of many.
        code_mb, code_floor: fewer bytes cannot hold a model that reaches this floor (0: nobody knows).
        told: how the references were made.
    """

    metric: str
    lower: bool
    trivial: float
    light: float
    strong: float
    decode_ms: float
    answer_ms: float
    light_mb: float = 0.0
    ceiling: float | None = None
    worst_class: float | None = None
    code_mb: float = 0.0
    code_floor: float = 0.0
    told: str = ""


@dataclass(frozen=True)
class Machine:
    """What an empty Python takes here, and one that has imported the runtime."""

    empty_mb: float
    empty_ms: float
    runtime_mb: float


def machine() -> Machine:
    """Measured in fresh processes, the least of three."""
    empty = [_process("pass") for _ in range(3)]
    runtime = [_process("import numpy, onnxruntime") for _ in range(3)]
    return Machine(min(mb for mb, _ in empty), min(ms for _, ms in empty), min(mb for mb, _ in runtime))


def _process(code: str) -> tuple[float, float]:
    """Peak memory in MB and milliseconds of a Python that runs the code."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    spent = (time.perf_counter() - started) * 1e3
    done = subprocess.run([sys.executable, "-c", f"{code}\n{TOLD}"], check=True, capture_output=True, text=True)
    return float(done.stdout), spent


def fastest_ms(call: Callable[[bytes], Any], raws: Sequence[bytes]) -> float:
    """The least time of a call, in ms."""
    return min(_spent(call, raws)) / 1e6


def p95_ms(call: Callable[[bytes], Any], raws: Sequence[bytes]) -> float:
    """The 95th percentile of calls, in ms."""
    return float(np.quantile(_spent(call, raws), 0.95)) / 1e6


def _spent(call: Callable[[bytes], Any], raws: Sequence[bytes]) -> list[int]:
    found: list[int] = []
    for number in range(TIMED_CALLS + 20):
        raw = raws[number % len(raws)]
        begun = time.perf_counter_ns()
        call(raw)
        found.append(time.perf_counter_ns() - begun)
    return found[20:]


def accuracy_proven(named: Array, truths: Array) -> float:
    """The lower end of the exact interval of an accuracy."""
    return proportion(int((named == truths).sum()), len(truths), CONFIDENCE)[0]


def rmse_proven(answers: Array, truths: Array) -> float:
    """The upper end of a bootstrap interval of an RMSE."""
    squares, chance = np.square(answers - truths), np.random.default_rng(0)
    means = [squares[chance.integers(0, len(squares), len(squares))].mean() for _ in range(DRAWS)]
    return math.sqrt(float(np.quantile(means, (1 + CONFIDENCE) / 2)))


def mean_proven(scores: Array) -> float:
    """The lower end of a bootstrap interval of a mean."""
    chance = np.random.default_rng(0)
    means = [scores[chance.integers(0, len(scores), len(scores))].mean() for _ in range(DRAWS)]
    return float(np.quantile(means, (1 - CONFIDENCE) / 2))


def least_megabytes(words: int, labels: int, floor: float) -> float:
    """Bytes below which no model can name the labels of so many words, each drawn evenly, with such an accuracy.

    The rate-distortion function of an even source at Hamming distortion 1 - floor (Cover and Thomas 2006, 10.5).
    """
    wrong = 1.0 - floor
    entropy = -wrong * math.log2(wrong) - floor * math.log2(floor)
    bits = words * (math.log2(labels) - entropy - wrong * math.log2(labels - 1))
    return bits / 8 / 1e6


def pickled_mb(model: object) -> float:
    """Size of a pickled model."""
    return len(pickle.dumps(model)) / 1e6
