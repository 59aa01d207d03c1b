"""Claim: the chosen package scores as well as the best tuned peer, at a fifth of its p95 or a fifth of its size.

The peers are the usual pipelines of scikit-learn: TF-IDF of words and pairs of words, or of characters (sequences of 1
to 3 for scripts without spaces, of 2 to 5 within words for others), then logistic regression or a linear SVM. Each is
tuned on the run's train split for up to as many seconds as the run took, its best strength chosen on the run's
validation split; all are scored on the run's test split, sample by sample against the package (paired). Calls from a
raw text's bytes to its label alternate in short turns in one process on one thread; memory is that of a fresh process
that loads the model and answers.

    python benchmarks/tasks/text_classification.py runs/sms_spam-1a2b3c
    python benchmarks/tasks/text_classification.py runs/sms_spam-1a2b3c --seconds 60
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _protocol import CONFIDENCE, Row, conditions_line, table, write_rows
from _subject import Skipped, Subject, few, main, package_label, parser

from sartor.intervals import proportion
from sartor.pipeline import Predictor
from sartor.prepared import open_data

TASK = "text-classification"
STRENGTHS = (1.0, 0.3, 3.0, 10.0, 0.1, 30.0, 0.03)  # of the peers' loss, the usual one first
TURNS, CALLS = 20, 200  # timed turns of each side, and calls in one
RESAMPLES = 2000
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Texts:
    """Texts and class numbers of every split, and the names of the classes."""

    texts: Mapping[str, list[str]]
    truths: Mapping[str, Array]
    labels: tuple[str, ...]


def peers(unspaced: bool) -> Mapping[str, Callable[[float], Any]]:
    """Name -> pipeline at a strength."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    characters = (
        {"analyzer": "char", "ngram_range": (1, 3)} if unspaced else {"analyzer": "char_wb", "ngram_range": (2, 5)}
    )

    def words() -> Any:
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)

    def pieces() -> Any:
        return TfidfVectorizer(sublinear_tf=True, **characters)

    return {
        "words logistic": lambda c: make_pipeline(words(), LogisticRegression(C=c, max_iter=1000)),
        "words SVM": lambda c: make_pipeline(words(), LinearSVC(C=c)),
        "characters logistic": lambda c: make_pipeline(pieces(), LogisticRegression(C=c, max_iter=1000)),
        "characters SVM": lambda c: make_pipeline(pieces(), LinearSVC(C=c)),
    }


def tuned(make: Callable[[float], Any], data: Texts, seconds: float) -> tuple[Any, float, int]:
    """The pipeline that was best on validation after so many seconds, its strength, and how many were tried."""
    best, best_value, chosen, tried, started = None, -1.0, 0.0, 0, time.perf_counter()
    for strength in STRENGTHS:
        if best is not None and time.perf_counter() - started > seconds:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make(strength).fit(data.texts["train"], data.truths["train"])
        value = float((model.predict(data.texts["validation"]) == data.truths["validation"]).mean())
        tried += 1
        if value > best_value:
            best, best_value, chosen = model, value, strength
    return best, chosen, tried


def in_turns(sides: Mapping[str, Callable[[bytes], Any]], raws: list[bytes]) -> Mapping[str, Array]:
    """Milliseconds of every call; the sides take turns, so that a drift of the machine meets all of them."""
    spent: dict[str, list[int]] = {name: [] for name in sides}
    for turn in range(-2, TURNS):  # the first two warm up
        for name, answer in sides.items():
            for number in range(CALLS):
                raw = raws[(turn * CALLS + number) % len(raws)]
                started = time.perf_counter_ns()
                answer(raw)
                if turn >= 0:
                    spent[name].append(time.perf_counter_ns() - started)
    return {name: np.array(values) / 1e6 for name, values in spent.items()}


CHILD = """
import json, pickle, sys
from pathlib import Path
import psutil
raws = json.loads(Path(sys.argv[2]).read_text())
if Path(sys.argv[1]).is_dir():
    from sartor.pipeline import Predictor
    answer = Predictor(Path(sys.argv[1])).predict
else:
    model = pickle.loads(Path(sys.argv[1]).read_bytes())
    answer = lambda raw: model.predict([raw.decode()])
for raw in raws:
    answer(raw.encode())
print(psutil.Process().memory_full_info().uss / 1e6)
"""


