"""Tabular classification: one label per row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores
from sartor.catalog.tasks.parts import tabular_methods
from sartor.catalog.tasks.parts.labels import METRICS, class_loss, label_answer, largest_difference, wrong_label
from sartor.catalog.tasks.parts.tabular_rows import decode_row
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array, Module, Truths

Row = dict[str, Any]


@register("tasks", "tabular-classification")
class TabularClassification:
    """One label per row; probabilities over all labels out.

    A raw input is a JSON object, column to value; the deployed graph takes float32 (batch, inputs) with NaN for what
    is missing and gives float32 probabilities (batch, labels).
    """

    name = "tabular-classification"
    title = "classify rows of a table"
    version = 1
    media = "record"
    truth = "class"
    splitting = "stratified"
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
    answer = staticmethod(label_answer)
    wrong = staticmethod(wrong_label)
    difference = staticmethod(largest_difference)
    loss = staticmethod(class_loss)

    def read(self, source: DataSource) -> list[Part]:
        """Tables (CSV, TSV, JSONL, Parquet, data sets of the hub): a label column, and all others as input."""
        from sartor.reading.records import CLASS_NAMES, read_records

        return read_records(source, CLASS_NAMES)

    def survey(self, decoded: Iterator[Row], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """``columns``: name to kind in words; ``inputs``: numbers in a prepared row; what is wrong with columns."""
        import numpy as np

        from sartor.catalog.tasks.parts.tabular_survey import survey_rows

        return survey_rows(decoded, np.asarray(truths), classes=True)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Row], truths: Truths) -> bytes:
        """Columns with their kinds, and categories in the order of their answers, as JSON."""
        from sartor.catalog.tasks.parts.tabular_columns import learn_columns

        return learn_columns(decoded, truths, input_size[0], classes=True)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """How far the best label's confidence falls when a column is missing or another."""
        from sartor.catalog.tasks.parts.tabular_rows import explain_columns

        best = int(ask([raw])[0].argmax())
        return explain_columns(
            ask,
            raw,
            lambda output: float(output[best]),
            lambda output: pipeline.labels[int(output.argmax())],
            confidence=True,
        )

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        import numpy as np

        from sartor.catalog.tasks.parts.classification_scores import classification_scores

        return classification_scores(outputs, np.asarray(truths), labels, confidence)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.catalog.tasks.parts.tabular_rows import row_text

        answer = label_answer(output, pipeline)
        text = row_text(decode_row(raw))
        return Example("", pipeline.labels[int(truth)], answer["label"], answer["confidence"], text=text)

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.tabular_tensors import ShippedClassifier

        return ShippedClassifier(module, statistics)
