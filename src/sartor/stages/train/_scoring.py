"""The score of a network on validation, computed on the module that ships. Needs torch; import it lazily."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sartor import registry
from sartor.catalog.contracts import Task
from sartor.errors import Unsupported
from sartor.jobs import TrainJob
from sartor.prepared import Array, PreparedData
from sartor.stages.train._ahead import all_ahead
from sartor.stages.train._feed import as_tensor, moved, reads_ahead

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """Primary metric on validation with the upper end of its interval; how fast it was computed."""

    value: float
    high: float
    samples_per_s: float


class Scorer:
    """Scores networks of one job on validation.

    Args:
        dtype: multiply in this type; outputs and softmax stay fp32.
        limit: at most so many samples; 0 for all.
    """

    def __init__(
        self, job: TrainJob, data: PreparedData, device: torch.device, dtype: torch.dtype, limit: int = 0
    ) -> None:
        validation = data.split("validation")
        size, encoding = job.network.input_size, job.network.encoding
        self._count = min(limit or len(validation), len(validation))
        self._samples: Array = validation.prepared(size, encoding)
        self._truths = validation.truths[: self._count]
        self._task: Task = registry.get("tasks", job.task)
        self._labels = data.card.labels
        self._statistics = data.statistics(size, encoding)
        self._batch = scoring_batch(job.recipe.batch_size)
        self._device, self._dtype = device, dtype

    def score(self, module: nn.Module) -> Score:
        """Score a network in evaluation mode.

        Raises:
            Unsupported: ``DIVERGED`` when its outputs are not finite.
        """
        started = time.perf_counter()
        wrapped = self._task.wrap(module, self._statistics).to(self._device).eval()
        outputs = np.concatenate([self._outputs(wrapped, inputs) for inputs in self._inputs()])
        seconds = time.perf_counter() - started
        if not np.isfinite(outputs).all():
            raise Unsupported("DIVERGED", "the network's outputs are no longer finite")
        scores = self._task.score(outputs, self._truths, self._labels, _CONFIDENCE)
        value, _, high = scores.values[self._task.metrics[0].name]
        return Score(value, high, self._count / seconds)

    def _inputs(self) -> Iterator[Tensor]:
        def read(number: int) -> Tensor:
            rows = self._samples[number * self._batch : min((number + 1) * self._batch, self._count)]
            return as_tensor(np.array(rows), self._device)

        ahead = reads_ahead(self._samples, self._device)
        for inputs in all_ahead(read, -(-self._count // self._batch), ahead):
            yield moved(inputs, self._device)

    def _outputs(self, wrapped: nn.Module, inputs: Tensor) -> Array:
        with torch.inference_mode(), casting(self._device, self._dtype):
            outputs: Tensor = wrapped(inputs)
        found: Array = (outputs.float() if outputs.is_floating_point() else outputs).cpu().numpy()
        return found


def scoring_batch(batch_size: int) -> int:
    """Samples that are scored at once."""
    return max(32, min(512, batch_size))


def casting(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to ``dtype``; nothing for fp32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