def memory_mb(place: Path, raws: list[bytes], folder: Path) -> float:
    """Memory of its own of a fresh process that loads a package or a pickled peer and answers."""
    inputs = folder / "raws.json"
    inputs.write_text(json.dumps([raw.decode() for raw in raws[:100]]))
    command = [sys.executable, "-c", CHILD, str(place), str(inputs)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def read_texts(subject: Subject) -> tuple[Texts, list[bytes]]:
    """The run's splits as they were found, and texts of test to time on."""
    data = open_data(subject.data, subject.workspace)
    parts = {name: data.split(name) for name in ("train", "validation", "test")}
    texts = {name: [str(part.decoded(number)) for number in range(len(part))] for name, part in parts.items()}
    truths = {name: np.asarray(part.truths) for name, part in parts.items()}
    raws = [parts["test"].raw(number) for number in few(len(parts["test"]), 1000, 0)]
    return Texts(texts, truths, tuple(data.card.labels)), raws


def paired(mine: Array, theirs: Array) -> tuple[float, float, float]:
    """Difference of accuracy on the same samples, ours less theirs, with its bootstrap interval."""
    chance = np.random.default_rng(0)
    gaps = mine.astype(np.float64) - theirs
    drawn = gaps[chance.integers(0, len(gaps), (RESAMPLES, len(gaps)))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(gaps.mean()), float(low), float(high)


def work(asked: Namespace, subject: Subject) -> None:
    """Tune the peers, measure all, print, keep."""
    if subject.side.pipeline.task != TASK:
        raise Skipped(f"{subject.folder} is a run of {subject.side.pipeline.task}; give one of {TASK}")
    data, raws = read_texts(subject)
    seconds = asked.seconds or sum(step.seconds for step in subject.file.steps)
    package = subject.folder / "package"
    predictor = Predictor(package)
    print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
    print(f"MACHINE {conditions_line()}")
    truths = data.truths["test"]
    right = predictor.outputs([text.encode() for text in data.texts["test"]]).argmax(axis=1) == truths
    low, high = proportion(int(right.sum()), len(right), CONFIDENCE)
    print(f"PACKAGE accuracy {right.mean():.4f} ({low:.4f} … {high:.4f}, n={len(right):,})", flush=True)
    scripts = subject.file.card.facts.get("scripts", {})
    unspaced = sum(scripts.get(name, 0) for name in ("Han", "Kana", "Thai")) > sum(scripts.values()) / 2
    sides: dict[str, Callable[[bytes], Any]] = {"package": predictor.predict}
    found: dict[str, tuple[Array, float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = [path for path in package.iterdir() if path.name in ("encoder.bin", "model.onnx")]
        my_size, my_memory = sum(path.stat().st_size for path in kept) / 1e6, memory_mb(package, raws, folder)
        for name, make in peers(unspaced).items():
            model, strength, tried = tuned(make, data, seconds)
            place = folder / "peer.pickle"
            place.write_bytes(pickle.dumps(model))
            hits = model.predict(data.texts["test"]) == truths
            found[name] = hits, place.stat().st_size / 1e6, memory_mb(place, raws, folder)
            sides[name] = lambda raw, model=model: data.labels[int(model.predict([raw.decode()])[0])]
            print(f"… {name}: {tried} strengths tried, C={strength:g}, accuracy {hits.mean():.4f}", flush=True)
        spent = in_turns(sides, raws)
    best = max(found, key=lambda name: found[name][0].mean())
    for name, (hits, size, memory) in found.items():
        gap, low, high = paired(right, hits)
        rows = [
            Row("accuracy", "", float(right.mean()), float(hits.mean()), n=len(right)),
            Row("accuracy, ours less theirs", "", gap, None, low=low, high=high, n=len(right)),
            *(
                Row(f"latency p{round(q * 100)}", "ms", mine, theirs, theirs / mine, n=TURNS * CALLS)
                for q in (0.5, 0.95)
                for mine, theirs in [(float(np.quantile(spent["package"], q)), float(np.quantile(spent[name], q)))]
            ),
            Row("size", "MB", my_size, size, size / my_size, n=1),
            Row("memory", "MB", my_memory, memory, memory / my_memory, n=1),
        ]
        print(table(rows, "package", name))
        print(f"        accuracy, ours less theirs: {gap:+.4f} ({low:+.4f} … {high:+.4f})")
        stem = f"text-{subject.conditions}-{name}-{seconds:.0f}s"
        print(f"WRITTEN {write_rows(asked.results, stem, rows, {})}")
        if name == best:
            p95 = [float(np.quantile(spent[side], 0.95)) for side in ("package", name)]
            verdict = "HOLDS" if high >= 0 and max(p95[1] / p95[0], size / my_size) >= 5 else "FAILS"
    print(f"{verdict} against {best}, the best peer")


if __name__ == "__main__":
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=0.0, help="of tuning per peer (the run's own time)")
    asked = made.parse_args()
    if asked.run is None or asked.smoke:
        made.error("name the folder of a run of text-classification")
    sys.exit(main(work, asked, __doc__.splitlines()[0].removeprefix("Claim: ")))
