"""Pipelines for texts: TF-IDF of words and pairs of words, or of characters, then logistic regression or a linear SVM.

Characters are sequences of 1 to 3 for scripts without spaces, of 2 to 5 within words for others. Each pipeline is tried
at its usual strength first, then all at further ones until the time is over; what is best on validation answers.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
STRENGTHS = (1.0, 0.3, 3.0, 10.0, 0.1, 30.0, 0.03)


def pipelines(unspaced: bool) -> dict[str, Callable[[float], Any]]:
    """Name -> pipeline at a strength."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    pieces: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 3)} if unspaced else {"analyzer": "char_wb", "ngram_range": (2, 5)}
    )
    forms: dict[str, dict[str, Any]] = {"words": {"ngram_range": (1, 2)}, "characters": pieces}
    return {
        f"{name} {kind}": lambda c, form=form, made=made: make_pipeline(
            TfidfVectorizer(sublinear_tf=True, **form), made(c)
        )
        for kind, made in (
            ("SVM", lambda c: LinearSVC(C=c)),
            ("logistic", lambda c: LogisticRegression(C=c, max_iter=1000)),
        )
        for name, form in forms.items()
    }


def learn(given: Any, folder: Path) -> str:
    """The usual strength of each, then the others."""
    texts = {split: [raw.decode() for raw in given.raws(split)] for split in ("train", "validation")}
    truths = {split: given.truths(split) for split in texts}
    best, best_value, chosen, tried = None, -1.0, "", 0
    for strength in STRENGTHS:
        for name, make in pipelines(bool(given.facts.get("unspaced"))).items():
            if best is not None and given.over:
                break
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = make(strength).fit(texts["train"], truths["train"])
            value = float((model.predict(texts["validation"]) == truths["validation"]).mean())
            tried += 1
            if value > best_value:
                best, best_value, chosen = model, value, f"{name}, C={strength:g}"
    (folder / "model.pickle").write_bytes(pickle.dumps((best, given.labels)))
    return f"{chosen}, best of {tried} settings"


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """From a text's bytes to its label; outputs are 1 for the class named and 0 for the others."""
    model, labels = pickle.loads((folder / "model.pickle").read_bytes())

    def outputs(raws: list[bytes]) -> Array:
        named = model.predict([raw.decode() for raw in raws])
        return np.eye(len(labels), dtype=np.float32)[named]

    return lambda raw: labels[int(model.predict([raw.decode()])[0])], outputs


SIDES = {"scikit-learn": (learn, load)}
