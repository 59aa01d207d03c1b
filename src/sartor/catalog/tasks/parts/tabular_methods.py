"""What both tasks of tables do alike: functions that each takes for its methods. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Sighting
from sartor.types import DataCard

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Pair, Tensor
    from sartor.catalog.tasks.parts.tabular_columns import Columns


def inspect(raw: bytes, truth: bytes | None = None) -> Sighting:
    """Rows have to be JSON objects."""
    from sartor.catalog.tasks.parts.tabular_rows import look_at_row

    return look_at_row(raw)


def never_alike(left: Any, right: Any) -> bool:
    """Never asked: rows have no likeness beyond being equal."""
    return False


def recall(encoding: str, learnt: bytes) -> Columns:
    """Columns as they were learnt."""
    from sartor.catalog.tasks.parts.tabular_columns import Columns

    return Columns(learnt)


def prepare(decoded: Mapping[str, Any], input_size: Sequence[int], learnt: Any = None) -> Array:
    """A row as float32 (inputs,), NaN for what is missing."""
    row: Array = learnt.row(decoded)
    return row


def noise(count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
    """Rows without values: what columns there are only the data knows."""
    return [b"{}"] * count


def example(input_size: Sequence[int], encoding: str = "") -> Array:
    """A prepared row of zeros."""
    import numpy as np

    return np.zeros(tuple(input_size), np.float32)


def target(truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
    """The truth itself."""
    import numpy as np

    return np.asarray(truth)


def input_sizes(card: DataCard) -> tuple[tuple[int, ...], ...]:
    """One: as many numbers as the columns become."""
    return ((int(card.facts["inputs"]),),)


def statistics(prepared: Array) -> Mapping[str, tuple[float, ...]]:
    """``edges`` of the steps of every column, one after another."""
    from sartor.catalog.tasks.parts.tabular_tensors import edges_of

    return {"edges": tuple(float(edge) for edge in edges_of(prepared).reshape(-1))}


def normalise(batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
    """Prepared rows to what networks and trees take."""
    from sartor.catalog.tasks.parts.tabular_tensors import normalise

    return normalise(batch, statistics)


def augmentations(card: DataCard) -> tuple[str, ...]:
    """None: what may be changed in a row without changing its answer, nobody can say for all tables."""
    return ()


def augment(batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
    """Nothing is changed."""
    return batch, targets
