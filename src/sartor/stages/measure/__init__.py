"""Time, memory and quality of an artifact, from the artifact itself: the only maker of measured evidence.

The functions are loaded when asked for: the timed child is part of this package, and its memory is measured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.stages.measure.comparison import compare
    from sartor.stages.measure.error_margins import margins
    from sartor.stages.measure.explanation import explain
    from sartor.stages.measure.graphs import time_graphs
    from sartor.stages.measure.quality import evaluate
    from sartor.stages.measure.timing import measure

__all__ = ["compare", "evaluate", "explain", "margins", "measure", "time_graphs"]

_PLACES = {
    "measure": "timing",
    "evaluate": "quality",
    "compare": "comparison",
    "explain": "explanation",
    "margins": "error_margins",
    "time_graphs": "graphs",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
