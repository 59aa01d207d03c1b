"""Tabular classification: one label per row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks._labels import METRICS, class_loss, label_answer, largest_difference, wrong_label
from sartor.catalog.tasks._tabular_rows import decode_row
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths
    from sartor.catalog.tasks._tabular_columns import Columns

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

    def read(self, source: DataSource) -> list[Part]:
        """Tables (CSV, TSV, JSONL, Parquet, data sets of the hub): a label column, and all others as input."""
        from sartor.reading.records import CLASS_NAMES, read_records

        return read_records(source, CLASS_NAMES)

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

        return survey_rows(decoded, np.asarray(truths), classes=True)

    def decode(self, raw: bytes) -> Row:
        return decode_row(raw)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Row], truths: Truths) -> bytes:
        """Columns with their kinds, and categories in the order of their answers, as JSON."""
        from sartor.catalog.tasks._tabular_columns import learn_columns

        return learn_columns(decoded, truths, input_size[0], classes=True)

    def recall(self, encoding: str, learnt: bytes) -> Columns:
        from sartor.catalog.tasks._tabular_columns import Columns

        return Columns(learnt)

    def prepare(self, decoded: Row, input_size: Sequence[int], learnt: Any = None) -> Array:
        row: Array = learnt.row(decoded)
        return row

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        return label_answer(output, pipeline)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """How far the best label's confidence falls when a column is missing or another."""
        from sartor.catalog.tasks._tabular_rows import explain_columns

        best = int(ask([raw])[0].argmax())
        return explain_columns(
            ask, raw, lambda output: float(output[best]), lambda output: pipeline.labels[int(output.argmax())]
        )

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        import numpy as np

        from sartor.catalog.tasks._classification_scores import classification_scores

        return classification_scores(outputs, np.asarray(truths), labels, confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        return wrong_label(output, truth)

    def difference(self, now: Array, then: Array) -> float:
        return largest_difference(now, then)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        from sartor.catalog.tasks._tabular_rows import row_text

        answer = label_answer(output, pipeline)
        text = row_text(decode_row(raw))
        return Example("", pipeline.labels[int(truth)], answer["label"], answer["confidence"], text=text)

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

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        from sartor.catalog.tasks._tabular_tensors import normalise

        return normalise(batch, statistics)

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks._tabular_tensors import ShippedClassifier

        return ShippedClassifier(module, statistics)

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """None: what may be changed in a row without changing its answer, nobody can say for all tables."""
        return ()

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        return batch, targets

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        return class_loss(outputs, targets, label_smoothing)
