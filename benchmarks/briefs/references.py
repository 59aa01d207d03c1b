"""What scikit-learn makes of rows, texts and pictures in a second or two: a linear model, and the best of a few."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from briefs.facts import Array, Facts, accuracy_proven, fastest_ms, p95_ms, pickled_mb, rmse_proven
from sartor.media.image import decode

Decode = Callable[[bytes], Any]
Model = tuple[str, Any]


def of_classes(
    decoder: Decode, raws: tuple[list[bytes], list[bytes]], truths: tuple[Array, Array], models: Sequence[Model]
) -> Facts:
    """Facts of a classification; ``models`` take what the decoder gives, the first is the light one."""
    shares = np.unique(truths[0], return_counts=True)
    common = shares[0][shares[1].argmax()]
    found = _fitted(decoder, raws[0], truths[0], models)
    tests = [decoder(raw) for raw in raws[1]]
    proven = {name: accuracy_proven(model.predict(_stack(tests)), truths[1]) for name, model in found}
    trivial = float((truths[1] == common).mean())
    return _facts("accuracy", decoder, raws[1], found, proven, trivial, lower=False)


def of_numbers(
    decoder: Decode, raws: tuple[list[bytes], list[bytes]], truths: tuple[Array, Array], models: Sequence[Model]
) -> Facts:
    """Facts of a regression."""
    found = _fitted(decoder, raws[0], truths[0], models)
    tests = [decoder(raw) for raw in raws[1]]
    proven = {name: rmse_proven(model.predict(_stack(tests)), truths[1]) for name, model in found}
    trivial = float(np.sqrt(np.square(truths[1] - truths[0].mean()).mean()))
    return _facts("rmse", decoder, raws[1], found, proven, trivial, lower=True)


def _facts(
    metric: str,
    decoder: Decode,
    tests: list[bytes],
    found: Sequence[Model],
    proven: dict[str, float],
    trivial: float,
    *,
    lower: bool,
) -> Facts:
    (name, light), best = found[0], (min if lower else max)(proven, key=proven.__getitem__)
    return Facts(
        metric,
        lower,
        trivial,
        proven[name],
        proven[best],
        fastest_ms(decoder, tests[:50]),
        p95_ms(lambda raw: light.predict(_stack([decoder(raw)])), tests[:200]),
        pickled_mb(light),
        told=f"scikit-learn: {name} and, best on test, {best}",
    )


def _fitted(decoder: Decode, raws: list[bytes], truths: Array, models: Sequence[Model]) -> list[Model]:
    inputs = _stack([decoder(raw) for raw in raws])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(name, model.fit(inputs, truths)) for name, model in models]


def _stack(rows: list[Any]) -> Any:
    return rows if isinstance(rows[0], str) else np.stack(rows)


def pixels(raw: bytes) -> Array:
    """A picture as numbers in 0 … 1, every second row and column of those beyond 16 pixels."""
    shown = decode(raw)
    step = 2 if shown.shape[0] > 16 else 1
    found: Array = shown[::step, ::step].astype(np.float32).reshape(-1) / 255
    return found


def text(raw: bytes) -> str:
    """Bytes as text."""
    return raw.decode()


def row(raw: bytes) -> Array:
    """The numbers of a JSON object, in its order; a word becomes a number of its own."""
    cells = json.loads(raw).values()
    return np.array([zlib.crc32(one.encode()) % 997 if isinstance(one, str) else one for one in cells], np.float64)


def picture_models() -> list[Model]:
    """For pictures of a few hundred pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    return [("logistic regression", LogisticRegression(max_iter=60)), ("SVM, RBF", SVC(C=5, gamma="scale"))]


def text_models(*, unspaced: bool = False) -> list[Model]:
    """For texts of scripts with and without spaces."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    form: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 2)} if unspaced else {"ngram_range": (1, 1)}
    return [
        ("TF-IDF, logistic regression", make_pipeline(TfidfVectorizer(**form), LogisticRegression(max_iter=200))),
        ("TF-IDF, SVM", make_pipeline(TfidfVectorizer(sublinear_tf=True, **form), LinearSVC())),
    ]


def row_models(*, classes: bool) -> list[Model]:
    """For rows of numbers."""
    from sklearn import ensemble, linear_model
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plain = linear_model.LogisticRegression(max_iter=500) if classes else linear_model.Ridge()
    kind = "Classifier" if classes else "Regressor"
    return [
        ("linear", make_pipeline(StandardScaler(), plain)),
        ("histogram boosting", getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=0)),
        ("random forest", getattr(ensemble, f"RandomForest{kind}")(100, random_state=0)),
    ]
