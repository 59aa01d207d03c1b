"""Text classification: one label per text, in any language: topics, spam, sentiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks.parts.labels import METRICS, class_loss, label_answer, largest_difference, wrong_label
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import DataCard, DataSource, Example, Explanation, Pipeline, Table

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

LONGEST, SHORTEST = 512, 8  # words: of a sequence, whatever the texts
STEP = 8  # lengths are multiples of it
LONG_TEXT = 20_000  # characters
SMALL_DATA = 20_000  # samples, up to which changed texts are worth having
SHOWN = 400  # characters of a sample that people are shown


@register("tasks", "text-classification")
class TextClassification:
    """One label per text; probabilities over all labels out.

    The deployed graph takes int32 ids (batch, length) and gives float32 probabilities (batch, labels).
    """

    name = "text-classification"
    title = "classify texts"
    version = 1
    media = "text"
    truth = "class"
    splitting = "stratified"
    metrics = METRICS
    advice: Mapping[str, str] = {
        "CONTROL_CHARACTERS": "hold control characters or replacement signs; see whether they were decoded rightly",
        "MARKUP": "hold tags or entities of HTML; they are read as words, remove them where they carry no meaning",
        "LONG_TEXT": f"are longer than {LONG_TEXT:,} characters; models read their beginnings or their commonest parts",
        "NO_WORDS": "hold neither letters nor digits; see what they are to be told by",
    }

    def read(self, source: DataSource) -> list[Part]:
        """Tables with a column of texts, folders of text files per class, data sets of the hub."""
        from sartor.reading.texts import read_texts

        return read_texts(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        """Facts: ``script`` (the commonest, or mixed) and ``length`` in characters."""
        from sartor.media import text as media

        text = media.decode(raw)
        script = media.script(text)
        remarks = {
            "CONTROL_CHARACTERS": media.has_control(text),
            "MARKUP": media.has_markup(text),
            "LONG_TEXT": len(text) > LONG_TEXT,
            "NO_WORDS": script == "none" and not any(map(str.isalnum, text)),
        }
        codes = tuple(code for code, found in remarks.items() if found)
        facts = {"script": script, "length": (len(text),)}
        return Sighting(media.content(text), facts, media.likeness(text), remarks=codes)

    def alike(self, left: str, right: str) -> bool:
        from sartor.media.text import nearly_same

        return nearly_same(left, right)

    def survey(self, decoded: Iterator[str], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Lengths, sizes of vocabularies, scripts, and whether words may be dropped (see ``_text_survey``)."""
        import numpy as np

        from sartor.catalog.tasks.parts.text_survey import survey_texts

        return survey_texts(list(decoded), np.asarray(truths), facts.get("scripts", {}), seed)

    def decode(self, raw: bytes) -> str:
        from sartor.media.text import decode

        return decode(raw)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[str], truths: Truths) -> bytes:
        """A vocabulary, where the encoding has one (see ``_text_encodings``)."""
        import numpy as np

        from sartor.catalog.tasks.parts.text_encodings import learn

        return learn(encoding, decoded, np.asarray(truths))

    def recall(self, encoding: str, learnt: bytes) -> Any:
        from sartor.catalog.tasks.parts.text_encodings import recall

        return recall(encoding, learnt)

    def prepare(self, decoded: str, input_size: Sequence[int], learnt: Any = None) -> Array:
        """Ids (length,) int32; code points where nothing was recalled."""
        from sartor.catalog.tasks.parts.text_encodings import code_points

        ids: Array = (learnt or code_points)(decoded, input_size)
        return ids

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        return label_answer(output, pipeline)

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """By erasure: how far the best label's confidence falls when a word is left out."""
        from sartor.catalog.tasks.parts.text_words import explain_words

        best = int(ask([raw])[0].argmax())
        return explain_words(ask, self.decode(raw), lambda output: float(output[best]), pipeline.labels[best])

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        import numpy as np

        from sartor.catalog.tasks.parts.classification_scores import classification_scores

        return classification_scores(outputs, np.asarray(truths), labels, confidence)

    def look(self, raws: Sequence[bytes], outputs: Array, labels: Sequence[str]) -> tuple[Table, ...]:
        """Words that go with each answer."""
        from sartor.catalog.tasks.parts.text_telling import telling_words

        return telling_words([raw.decode("utf-8", "replace") for raw in raws], outputs.argmax(1), labels)

    def wrong(self, output: Array, truth: Any) -> Array:
        return wrong_label(output, truth)

    def difference(self, now: Array, then: Array) -> float:
        return largest_difference(now, then)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        """The text itself, or its beginning."""
        text = raw.decode("utf-8", "replace").strip()
        answer = label_answer(output, pipeline)
        excerpt = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()} …"
        return Example("", pipeline.labels[int(truth)], answer["label"], answer["confidence"], text=excerpt)

    def noise(self, count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
        """Made-up words, so many that they fill the input."""
        import numpy as np

        generator = np.random.default_rng(seed)
        letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
        shares = 1 / np.arange(2, len(letters) + 2)

        def made_up() -> str:
            lengths = generator.integers(1, 9, max(1, min(int(input_size[0]), LONGEST)))
            drawn = generator.choice(letters, int(lengths.sum()), p=shares / shares.sum())
            return " ".join("".join(word) for word in np.split(drawn, np.cumsum(lengths)[:-1]))

        return [made_up().encode() for _ in range(count)]

    def example(self, input_size: Sequence[int], encoding: str = "") -> Array:
        import numpy as np

        return np.zeros(tuple(input_size), np.int32)

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        import numpy as np

        return np.asarray(truth)

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """Lengths in words: what 95 of 100 texts fit into, up to 512, then half of it."""
        words = card.facts.get("words", {"p95": 64})["p95"]
        natural = max(SHORTEST, min(LONGEST, -(-int(words) // STEP) * STEP))
        half = -(-natural // (2 * STEP)) * STEP
        return ((natural,), (half,)) if half < natural and half >= 2 * STEP else ((natural,),)

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.text_tensors import ShippedTexts

        return ShippedTexts(module)

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """Ids need none."""
        return batch

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        """None: ids have no scale."""
        return {}

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """``drop`` where the data is small and its survey showed that texts with gaps keep their class.

        ``swap`` and ``noise`` are known to :meth:`augment` but not proposed: nothing in the data speaks for them.
        """
        small = card.splits["train"].samples <= SMALL_DATA if "train" in card.splits else False
        return ("drop",) if small and card.facts.get("dropping", {}).get("suits") else ()

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        from sartor.catalog.tasks.parts.text_tensors import augment

        return augment(batch, names, generator), targets

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        return class_loss(outputs, targets, label_smoothing)
