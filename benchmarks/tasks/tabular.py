"""Claim: the chosen package scores as well as the best tuned peer, at a fifth of its p95 or a fifth of its size.

The peers: linear models, histogram boosting and random forests of scikit-learn, and LightGBM with its own predictor.
Each is tuned by random search on the run's train split for the same number of seconds, its best setting chosen on the
run's validation split; all are scored on the run's test split. They get rows already turned into numbers by the
package's encoder for fitting, and one by one from the JSON object through that same encoder when they are timed, which
is kinder than a pandas frame per row. Everything takes one thread, as OpenMP stalls on a busy machine. Calls alternate
in short turns in one process; memory is that of a fresh process that loads the model and answers.

    python benchmarks/tasks/tabular.py runs/spambase-1a2b3c --seconds 60
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _protocol import CONFIDENCE, Row, conditions_line, table, write_rows
from _subject import Skipped, Subject, few, main, package_label, parser

from sartor import registry
from sartor.pipeline import Predictor
from sartor.prepared import open_data

TASKS = ("tabular-classification", "tabular-regression")
TURNS, CALLS = 20, 200  # timed turns of each side, and calls in one
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Peer:
    """A usual choice: how it is made from a draw of its settings, and what else it is drawn from."""

    name: str
    make: Callable[[Mapping[str, Any]], Any]
    settings: Mapping[str, Callable[[np.random.Generator], Any]]


def log_uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    """Draws between two positive numbers, evenly by their logarithm."""
    return lambda chance: float(np.exp(chance.uniform(np.log(low), np.log(high))))


def one_of(*values: Any) -> Callable[[np.random.Generator], Any]:
    """Draws one of several values."""
    return lambda chance: values[int(chance.integers(len(values)))]


def peers(classes: bool) -> tuple[Peer, ...]:
    """The peers for labels or for numbers."""
    import lightgbm
    from sklearn import ensemble, linear_model
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def linear(drawn: Mapping[str, Any]) -> Any:
        model = (
            linear_model.LogisticRegression(C=1 / drawn["penalty"], max_iter=2000)
            if classes
            else linear_model.Ridge(alpha=drawn["penalty"])
        )
        return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)

    kind = "Classifier" if classes else "Regressor"
    forest, boosting = getattr(ensemble, f"RandomForest{kind}"), getattr(ensemble, f"HistGradientBoosting{kind}")
    grown = getattr(lightgbm, f"LGBM{kind}")
    return (
        Peer("scikit-learn linear", linear, {"penalty": log_uniform(1e-4, 1e3)}),
        Peer(
            "scikit-learn HistGradientBoosting",
            lambda drawn: boosting(max_iter=1000, early_stopping=True, random_state=0, **drawn),
            {
                "learning_rate": log_uniform(0.02, 0.3),
                "max_leaf_nodes": one_of(15, 31, 63, 127),
                "min_samples_leaf": one_of(5, 20, 50),
                "l2_regularization": log_uniform(1e-3, 10),
            },
        ),
        Peer(
            "scikit-learn RandomForest",
            lambda drawn: forest(n_jobs=1, random_state=0, **drawn),
            {
                "n_estimators": one_of(100, 200, 400),
                "max_features": one_of("sqrt", 0.3, 0.6, 1.0),
                "min_samples_leaf": one_of(1, 2, 5),
            },
        ),
        Peer(
            "LightGBM",
            lambda drawn: grown(n_jobs=1, subsample_freq=1, verbosity=-1, random_state=0, **drawn),
            {
                "n_estimators": one_of(100, 200, 400, 800),
                "learning_rate": log_uniform(0.02, 0.3),
                "num_leaves": one_of(15, 31, 63, 127),
                "min_child_samples": one_of(5, 20, 50),
                "subsample": one_of(0.7, 1.0),
                "colsample_bytree": one_of(0.6, 0.8, 1.0),
            },
        ),
    )


@dataclass(frozen=True)
class Tables:
    """Rows as numbers, and truths, of every split; and how scores are made of a model's answers."""

    rows: Mapping[str, Array]
    truths: Mapping[str, Array]
    task: Any
    labels: tuple[str, ...]

    def score(self, answers: Array, split: str) -> Mapping[str, tuple[float, float, float]]:
        """Values with intervals."""
        return self.task.score(answers, self.truths[split], self.labels, CONFIDENCE).values


