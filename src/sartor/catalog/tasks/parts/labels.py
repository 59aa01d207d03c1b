"""What tasks that answer with one label share: their metrics, the answer, what counts as wrong. numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.errors import DataError
from sartor.metrics import Metric
from sartor.types import Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Tensor

METRICS = (
    Metric("accuracy", "", "higher", "quality", "accuracy", bounded=True),
    Metric("accuracy_top5", "", "higher", "quality", "top-5 accuracy", bounded=True),
    Metric("f1_macro", "", "higher", "quality", "macro F1", bounded=True),
    Metric("auc", "", "higher", "quality", "AUC", bounded=True),
    Metric("log_loss", "", "lower", "quality", "log loss"),
    Metric("calibration_error", "", "lower", "quality", "calibration error", bounded=True),
)
"""Of class probabilities; the first is the primary one. AUC is the mean over one-against-rest pairs."""


def label_answer(output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
    """The best label with its probability, and the best few (``top_k`` in the pipeline's options, 5)."""
    import numpy as np

    if not np.isfinite(output).all():
        raise DataError("the model's output is not finite for this input, so there is no answer")
    count = max(1, min(int(pipeline.options.get("top_k", 5)), len(pipeline.labels)))
    best = np.argsort(-output, kind="stable")[:count]
    top = [{"label": pipeline.labels[index], "confidence": float(output[index])} for index in best]
    return {**top[0], "top": top}


def wrong_label(output: Array, truth: Any) -> Array:
    """Probabilities (classes,) shared among all classes but the true one."""
    import numpy as np

    wrong = np.full_like(output, 1.0 / max(len(output) - 1, 1))
    wrong[int(truth)] = 0.0
    return wrong


def largest_difference(now: Array, then: Array) -> float:
    """Largest difference of a probability; infinite for NaN, which is never a match."""
    import numpy as np

    difference = float(np.abs(now.astype(np.float64) - then.astype(np.float64)).max(initial=0.0))
    return difference if difference == difference else float("inf")


def class_loss(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Mean cross entropy of logits (n, classes)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, targets, label_smoothing=label_smoothing)
