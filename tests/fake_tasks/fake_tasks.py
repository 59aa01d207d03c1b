"""Two tasks that are about anything but pictures, made only for tests: ``fake-words`` and ``fake-counts``."""

import hashlib
import json
from pathlib import Path

import numpy as np

from sartor.catalog.contracts import Scores, Sighting
from sartor.errors import DataError
from sartor.metrics import Metric
from sartor.reading.sample import Part, Sample
from sartor.registry import register
from sartor.types import Cause, Chart, Example, Explanation, Line, Table


class Common:
    """What both share; a file of lines of JSON is a split."""

    version = 1
    advice = {}  # noqa: RUF012

    def read(self, source):
        found = []
        for split in ("train", "validation", "test"):
            if address := getattr(source, split):
                rows = [json.loads(line) for line in Path(address).read_text().splitlines()]
                samples = [self.sample(f"row {number}", row) for number, row in enumerate(rows, 1)]
                found.append(Part(split, address, Path(address).parent, samples))
        return found

    def inspect(self, raw, truth=None):
        self.decode(raw)
        return Sighting(hashlib.sha256(raw).hexdigest(), {}, None, truth)

    def alike(self, left, right):
        return False

    def survey(self, decoded, truths, facts, seed):
        return {}

    def learn(self, encoding, input_size, decoded, truths):
        return b""

    def recall(self, encoding, learnt):
        return None

    def difference(self, now, then):
        return float(np.abs(now.astype(float) - then.astype(float)).max(initial=0.0))


@register("tasks", "fake-words")
class FakeWords(Common):
    """Ham or spam: words are counted against a vocabulary learnt from train; (n, 2) float32 probabilities."""

    title, media, truth, splitting = "tell spam from ham", "text", "class", "stratified"
    metrics = (Metric("accuracy", "", "higher", "quality", "accuracy", True),)

    def sample(self, place, row):
        return Sample(place, row["label"], row["text"].encode())

    def decode(self, raw):
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise DataError("the text is not UTF-8; save it as UTF-8") from None
        if not text.strip():
            raise DataError("the text is empty; give a word at least")
        return text

    def learn(self, encoding, input_size, decoded, truths):
        words = sorted({word for text in decoded for word in text.split()})
        return json.dumps(words[: input_size[0]]).encode()

    def recall(self, encoding, learnt):
        if encoding != "words":
            raise ValueError(f"there is no encoding {encoding!r}")
        return {word: number for number, word in enumerate(json.loads(learnt))}

    def prepare(self, decoded, input_size, learnt=None):
        counts = np.zeros(input_size, np.float32)
        for word in decoded.split():
            if word in learnt:
                counts[learnt[word]] += 1
        return counts

    def answer(self, output, pipeline, decoded=None):
        best = int(output.argmax())
        return {"label": pipeline.labels[best], "confidence": float(output[best]), "letters": len(decoded or "")}

    def explain(self, ask, raw, pipeline):
        words = self.decode(raw).split()
        whole = ask([raw])[0]
        without = [" ".join(words[:place] + words[place + 1 :]) or "." for place in range(len(words))]
        fell = whole.max() - ask([text.encode() for text in without])[:, whole.argmax()]
        causes = sorted(
            (Cause(word, float(weight)) for word, weight in zip(words, fell, strict=True)), key=lambda c: -c.weight
        )
        return Explanation("words", tuple(causes), f"{causes[0].name} weighs most")

    def score(self, outputs, truths, labels, confidence):
        correct = (outputs.argmax(axis=1) == truths).astype(float)
        return Scores({"accuracy": (float(correct.mean()), 0.0, 1.0)}, correct, {})

    def wrong(self, output, truth):
        row = np.ones_like(output)
        row[truth] = 0
        return row

    def show(self, raw, truth, output, pipeline):
        answer = self.answer(output, pipeline)
        return Example("", pipeline.labels[int(truth)], answer["label"], answer["confidence"], text=raw.decode()[:80])

    def noise(self, count, input_size, seed):
        return [f"made up {number}".encode() for number in range(count)]

    def example(self, input_size, encoding=""):
        return np.zeros(input_size, np.float32)


@register("tasks", "fake-counts")
class FakeCounts(Common):
    """How many of three things a record holds: records of numbers in, (n, 3, 1) int64 out; truths are JSON lists."""

    title, media, truth, splitting = "count things", "record", "structure", "random"
    metrics = (Metric("count_error", "", "lower", "quality", "root mean squared error of counts"),)

    def sample(self, place, row):
        return Sample(place, None, json.dumps(row["counts"]).encode(), truth=json.dumps(row["truth"]).encode())

    def decode(self, raw):
        try:
            values = json.loads(raw)
        except ValueError:
            raise DataError("the record is not JSON; give a list of three numbers") from None
        if not isinstance(values, list) or len(values) != 3:
            raise DataError("the record is no list of three numbers")
        return values

    def prepare(self, decoded, input_size, learnt=None):
        return np.array(decoded, np.int64).reshape(input_size)

    def answer(self, output, pipeline, decoded=None):
        counts = zip(output.ravel(), pipeline.labels, strict=True)
        return {"label": ", ".join(f"{count} {name}" for count, name in counts), "confidence": 1.0}

    def explain(self, ask, raw, pipeline):
        if self.decode(raw)[0] == 13:
            raise DataError("nobody explains thirteen")
        return Explanation("features", (Cause("first", float(ask([raw])[0].sum())),), "as it stands there")

    def score(self, outputs, truths, labels, confidence):
        wanted = np.array([json.loads(truth) for truth in truths])
        squares = ((outputs[:, :, 0] - wanted) ** 2).mean(axis=1)

        def resample(rows):
            return float(np.sqrt(squares[rows].mean()))

        value = resample(np.arange(len(squares)))
        values = {"count_error": (value, value, value), "count_error_per_class_min": (value + 1, value, value + 2)}
        chart = Chart("errors", "sample", "error", (Line("all", (0.0, 1.0), (0.0, value)),))
        table = Table("counts", ("sample", "error"), (("first", f"{squares[0]:g}"),))
        worst = tuple(int(row) for row in np.argsort(-squares, kind="stable"))
        return Scores(values, -squares, {}, worst=worst, resample=resample, charts=(chart,), tables=(table,))

    def wrong(self, output, truth):
        return np.array(json.loads(truth), output.dtype).reshape(output.shape) + 100

    def show(self, raw, truth, output, pipeline):
        return Example("", truth.decode(), self.answer(output, pipeline)["label"], 1.0, thumbnail="x" * 400_000)

    def noise(self, count, input_size, seed):
        return [json.dumps([number, 1, 2]).encode() for number in range(count)]

    def example(self, input_size, encoding=""):
        return np.zeros(input_size, np.int64)
