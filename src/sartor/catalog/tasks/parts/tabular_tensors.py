"""Torch side of tables: what networks see of a prepared row, and the modules that ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

BINS = 32
"""Steps of the piecewise-linear encoding of a column."""

Array = np.ndarray[Any, np.dtype[Any]]


def edges_of(prepared: Array) -> Array:
    """Edges of the steps of every column, (inputs, 33): all values where they are few, else quantiles.

    No value counts as more than one step, so that a column that is mostly zero still has steps for the rest.
    """
    edges = np.zeros((prepared.shape[1], BINS + 1))
    for number, column in enumerate(np.asarray(prepared, np.float64).T):
        values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        if len(values) > BINS + 1:
            most = int(np.ceil(counts.sum() / BINS))
            values = np.unique(np.quantile(np.repeat(values, np.minimum(counts, most)), np.linspace(0, 1, BINS + 1)))
        if len(values):
            edges[number] = np.pad(values, (0, BINS + 1 - len(values)), mode="edge")
    return edges


class Encoder(nn.Module):
    """Prepared rows (n, inputs), NaN for missing, to (n, inputs, 34): missing or not, 32 steps, and the value itself.

    Step t rises from 0 to 1 while the value goes from edge t to edge t + 1; of a missing value all are 0. Networks
    take the first 33, trees the value. Source: Gorishniy et al. 2022, "On embeddings for numerical features in
    tabular deep learning", arXiv:2203.05556, section 3.2.
    """

    def __init__(self, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        edges = torch.tensor(tuple(statistics["edges"]), dtype=torch.float64).view(-1, BINS + 1)
        widths = edges.diff(dim=1)
        scale = torch.where(widths > 0, 1 / widths.clamp_min(1e-300), 0.0).clamp_max(1e30)
        self.start = nn.Buffer(edges[:, :-1].float())
        self.scale = nn.Buffer(scale.float())
        self.low = nn.Buffer(edges[:, 0].float())
        self.high = nn.Buffer(edges[:, -1].float())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """See the class."""
        missing = torch.isnan(rows)
        known = torch.where(missing, self.low, rows)
        known = torch.minimum(torch.maximum(known, self.low), self.high)  # infinite ones too
        steps = ((known[:, :, None] - self.start) * self.scale).clamp(0.0, 1.0)
        return torch.cat([missing[:, :, None].float(), steps, rows[:, :, None]], dim=2)


def normalise(batch: torch.Tensor, statistics: Mapping[str, Sequence[float]]) -> torch.Tensor:
    """Prepared rows (n, inputs) to (n, inputs, 34), see :class:`Encoder`."""
    encoder: nn.Module = Encoder(statistics).to(batch.device)
    with torch.no_grad():
        encoded: torch.Tensor = encoder(batch)
    return encoded


class ShippedClassifier(nn.Module):
    """Prepared rows (n, inputs) -> encoded -> module -> probabilities (n, classes)."""

    def __init__(self, module: nn.Module, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.encoder = Encoder(statistics)
        self.module = module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return torch.softmax(self.module(self.encoder(input)).float(), dim=1)


class ShippedRegressor(nn.Module):
    """Prepared rows (n, inputs) -> encoded -> module -> numbers (n, 1) in the unit of the truths."""

    def __init__(self, module: nn.Module, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.encoder = Encoder(statistics)
        self.module = module
        self.mean, self.scale = float(statistics["truth_mean"][0]), float(statistics["truth_scale"][0])

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See the class."""
        numbers: torch.Tensor = self.module(self.encoder(input)).float() * self.scale + self.mean
        return numbers


def scale(targets: torch.Tensor, statistics: Mapping[str, Sequence[float]]) -> torch.Tensor:
    """Truths (n,) to zero mean and unit deviation."""
    return (targets.float() - statistics["truth_mean"][0]) / statistics["truth_scale"][0]
