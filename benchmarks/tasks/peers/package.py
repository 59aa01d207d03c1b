"""A package as it ships. It learnt in its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """Its answer, and its outputs one by one as they are timed."""
    from sartor.pipeline import Predictor

    predictor = Predictor(folder)
    return predictor.predict, lambda raws: np.concatenate([predictor.outputs([raw]) for raw in raws])


SIDES = {"package": (None, load)}