def answers_of(model: Any, rows: Array, classes: bool) -> Array:
    """Probabilities (n, classes), or numbers (n, 1)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM gave itself names of columns and misses them in an array
        return np.asarray(model.predict_proba(rows) if classes else model.predict(rows)[:, None])


def tuned(peer: Peer, tables: Tables, seconds: float, classes: bool) -> tuple[Any, int]:
    """The model that was best on validation after so many seconds of random search, and how many were tried."""
    from threadpoolctl import threadpool_limits

    metric, chance = tables.task.metrics[0], np.random.default_rng(0)
    best, best_value, tried, started = None, 0.0, 0, time.perf_counter()
    while best is None or time.perf_counter() - started < seconds:
        drawn = {name: draw(chance) for name, draw in peer.settings.items()}
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")
            model = peer.make(drawn).fit(tables.rows["train"], tables.truths["train"])
        value = tables.score(answers_of(model, tables.rows["validation"], classes), "validation")[metric.name][0]
        tried += 1
        if best is None or metric.better(value, best_value):
            best, best_value = model, value
    return best, tried


def on_one_thread(model: Any) -> Any:
    """One row is answered fastest so."""
    for part in (model, *(step for _, step in getattr(model, "steps", ()))):
        if "n_jobs" in part.get_params():
            part.set_params(n_jobs=1)
    return model


def answering(model: Any, encoder: Any, labels: tuple[str, ...]) -> Callable[[bytes], Any]:
    """From the JSON object to the label or the number, as the package does it."""

    def answer(raw: bytes) -> Any:
        row = encoder.row(json.loads(raw))[None]
        if labels:
            shares = model.predict_proba(row)[0]
            best = int(shares.argmax())
            return labels[best], float(shares[best])
        return float(model.predict(row)[0])

    return answer


def in_turns(sides: Mapping[str, Callable[[bytes], Any]], raws: list[bytes]) -> Mapping[str, Array]:
    """Milliseconds of every call; the sides take turns, so that a drift of the machine meets all of them."""
    from threadpoolctl import threadpool_limits

    spent: dict[str, list[int]] = {name: [] for name in sides}
    with warnings.catch_warnings(), threadpool_limits(1):  # OpenMP's threads cost one row more than they give
        warnings.simplefilter("ignore")
        for turn in range(-2, TURNS):  # the first two warm up
            for name, answer in sides.items():
                calls = CALLS if name == "package" else max(10, CALLS // 10)
                for number in range(calls):
                    raw = raws[(turn * calls + number) % len(raws)]
                    started = time.perf_counter_ns()
                    answer(raw)
                    if turn >= 0:
                        spent[name].append(time.perf_counter_ns() - started)
    return {name: np.array(values) / 1e6 for name, values in spent.items()}


CHILD = """
import json, pickle, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import psutil
raws = json.loads(Path(sys.argv[2]).read_text())
if Path(sys.argv[1]).is_dir():
    from sartor.pipeline import Predictor
    answer = Predictor(Path(sys.argv[1])).predict
else:
    model, learnt = pickle.loads(Path(sys.argv[1]).read_bytes())
    from sartor.catalog.tasks._tabular_columns import Columns
    encoder = Columns(learnt)
    act = getattr(model, "predict_proba", model.predict)
    answer = lambda raw: act(encoder.row(json.loads(raw))[None])
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


def read_tables(subject: Subject) -> tuple[Tables, bytes, list[bytes]]:
    """The run's splits as numbers, the encoder, and rows of test as they come."""
    data, network = open_data(subject.data, subject.workspace), subject.network
    parts = {name: data.split(name) for name in ("train", "validation", "test")}
    rows = {name: np.array(part.prepared(network.input_size, network.encoding)) for name, part in parts.items()}
    truths = {name: np.asarray(part.truths) for name, part in parts.items()}
    task = registry.get("tasks", subject.side.pipeline.task)
    raws = [parts["test"].raw(number) for number in few(len(parts["test"]), 1000, 0)]
    tables = Tables(rows, truths, task, tuple(data.card.labels))
    return tables, data.learnt(network.input_size, network.encoding), raws


