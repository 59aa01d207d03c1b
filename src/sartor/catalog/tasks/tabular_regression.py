"""Tabular regression: one number per row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks._regression_scores import METRICS, number_text
from sartor.catalog.tasks._tabular_rows import decode_row
from sartor.errors import DataError
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths
    from sartor.catalog.tasks._tabular_columns import Columns

Row = dict[str, Any]


@register("tasks", "tabular-regression")
class TabularRegression:
    """One number per row, in the unit of the truths.

    A raw input is a JSON object, column to value; the deployed graph takes float32 (batch, inputs) with NaN for what
    is missing and gives float32 numbers (batch, 1).
    """

    name = "tabular-regression"
    title = "estimate a number for rows of a table"
    version = 1
    media = "record"
    truth = "number"
    splitting = "random"
    options = frozenset({"ignore"})
    advice: Mapping[str, str] = {}
    metrics = METRICS

    def read(self, source: DataSource) -> list[Part]:
        """Tables (CSV, TSV, JSONL, Parquet, data sets of the hub): a label column, and all others as input."""
        from sartor.reading.records import NUMBER_NAMES, read_records

        return read_records(source, NUMBER_NAMES)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        from sartor.catalog.tasks._tabular_rows import look_at_row

        return look_at_row(raw)

    def alike(self, left: Any, right: Any) -> bool:
        """Never asked: rows have no likeness beyond being equal."""
        return False

    def survey(self, decoded: Iterator[Row], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """``columns``: name to kind in words; ``inputs``: numbers in a prepared row; what is wrong with columns."""
        import numpy as np

        from sartor.catalog.tasks._tabular_survey import survey_rows

        return survey_rows(decoded, np.asarray(truths), classes=False)

    def decode(self, raw: bytes) -> Row:
        return decode_row(raw)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Row], truths: Truths) -> bytes:
        """Columns with their kinds, and categories in the order of their answers, as JSON."""
        from sartor.catalog.tasks._tabular_columns import learn_columns

        return learn_columns(decoded, truths, input_size[0], classes=False)

    def recall(self, encoding: str, learnt: bytes) -> Columns:
        from sartor.catalog.tasks._tabular_columns import Columns

        return Columns(learnt)

    def prepare(self, decoded: Row, input_size: Sequence[int], learnt: Any = None) -> Array:
        row: Array = learnt.row(decoded)
        return row

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        """``label``: the number in words; ``value``: the number itself. It has no confidence of its own: 1 is given."""
        value = float(output[0])
        if not -float("inf") < value < float("inf"):
            raise DataError("the model's output is not finite for this input, so there is no answer")
        return {"label": number_text(value), "confidence": 1.0, "value": value}

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """How far the number falls, or rises, when a column is missing or another."""
        from sartor.catalog.tasks._tabular_rows import explain_columns

        return explain_columns(ask, raw, lambda output: float(output[0]), lambda output: number_text(float(output[0])))

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        import numpy as np

        from sartor.catalog.tasks._regression_scores import regression_scores

        return regression_scores(outputs, np.asarray(truths), confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        """Ten times its size off: an answer that nobody would take for one."""
        import numpy as np

        return np.full_like(output, float(truth) + 10 * max(abs(float(truth)), 1.0))

    def difference(self, now: Array, then: Array) -> float:
        """Relative to the larger of both, or to 1 where both are smaller."""
        import numpy as np

        size = max(1.0, float(np.abs(now).max(initial=0.0)), float(np.abs(then).max(initial=0.0)))
        difference = float(np.abs(now.astype(np.float64) - then.astype(np.float64)).max(initial=0.0)) / size
        return difference if difference == difference else float("inf")

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.catalog.tasks._tabular_rows import row_text

        answer = self.answer(output, pipeline)
        return Example(
            "", number_text(float(truth)), answer["label"], answer["confidence"], text=row_text(decode_row(raw))
        )

    def noise(self, count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
        """Rows without values: what columns there are only the data knows."""
        return [b"{}"] * count

    def example(self, input_size: Sequence[int], encoding: str = "") -> Array:
        import numpy as np

        return np.zeros(tuple(input_size), np.float32)

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        import numpy as np

        return np.asarray(truth)

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """One: as many numbers as the columns become."""
        return ((int(card.facts["inputs"]),),)

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        """``edges`` of the steps of every column, one after another."""
        from sartor.catalog.tasks._tabular_tensors import edges_of

        return {"edges": tuple(float(edge) for edge in edges_of(prepared).reshape(-1))}

    def truth_statistics(self, truths: Truths) -> Mapping[str, tuple[float, ...]]:
        """``truth_mean`` and ``truth_scale``, the deviation (1 where all truths are equal)."""
        import numpy as np

        numbers = np.asarray(truths, np.float64)
        return {"truth_mean": (float(numbers.mean()),), "truth_scale": (float(numbers.std()) or 1.0,)}

    def scale(self, targets: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """Truths to zero mean and unit deviation, which is what modules answer in."""
        from sartor.catalog.tasks._tabular_tensors import scale

        return scale(targets, statistics)

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        from sartor.catalog.tasks._tabular_tensors import normalise

        return normalise(batch, statistics)

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks._tabular_tensors import ShippedRegressor

        return ShippedRegressor(module, statistics)

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """None: what may be changed in a row without changing its answer, nobody can say for all tables."""
        return ()

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        return batch, targets

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Mean squared error of (n, 1) against scaled truths (n,)."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs[:, 0], targets)
