"""The ``implicit`` package: alternating least squares, BPR, and its item neighbours; the best setting on validation.

ALS (Hu et al. 2008) folds a history in as it is asked for. BPR (Rendle et al. 2009) knows the users of train only: it
is asked for them by name, and takes the mean of the items' factors for others.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from items import Array, Met, Scores, listing


def learn(given: Any, folder: Path) -> str:
    """The usual setting of each kind first."""
    met = Met(given)
    matrix = met.matrix
    users = {user: place for place, user in enumerate(met.users)}

    def offered() -> Iterator[tuple[str, Scores, Any]]:
        for kind, settings in tries():
            model = made(kind, settings, given)
            model.fit(matrix, show_progress=False)
            parts = parts_of(kind, model, settings, users)
            yield f"{kind} {', '.join(f'{key} {value:g}' for key, value in settings.items())}", scored(parts), parts

    name, parts, tried = met.choose(given, offered())
    (folder / "model.pickle").write_bytes(pickle.dumps((parts, met.names)))
    return f"{name}, best of {tried} settings"


def tries() -> Iterator[tuple[str, dict[str, float]]]:
    """Settings, kinds in turn."""
    for alpha, ridge, rate, near in ((10, 10, 0.05, 100), (10, 100, 0.01, 20), (1, 10, 0.1, 500), (40, 100, 0.02, 50)):
        yield "ALS", {"alpha": alpha, "regularization": ridge}
        yield "BPR", {"learning_rate": rate}
        yield "cosine", {"K": near}
        yield "BM25", {"K": near}


def made(kind: str, settings: Mapping[str, float], given: Any) -> Any:
    """A model of the package; 64 factors."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

    common = {"num_threads": given.threads, "random_state": given.seed}
    if kind == "ALS":
        return AlternatingLeastSquares(64, use_gpu=False, **settings, **common)
    if kind == "BPR":
        return BayesianPersonalizedRanking(64, iterations=200, use_gpu=False, **settings, **common)
    neighbours = {"cosine": CosineRecommender, "BM25": BM25Recommender}[kind]
    return neighbours(K=int(settings["K"]), num_threads=given.threads)


def parts_of(kind: str, model: Any, settings: Mapping[str, float], users: Mapping[str, int]) -> dict[str, Any]:
    """What answering takes, without what training took."""
    if kind in ("cosine", "BM25"):
        return {"similar": model.similarity.astype(np.float32).tocsr()}
    items = np.asarray(model.item_factors, np.float32)
    if kind == "BPR":
        return {"items": items, "people": np.asarray(model.user_factors, np.float32), "users": dict(users)}
    ridge = settings["regularization"] * np.eye(items.shape[1], dtype=np.float32)
    return {"items": items, "gram": items.T @ items + ridge, "alpha": settings["alpha"]}


def scored(parts: Mapping[str, Any]) -> Scores:
    """Scores of all items for a history, by the model's own formula."""
    if "similar" in parts:
        similar = parts["similar"]
        return lambda history, user: np.asarray(similar[history].sum(0)).ravel()
    items = parts["items"]

    def by_factors(history: Sequence[int], user: str) -> Array:
        if "people" in parts:
            place = parts["users"].get(user)
            found: Array = items @ (items[history].mean(0) if place is None else parts["people"][place])
            return found
        mine, alpha = items[history], parts["alpha"]
        # The package weighs what was met by alpha, not by 1 + alpha as the paper does (implicit.als, user_factor).
        person = np.linalg.solve(parts["gram"] + (alpha - 1) * mine.T @ mine, alpha * mine.sum(0))
        return np.asarray(items @ person)

    return by_factors


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """The formula over its matrices."""
    parts, names = pickle.loads((folder / "model.pickle").read_bytes())
    return listing(scored(parts), names)


SIDES = {"implicit": (learn, load)}