def package_answers(predictor: Predictor, subject: Subject) -> Array:
    """Outputs of the package for all rows of test, from their bytes."""
    test = open_data(subject.data, subject.workspace).split("test")
    return np.concatenate([predictor.outputs([test.raw(number)]) for number in range(len(test))])


def rows_of(
    name: str, scores: Mapping[str, Any], other: Mapping[str, Any], cost: Mapping[str, tuple[float, float]]
) -> Iterator[Row]:
    """The lines of one comparison; of a score the interval is the package's."""
    for metric, (value, low, high) in scores.items():
        yield Row(metric, "", value, other[metric][0], low=low, high=high, n=2)
    for quantity, (ours, theirs) in cost.items():
        unit = "ms" if "latency" in quantity else "MB"
        yield Row(f"{quantity} against {name}", unit, ours, theirs, theirs / ours)


def work(asked: Namespace, subject: Subject) -> None:
    """Tune the peers, measure all, print, keep."""
    if subject.side.pipeline.task not in TASKS:
        raise Skipped(f"{subject.folder} is a run of {subject.side.pipeline.task}; give one of {' or '.join(TASKS)}")
    tables, learnt, raws = read_tables(subject)
    classes, package = bool(tables.labels), subject.folder / "package"
    predictor = Predictor(package)
    metric = tables.task.metrics[0]
    print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
    print(f"MACHINE {conditions_line()}")
    mine = tables.score(package_answers(predictor, subject), "test")
    recalled = tables.task.recall(subject.network.encoding, learnt)
    sides: dict[str, Callable[[bytes], Any]] = {"package": predictor.predict}
    found: dict[str, tuple[Mapping[str, Any], float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        my_size = (
            sum(path.stat().st_size for path in package.iterdir() if path.name in ("encoder.bin", "model.onnx")) / 1e6
        )
        my_memory = memory_mb(package, raws, folder)
        for peer in peers(classes):
            model, tried = tuned(peer, tables, asked.seconds, classes)
            model = on_one_thread(model)
            place = folder / "peer.pickle"
            place.write_bytes(pickle.dumps((model, learnt)))
            scores = tables.score(answers_of(model, tables.rows["test"], classes), "test")
            found[peer.name] = scores, place.stat().st_size / 1e6, memory_mb(place, raws, folder)
            sides[peer.name] = answering(model, recalled, tables.labels)
            value, low, high = scores[metric.name]
            print(
                f"… {peer.name}: {tried} settings tried, {metric.name} {value:.4g} ({low:.4g} … {high:.4g})", flush=True
            )
        spent = in_turns(sides, raws)
    outcomes = []
    for name, (scores, size, memory) in found.items():
        p95 = {side: float(np.quantile(spent[side], 0.95)) for side in ("package", name)}
        p50 = {side: float(np.quantile(spent[side], 0.5)) for side in ("package", name)}
        cost = {
            "latency p50": (p50["package"], p50[name]),
            "latency p95": (p95["package"], p95[name]),
            "size": (my_size, size),
            "memory": (my_memory, memory),
        }
        rows = list(rows_of(name, mine, scores, cost))
        print(table(rows, "package", name))
        stem = f"tabular-{subject.conditions}-{name}-{asked.seconds:.0f}s"
        print(f"WRITTEN {write_rows(asked.results, stem, rows, {})}")
        _, low, high = mine[metric.name]
        theirs = scores[metric.name][0]
        as_good = theirs <= high if metric.direction == "higher" else theirs >= low
        ratio = max(p95[name] / p95["package"], size / my_size)
        outcomes.append(f"{'HOLDS' if as_good and ratio >= 5 else 'FAILS'} against {name}")
    print("  ".join(outcomes))


if __name__ == "__main__":
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=60.0, help="of random search per peer (%(default)s)")
    asked = made.parse_args()
    if asked.run is None or asked.smoke:
        made.error("name the folder of a run of tabular-classification or tabular-regression")
    sys.exit(main(work, asked, __doc__.splitlines()[0].removeprefix("Claim: ")))
