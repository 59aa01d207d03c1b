"""Optuna over pipelines of scikit-learn, exported to ONNX; the limits filter trials by what validation and a timer say.

What a practised engineer writes in an afternoon: TPE with the limits as constraints, each trial fitted, exported,
scored on validation as the ONNX file, timed and weighed. The best trial within all limits is delivered; where there is
none, no file is, and the limits that every trial missed are named. No interval is looked at.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
ROOM_S = 2.0  # kept for writing down and the end of the process
CALLS = 100
WORDS = 20_000  # of a text's vocabulary
CHILD = str(Path(__file__).resolve().parents[1])
ANEW = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from _child import peak_mb
import with_optuna
sys.modules["side"] = with_optuna  # as what was pickled names it
here = Path({here!r})
with_optuna.load(here)[0]((here / "raw").read_bytes())
print(peak_mb())
"""


class Form:
    """From raw inputs to rows of float32: pixels, numbers and one column per word, or TF-IDF."""

    def __init__(self, raws: list[bytes], media: str, *, unspaced: bool) -> None:
        self.media, self.places, self.vectors = media, {}, None
        if media == "text":
            from sklearn.feature_extraction.text import TfidfVectorizer

            cut = {"analyzer": "char", "ngram_range": (1, 2)} if unspaced else {"ngram_range": (1, 2)}
            self.vectors = TfidfVectorizer(max_features=WORDS, sublinear_tf=True, dtype=np.float32, **cut)
            self.vectors.fit([raw.decode() for raw in raws])
        elif media != "image":
            records = [json.loads(raw) for raw in raws]
            for name in sorted({name for record in records for name in record}):
                words = sorted({record[name] for record in records if isinstance(record.get(name), str)})[:100]
                self.places[name] = {word: number for number, word in enumerate(words)}

    def rows(self, raws: list[bytes]) -> Array:
        """(n, columns) float32."""
        if self.vectors is not None:
            return self.vectors.transform([raw.decode() for raw in raws]).toarray()
        return np.stack(
            [self._picture(raw) if self.media == "image" else self._record(json.loads(raw)) for raw in raws]
        )

    @staticmethod
    def _picture(raw: bytes) -> Array:
        from PIL import Image

        with Image.open(io.BytesIO(raw)) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        step = 2 if pixels.shape[0] > 16 else 1
        return pixels[::step, ::step].reshape(-1)

    def _record(self, record: Mapping[str, Any]) -> Array:
        found: list[float] = []
        for name, places in self.places.items():
            cell = record.get(name)
            if places:
                found += [float(places.get(cell, -1) == number) for number in range(len(places))]
            else:
                found.append(0.0 if cell is None or isinstance(cell, str) else float(cell))
        return np.array(found, np.float32)


def offered(classes: bool, media: str) -> dict[str, Callable[[Any], Any]]:
    """Name -> pipeline for a trial."""
    from sklearn import ensemble, linear_model, neural_network
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind = "Classifier" if classes else "Regressor"
    forest, boosting = getattr(ensemble, f"RandomForest{kind}"), getattr(ensemble, f"HistGradientBoosting{kind}")
    net = getattr(neural_network, f"MLP{kind}")

    def linear(trial: Any) -> Any:
        strength = trial.suggest_float("strength", 1e-3, 1e3, log=True)
        if not classes:
            return make_pipeline(StandardScaler(), linear_model.Ridge(alpha=strength))
        model = linear_model.LogisticRegression(C=strength, max_iter=200)
        return model if media == "text" else make_pipeline(StandardScaler(), model)

    def trees(trial: Any) -> Any:
        return forest(
            trial.suggest_int("trees", 10, 200, log=True), max_depth=trial.suggest_int("depth", 4, 16), n_jobs=2
        )

    def boosted(trial: Any) -> Any:
        rate, leaves = trial.suggest_float("rate", 0.02, 0.3, log=True), trial.suggest_int("leaves", 7, 63, log=True)
        return boosting(
            learning_rate=rate, max_leaf_nodes=leaves, max_iter=trial.suggest_int("rounds", 20, 200, log=True)
        )

    def network(trial: Any) -> Any:
        width = trial.suggest_int("width", 16, 256, log=True)
        return make_pipeline(StandardScaler(), net((width,), early_stopping=True, max_iter=60))

    return {"linear": linear} if media == "text" else {
        "linear": linear, "forest": trees, "boosting": boosted, "network": network,
    }  # fmt: skip


