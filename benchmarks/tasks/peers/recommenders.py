"""Recommenders in NumPy and SciPy that hold what their papers hold, the best setting on validation.

neighbours: popularity, and cosine with shrinkage over the 20, 100 or all nearest items (Sarwar et al. 2001).
ease: the whole item-item matrix in closed form (Steck 2019, arXiv:1905.03375).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from items import Array, Met, Scores, listing

REGULARISATIONS = (200.0, 500.0, 100.0, 1000.0, 50.0)


def neighbours(given: Any, folder: Path) -> str:
    """Popularity, then neighbours from the usual setting on."""
    from scipy.sparse import csr_matrix, save_npz

    met = Met(given)
    matrix = met.matrix
    counts = np.asarray(matrix.sum(0)).ravel()

    def offered() -> Iterator[tuple[str, Scores, Any]]:
        yield "popular items", lambda history, user: counts, csr_matrix(counts[None])
        both = (matrix.T @ matrix).toarray()
        for shrinkage in (10.0, 0.0, 50.0):
            similar = both / np.maximum(np.sqrt(counts[:, None] * counts[None]) + shrinkage, 1e-9)
            np.fill_diagonal(similar, 0)
            for kept in (len(counts), 100, 20):
                near = similar
                if kept < len(counts):
                    edge = -np.partition(-similar, kept, axis=0)[kept]
                    near = np.where(similar > edge, similar, 0)
                sparse = csr_matrix(near)
                yield f"{kept} neighbours, shrinkage {shrinkage:g}", summed(sparse), sparse

    name, parts, tried = met.choose(given, offered())
    save_npz(folder / "similar.npz", parts, compressed=False)
    (folder / "names.json").write_text(json.dumps(met.names), encoding="utf-8")
    return f"{name}, best of {tried} settings"


def summed(similar: Any) -> Scores:
    """The rows of a user's items, summed; one row alone is popularity."""
    if similar.shape[0] == 1:
        counts = np.asarray(similar.todense()).ravel()
        return lambda history, user: counts
    return lambda history, user: np.asarray(similar[history].sum(0)).ravel()


def load_neighbours(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """Sums of sparse rows."""
    from scipy.sparse import load_npz

    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return listing(summed(load_npz(folder / "similar.npz").tocsr()), names)


def ease(given: Any, folder: Path) -> str:
    """The closed form over all items, at as many strengths as there is time for."""
    met = Met(given)
    gram = (met.matrix.T @ met.matrix).toarray().astype(np.float32)

    def offered() -> Iterator[tuple[str, Scores, Any]]:
        for strength in REGULARISATIONS:
            inverse = np.linalg.inv(gram + strength * np.eye(len(gram), dtype=np.float32))
            weights = inverse / -np.diag(inverse)
            np.fill_diagonal(weights, 0)
            yield f"regularisation {strength:g}", rows_of(weights), weights

    name, parts, tried = met.choose(given, offered())
    np.save(folder / "weights.npy", parts)
    (folder / "names.json").write_text(json.dumps(met.names), encoding="utf-8")
    return f"{name}, best of {tried} settings"


def rows_of(weights: Array) -> Scores:
    """The rows of a user's items, summed."""

    def scores(history: Sequence[int], user: str) -> Array:
        found: Array = weights[history].sum(0)
        return found

    return scores


def load_ease(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """The matrix in memory."""
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    return listing(rows_of(np.load(folder / "weights.npy")), names)


SIDES = {"neighbours": (neighbours, load_neighbours), "ease": (ease, load_ease)}
