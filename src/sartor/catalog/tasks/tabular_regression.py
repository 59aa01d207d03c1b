"""Tabular regression: one number per row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.tasks.parts import regression_methods, tabular_methods
from sartor.catalog.tasks.parts.regression_scores import METRICS, number_text
from sartor.catalog.tasks.parts.tabular_rows import decode_row
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Module, Tensor, Truths

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

    inspect = staticmethod(tabular_methods.inspect)
    alike = staticmethod(tabular_methods.never_alike)
    decode = staticmethod(decode_row)
    recall = staticmethod(tabular_methods.recall)
    prepare = staticmethod(tabular_methods.prepare)
    noise = staticmethod(tabular_methods.noise)
    example = staticmethod(tabular_methods.example)
    target = staticmethod(tabular_methods.target)
    input_sizes = staticmethod(tabular_methods.input_sizes)
    statistics = staticmethod(tabular_methods.statistics)
    normalise = staticmethod(tabular_methods.normalise)
    augmentations = staticmethod(tabular_methods.augmentations)
    augment = staticmethod(tabular_methods.augment)
    answer = staticmethod(regression_methods.answer)
    margins = staticmethod(regression_methods.margins)
    score = staticmethod(regression_methods.score)
    wrong = staticmethod(regression_methods.wrong)
    difference = staticmethod(regression_methods.difference)

    def read(self, source: DataSource) -> list[Part]:
        """Tables (CSV, TSV, JSONL, Parquet, data sets of the hub): a label column, and all others as input."""
        from sartor.reading.records import NUMBER_NAMES, read_records

        return read_records(source, NUMBER_NAMES)

    def survey(self, decoded: Iterator[Row], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """``columns``: name to kind in words; ``inputs``: numbers in a prepared row; what is wrong with columns."""
        import numpy as np

        from sartor.catalog.tasks.parts.tabular_survey import survey_rows

        return survey_rows(decoded, np.asarray(truths), classes=False)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Row], truths: Truths) -> bytes:
        """Columns with their kinds, and categories in the order of their answers, as JSON."""
        from sartor.catalog.tasks.parts.tabular_columns import learn_columns

        return learn_columns(decoded, truths, input_size[0], classes=False)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """How far the number falls, or rises, when a column is missing or another."""
        from sartor.catalog.tasks.parts.tabular_rows import explain_columns

        def number(output: Array) -> float:
            return float(output[0])

        return explain_columns(ask, raw, number, lambda output: number_text(number(output)), confidence=False)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.catalog.tasks.parts.tabular_rows import row_text

        text = row_text(decode_row(raw))
        return Example("", number_text(float(truth)), number_text(float(output[0])), 0.0, text=text)

    def truth_statistics(self, truths: Truths) -> Mapping[str, tuple[float, ...]]:
        """``truth_mean`` and ``truth_scale``, the deviation (1 where all truths are equal)."""
        import numpy as np

        numbers = np.asarray(truths, np.float64)
        return {"truth_mean": (float(numbers.mean()),), "truth_scale": (float(numbers.std()) or 1.0,)}

    def scale(self, targets: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """Truths to zero mean and unit deviation, which is what modules answer in."""
        from sartor.catalog.tasks.parts.tabular_tensors import scale

        return scale(targets, statistics)

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.tabular_tensors import ShippedRegressor

        return ShippedRegressor(module, statistics)

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Mean squared error of (n, 1) against scaled truths (n,)."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs[:, 0], targets)
