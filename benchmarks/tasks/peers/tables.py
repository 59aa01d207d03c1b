"""Pipelines for tables: a linear model, histogram boosting and a random forest of scikit-learn, and LightGBM.

Random search over all of them in turn until the time is over; the setting that is best on validation answers. A row is
read from its JSON object by a few lines of plain Python, which is kinder than a pandas frame per row: numbers as they
are, words as their place in the order of the mean truth (one column per word for the linear model).
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator], Any]
SHARED = 100  # words of a column that the linear model knows


class Rows:
    """From records to rows of numbers; learnt from train."""

    def __init__(self, records: list[Mapping[str, Any]], truths: Array, *, wide: bool) -> None:
        self.names = sorted({name for record in records for name in record})
        self.places: dict[str, dict[str, int]] = {}
        for name in self.names:
            cells = [record.get(name) for record in records]
            if all(cell is None or isinstance(cell, int | float) for cell in cells):
                continue
            seen: dict[str, list[float]] = {}
            for cell, truth in zip(cells, truths, strict=True):
                if cell is not None:
                    seen.setdefault(str(cell), []).append(float(truth))
            ordered = sorted(seen, key=lambda word: (float(np.mean(seen[word])), word))
            if wide:
                ordered = sorted(ordered, key=lambda word: -len(seen[word]))[:SHARED]
            self.places[name] = {word: number for number, word in enumerate(ordered)}
        self.wide = wide

    def row(self, record: Mapping[str, Any]) -> list[float]:
        """One record; what is missing or unknown is nan, or no word at all."""
        found: list[float] = []
        for name in self.names:
            cell, places = record.get(name), self.places.get(name)
            if places is None:
                found.append(float("nan") if cell is None or isinstance(cell, str) else float(cell))
            elif self.wide:
                words = [0.0] * len(places)
                if str(cell) in places:
                    words[places[str(cell)]] = 1.0
                found += words
            else:
                found.append(places.get(str(cell), float("nan")))
        return found

    def rows(self, records: list[Mapping[str, Any]]) -> Array:
        """All of them, (n, columns) float64."""
        return np.array([self.row(record) for record in records], np.float64)


def log_uniform(low: float, high: float) -> Draw:
    """Draws between two positive numbers, evenly by their logarithm."""
    return lambda chance: float(np.exp(chance.uniform(np.log(low), np.log(high))))


def one_of(*values: Any) -> Draw:
    """Draws one of several values."""
    return lambda chance: values[int(chance.integers(len(values)))]


def pipelines(classes: bool, threads: int) -> dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Draw]]]:
    """Name -> how it is made from a draw of its settings, and what they are drawn from."""
    import lightgbm
    from sklearn import ensemble, linear_model
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def linear(drawn: dict[str, Any]) -> Any:
        model = (
            linear_model.LogisticRegression(C=1 / drawn["penalty"], max_iter=2000)
            if classes
            else linear_model.Ridge(alpha=drawn["penalty"])
        )
        return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)

    kind = "Classifier" if classes else "Regressor"
    forest, boosting = getattr(ensemble, f"RandomForest{kind}"), getattr(ensemble, f"HistGradientBoosting{kind}")
    grown = getattr(lightgbm, f"LGBM{kind}")
    return {
        "linear": (linear, {"penalty": log_uniform(1e-4, 1e3)}),
        "HistGradientBoosting": (
            lambda drawn: boosting(max_iter=1000, early_stopping=True, random_state=0, **drawn),
            {
                "learning_rate": log_uniform(0.02, 0.3),
                "max_leaf_nodes": one_of(15, 31, 63, 127),
                "min_samples_leaf": one_of(5, 20, 50),
                "l2_regularization": log_uniform(1e-3, 10),
            },
        ),
        "LightGBM": (
            lambda drawn: grown(n_jobs=threads, subsample_freq=1, verbosity=-1, random_state=0, **drawn),
            {
                "n_estimators": one_of(100, 200, 400, 800),
                "learning_rate": log_uniform(0.02, 0.3),
                "num_leaves": one_of(15, 31, 63, 127),
                "min_child_samples": one_of(5, 20, 50),
                "subsample": one_of(0.7, 1.0),
                "colsample_bytree": one_of(0.6, 0.8, 1.0),
            },
        ),
        "RandomForest": (
            lambda drawn: forest(n_jobs=threads, random_state=0, **drawn),
            {
                "n_estimators": one_of(100, 200, 400),
                "max_features": one_of("sqrt", 0.3, 0.6, 1.0),
                "min_samples_leaf": one_of(1, 2, 5),
            },
        ),
    }


def learn(given: Any, folder: Path) -> str:
    """Random search; the names in turn, one setting each."""
    classes = given.truth == "class"
    records = {split: [json.loads(raw) for raw in given.raws(split)] for split in ("train", "validation")}
    truths = {split: given.truths(split) for split in records}
    forms = {wide: Rows(records["train"], truths["train"], wide=wide) for wide in (False, True)}
    tables = {wide: {split: form.rows(records[split]) for split in records} for wide, form in forms.items()}
    offered, chance = pipelines(classes, given.threads), np.random.default_rng(given.seed)
    best, best_value, chosen, tried = None, -np.inf, "", 0
    while best is None or not given.over:
        name = list(offered)[tried % len(offered)]
        make, settings = offered[name]
        table = tables[name == "linear"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make({key: draw(chance) for key, draw in settings.items()}).fit(table["train"], truths["train"])
            wrong = model.predict(table["validation"]) - truths["validation"]
        value = float((wrong == 0).mean()) if classes else -float(np.square(wrong).mean())
        tried += 1
        if value > best_value:
            best, best_value, chosen = model, value, name
    for part in (best, *(step for _, step in getattr(best, "steps", ()))):
        if "n_jobs" in part.get_params():
            part.set_params(n_jobs=1)  # one row is answered fastest so
    kept = best, forms[chosen == "linear"], given.labels if classes else ()
    (folder / "model.pickle").write_bytes(pickle.dumps(kept))
    return f"{chosen}, best of {tried} settings"


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """From the JSON object to the label with its probability, or to the number."""
    model, form, labels = pickle.loads((folder / "model.pickle").read_bytes())
    warnings.simplefilter("ignore")  # LightGBM gave itself names of columns and misses them in an array

    def answer(raw: bytes) -> Any:
        row = np.array([form.row(json.loads(raw))])
        if not labels:
            return float(model.predict(row)[0])
        shares = model.predict_proba(row)[0]
        best = int(shares.argmax())
        return labels[best], float(shares[best])

    def outputs(raws: list[bytes]) -> Array:
        rows = form.rows([json.loads(raw) for raw in raws])
        return np.asarray(model.predict_proba(rows) if labels else model.predict(rows)[:, None], np.float32)

    return answer, outputs


SIDES = {"scikit-learn": (learn, load)}
