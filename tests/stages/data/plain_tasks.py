"""A task as small as tasks get, over tables of texts, with truths of any kind."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from sartor.catalog.contracts import Sighting
from sartor.errors import DataError
from sartor.reading.locate import open_tables
from sartor.reading.sample import Part, Sample, label_text
from sartor.types import DataProblem


@dataclass
class PlainTask:
    """Texts of digits; a structure is a JSON list of class names, "odd" among them is remarked.

    Its encoding ``shift`` learns the largest number of train and is prepared as the distance from it.
    """

    truth: str = "class"
    splitting: str = "stratified"
    names: tuple[str, ...] = ()
    likeness: bool = False
    name: str = "plain"
    version: int = 1
    options: frozenset[str] = frozenset({"flavour"})
    advice: dict[str, str] = field(default_factory=lambda: {"ODD": "hold something odd"})
    learnt: list[str] = field(default_factory=list)  # encodings asked for, in order
    surveyed: list[tuple] = field(default_factory=list)

    def read(self, source):
        return [self._part(table) for table in open_tables(source)]

    def _part(self, table):
        samples = (
            Sample(
                place,
                label_text(row.get("label")),
                row["text"].encode(),
                truth=json.dumps(row["truth"]).encode() if "truth" in row else None,
            )
            for place, row in table.rows(None)
        )
        return Part(table.split, table.title, table.root, samples, self.names)

    def inspect(self, raw, truth=None):
        if not raw.strip().isdigit():
            raise DataError("it is not made of digits")
        classes = tuple(json.loads(truth)) if truth else ()
        kept = b"kept:" + truth if truth else None
        remarks = ("ODD", "ODD") if "odd" in classes else ()
        likeness = int(raw) << 40 if self.likeness else None
        content = hashlib.sha256(raw.strip()).hexdigest()
        return Sighting(content, {"length": (len(raw),)}, likeness, kept, classes, remarks)

    def alike(self, left, right):
        return abs(left - right) <= 1

    def decode(self, raw):
        return int(raw)

    def survey(self, decoded, truths, facts, seed):
        values = list(decoded)
        self.surveyed.append((values, truths, facts))
        return {"total": sum(values), "problems": [DataProblem("SEEN", "train", len(values), "they were seen")]}

    def learn(self, encoding, input_size, decoded, truths):
        self.learnt.append(encoding)
        return str(max(decoded)).encode() if encoding.startswith("shift") else b""

    def recall(self, encoding, learnt):
        return int(learnt) if learnt else 0

    def prepare(self, decoded, input_size, learnt=None):
        return np.full(input_size, decoded - learnt, np.float32)

    def example(self, input_size, encoding=""):
        return np.zeros(input_size, np.float32)

    def statistics(self, prepared):
        return {"mean": (float(prepared.mean()),)}

    def truth_statistics(self, truths):
        return {"truths": (float(len(truths)),)}

    def target(self, truth, input_size, labels):
        return np.array([json.loads(truth.removeprefix(b"kept:")).count(label) for label in labels], np.int8)