def learn(given: Any, folder: Path) -> str:
    """Trials until the time is over; the best within the limits is written down."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    classes, limits = given.truth == "class", given.facts["limits"]
    raws = {split: given.raws(split) for split in ("train", "validation")}
    truths = {split: np.asarray(given.truths(split)) for split in raws}
    form = Form(raws["train"], given.facts["media"], unspaced=bool(given.facts.get("unspaced")))
    tables = {split: form.rows(raws[split]) for split in raws}
    able = offered(classes, given.facts["media"])
    best: dict[str, Any] = {}
    seen: list[dict[str, float]] = []
    slowest = 0.0

    def objective(trial: Any) -> float:
        name = trial.suggest_categorical("pipeline", list(able))
        model = able[name](trial).fit(tables["train"], truths["train"])
        file = exported(model, tables["train"].shape[1], classes)
        found = qualities(run(file, tables["validation"], classes), truths["validation"], classes, len(given.labels))
        found |= costs(file, form, raws["validation"], limits, folder)
        misses = {key: over for key, over in violations(found, limits).items() if over > 0}
        seen.append(misses)
        trial.set_user_attr("over", [violations(found, limits)[key] for key in sorted(violations(found, limits))])
        value = found["accuracy"] if classes else -found["rmse"]
        if not misses and value > best.get("value", -np.inf):
            best.update(value=value, file=file, name=name)
        return float(value)

    sampler = optuna.samplers.TPESampler(
        seed=given.seed, constraints_func=lambda trial: trial.user_attrs.get("over", (1.0,))
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    while time.monotonic() + slowest + ROOM_S < given.ends:
        begun = time.monotonic()
        study.optimize(objective, n_trials=1, catch=(Exception,))  # a pipeline that ONNX cannot hold is a trial lost
        slowest = max(slowest, time.monotonic() - begun)
    every = set.intersection(*(set(one) for one in seen)) if seen else set()
    every = every or set(min(seen, key=lambda one: sum(one.values()), default={}))
    told = {"delivered": bool(best), "binding": sorted(every) if not best else [], "trials": len(seen)}
    folder.with_suffix(".json").write_text(json.dumps(told))
    for path in folder.iterdir():
        path.unlink()
    if best:
        (folder / "model.onnx").write_bytes(best["file"])
        (folder / "form.pickle").write_bytes(pickle.dumps((form, given.labels if classes else ())))
    return f"{best.get('name', 'nothing')} after {len(seen)} trials"


def exported(model: Any, columns: int, classes: bool) -> bytes:
    """The ONNX file of a pipeline."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    options = {"zipmap": False} if classes else None
    made = convert_sklearn(model, initial_types=[("rows", FloatTensorType([None, columns]))], options=options)
    return bytes(made.SerializeToString())


def session(file: bytes | str) -> Any:
    """Of ONNX Runtime, with the threads that are allowed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run(file: bytes, rows: Array, classes: bool) -> Array:
    """Probabilities (n, classes), or numbers (n, 1)."""
    found = session(file).run(None, {"rows": rows})
    return np.asarray(found[1] if classes else np.reshape(found[0], (-1, 1)), np.float32)


def qualities(outputs: Array, truths: Array, classes: bool, labels: int) -> dict[str, float]:
    """On validation, as they are; no interval."""
    if not classes:
        return {"rmse": float(np.sqrt(np.square(outputs[:, 0] - truths).mean()))}
    right = outputs.argmax(1) == truths
    worst = min((float(right[truths == one].mean()) for one in range(labels) if (truths == one).any()), default=0.0)
    return {"accuracy": float(right.mean()), "accuracy.per_class_min": worst}


def costs(file: bytes, form: Form, raws: list[bytes], limits: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Of this file in this process; memory and cold start in a new one where they are limited."""
    form_bytes = pickle.dumps((form, ()))
    found = {"size_mb": (len(file) + len(form_bytes)) / 1e6}
    opened, spent = session(file), []
    for number in range(CALLS + 10):
        begun = time.perf_counter()
        opened.run(None, {"rows": form.rows([raws[number % len(raws)]])})
        spent.append((time.perf_counter() - begun) * 1e3)
    found["latency_p95_ms"] = float(np.quantile(spent[10:], 0.95))
    found["throughput_per_s"] = 1e3 / float(np.mean(spent[10:]))
    if {"memory_peak_mb", "cold_start_ms"} & set(limits):
        (folder / "model.onnx").write_bytes(file)
        (folder / "form.pickle").write_bytes(form_bytes)
        (folder / "raw").write_bytes(raws[0])
        code = ANEW.format(paths=[str(Path(__file__).parent), CHILD], here=str(folder))
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found |= {"memory_peak_mb": float(done.stdout), "cold_start_ms": (time.perf_counter() - begun) * 1e3}
    return found


def violations(found: Mapping[str, float], limits: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """By the limit's key, how far beyond it is, as a share; 0 or less where it is kept."""
    over = {}
    for metric, bounds in limits.items():
        for bound, asked in bounds.items():
            value = found[f"{metric}.{bound}"] if bound == "per_class_min" else found[metric]
            gap = value - asked if bound == "max" else asked - value
            over[f"limits.{metric}.{bound}"] = gap / max(abs(asked), 1e-9)
    return over


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """From an input's bytes to its label, or to a number."""
    form, labels = pickle.loads((folder / "form.pickle").read_bytes())
    opened = session(str(folder / "model.onnx"))

    def outputs(raws: list[bytes]) -> Array:
        found = opened.run(None, {"rows": form.rows(raws)})
        return np.asarray(found[1] if len(found) > 1 else np.reshape(found[0], (-1, 1)), np.float32)

    def answer(raw: bytes) -> Any:
        found = outputs([raw])[0]
        return labels[int(found.argmax())] if labels else float(found[0])

    return answer, outputs


SIDES = {"Optuna": (learn, load)}
