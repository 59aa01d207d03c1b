"""A package for recommendations against the usual peers: popularity, item-kNN, EASE, implicit ALS, SASRec.

Claim: on each user's last interaction the package's NDCG@10 is at least that of the best peer within noise, at a p95 at
least 5 × lower or a size at least 5 × smaller. Each side is a fresh process with the same pinned threads; it learns
from the same training part, chooses its settings on the same validation part within ``--seconds``, and answers the same
test users from the bytes of the same requests to a list of ten titles, one by one.

    python benchmarks/tasks/recommendation.py RUN/package --seconds 120

Peers, all own references in NumPy and SciPy or PyTorch that hold what their papers hold:
    popular: the most frequent items.
    knn: cosine with shrinkage, the whole item-item matrix, 20 to all neighbours (Sarwar et al. 2001).
    ease: the whole item-item matrix (Steck 2019, arXiv:1905.03375), regularisation 50 to 1000.
    als: weighted matrix factorisation, exact normal equations (Hu et al. 2008), 64 factors, users folded in exactly.
        ``--side implicit`` takes the ``implicit`` package instead, where it is installed.
    sasrec: Kang and McAuley 2018 (arXiv:1808.09781), its binary loss with one negative, 50 units, two blocks, the
        latest 50 items, Adam 1e-3, in eager PyTorch.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/movielens_latest_small/ratings_leave_last_out.parquet"
PEERS = ("package", "popular", "knn", "ease", "als", "sasrec")
TIMED, WARM, LISTED = 1000, 100, 100

Array = np.ndarray[Any, np.dtype[Any]]
Recommend = Callable[[bytes], tuple[Array, list[str]]]  # request -> (100, 2) numbers and scores, ten titles
Scores = Callable[[list[int]], Array]  # a history by number -> (items,) scores


@dataclass
class Data:
    """The split as every side sees it: histories by number, and the requests as bytes."""

    names: tuple[str, ...]
    train: list[list[int]]
    validation: list[tuple[list[int], list[int]]]
    requests: list[bytes]
    truths: list[bytes]

    @property
    def matrix(self) -> Any:
        """(users, items) sparse, 1 where met in train."""
        from scipy.sparse import csr_matrix

        lengths = [len(history) for history in self.train]
        columns = np.concatenate([np.array(history) for history in self.train])
        shape = (len(self.train), len(self.names))
        return csr_matrix((np.ones(len(columns), np.float32), columns, np.cumsum([0, *lengths])), shape)


def main() -> None:
    """Run every side in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seconds", type=float, default=120.0, help="each peer may take to learn and choose")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=(*PEERS, "implicit"), help="this one alone, in this process")
    given = parser.parse_args()
    if given.side:
        print(json.dumps(judged(given), ensure_ascii=False))
        return
    rows = [_in_process(given, side) for side in PEERS]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(verdict(rows))
    if given.out:
        with given.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _in_process(given: argparse.Namespace, side: str) -> dict[str, Any]:
    threads = str(given.threads)
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr.strip().splitlines()[-1]}")
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Whether the claim holds."""
    ours, others = rows[0], rows[1:]
    best = max(others, key=lambda row: row["ndcg_at_10"])
    level = ours["ndcg_high"] >= best["ndcg_at_10"]
    faster, smaller = best["p95_ms"] / ours["p95_ms"], best["size_mb"] / ours["size_mb"]
    word = "HOLDS" if level and max(faster, smaller) >= 5 else "FAILS"
    interval = f"{ours['ndcg_at_10']} ({ours['ndcg_low']} … {ours['ndcg_high']})"
    costs = f"{faster:.1f} × lower p95, {smaller:.1f} × smaller"
    return f"{word}   the best peer is {best['side']} with {best['ndcg_at_10']}, the package has {interval}; {costs}"


def judged(given: argparse.Namespace) -> dict[str, Any]:
    """One side: made, asked, judged and timed in this process."""
    import resource

    from sartor import registry

    data = load(given.data)
    started = time.perf_counter()
    if given.side == "package":
        recommend, size = package(given)
    else:
        scores, size = SIDES[given.side](data, given, started + given.seconds)
        recommend = listing(scores, data.names)
    made = time.perf_counter() - started
    outputs = np.stack([recommend(request)[0] for request in data.requests])
    found = registry.get("tasks", "recommendation").score(outputs, data.truths, data.names, 0.95).values
    times = []
    for turn in range(WARM + TIMED):
        request = data.requests[turn % len(data.requests)]
        before = time.perf_counter()
        recommend(request)
        times.append(time.perf_counter() - before)
    p50, p95 = (float(np.quantile(times[WARM:], q)) * 1e3 for q in (0.5, 0.95))
    value, low, high = (round(number, 4) for number in found["ndcg_at_10"])
    return {
        "side": given.side, "ndcg_at_10": value, "ndcg_low": low, "ndcg_high": high,
        "hit_rate_at_10": round(found["hit_rate_at_10"][0], 4), "coverage": round(found["coverage"][0], 4),
        "p50_ms": round(p50, 3), "p95_ms": round(p95, 3), "size_mb": round(size / 1e6, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3), "made_s": round(made, 1),
        "threads": given.threads, "seed": given.seed,
    }  # fmt: skip


def load(path: Path) -> Data:
    """The parts as the task reads them."""
    from sartor import registry
    from sartor.types import DataSource

    parts = {part.split: part for part in registry.get("tasks", "recommendation").read(DataSource(str(path)))}
    number = {name: place for place, name in enumerate(parts["train"].names)}
    samples = {split: list(part.samples) for split, part in parts.items()}

    def pairs(split: str) -> Iterator[tuple[list[int], list[int]]]:
        for sample in samples[split]:
            history = _history(sample.raw or b"", number)
            yield history, [number[item] for item in json.loads(sample.truth or b"")["items"] if item in number]

    return Data(
        parts["train"].names,
        [done for _, done in pairs("train")],
        list(pairs("validation")),
        [sample.raw or b"" for sample in samples["test"]],
        [sample.truth or b"" for sample in samples["test"]],
    )


def _history(request: bytes, number: dict[str, int]) -> list[int]:
    names = [entry if isinstance(entry, str) else entry[0] for entry in json.loads(request)["history"]]
    return [number[name] for name in names if name in number]


def listing(scores: Scores, names: Sequence[str]) -> Recommend:
    """From bytes to a list of titles, as a service would: parse, score, leave out what was met, sort the head."""
    number = {name: place for place, name in enumerate(names)}

    def recommend(request: bytes) -> tuple[Array, list[str]]:
        history = _history(request, number)
        found = np.array(scores(history), np.float32)
        found[history] = -1e9
        best = np.argpartition(-found, LISTED)[:LISTED]
        best = best[np.argsort(-found[best], kind="stable")]
        return np.stack([best.astype(np.float32), found[best]], 1), [names[item] for item in best[:10]]

    return recommend


def ndcg(scores: Scores, data: Data) -> float:
    """On validation; every user has one item there, or none that train knows."""
    total = 0.0
    for history, wanted in data.validation:
        if wanted:
            found = np.array(scores(history), np.float32)
            found[history] = -1e9
            rank = int((found > found[wanted[0]]).sum())
            total += 1 / np.log2(rank + 2) if rank < 10 else 0.0
    return total / len(data.validation)


def chosen(data: Data, ends: float, candidates: Iterator[tuple[Scores, int]]) -> tuple[Scores, int]:
    """The best on validation of those there was time for."""
    best: tuple[float, Scores, int] | None = None
    for scores, size in candidates:
        value = ndcg(scores, data)
        if best is None or value > best[0]:
            best = (value, scores, size)
        if time.perf_counter() > ends:
            break
    assert best is not None
    return best[1:]


def package(given: argparse.Namespace) -> tuple[Recommend, int]:
    """The package, as it ships; what it learnt it learnt before."""
    from sartor.pipeline import Predictor

    model = Predictor(given.package)
    size = sum(path.stat().st_size for path in given.package.iterdir() if path.suffix in (".onnx", ".bin"))

    def recommend(request: bytes) -> tuple[Array, list[str]]:
        answers, outputs = model.answers([request])
        return outputs[0], [item["label"] for item in answers[0]["top"]]

    return recommend, size


def popular(data: Data, given: argparse.Namespace, ends: float) -> tuple[Scores, int]:
    """How often each item was met."""
    counts = np.asarray(data.matrix.sum(0)).ravel()
    return lambda history: counts, counts.nbytes


def knn(data: Data, given: argparse.Namespace, ends: float) -> tuple[Scores, int]:
    """Sum of the rows of a user's items."""
    matrix = data.matrix
    counts = np.asarray(matrix.sum(0)).ravel()
    both = (matrix.T @ matrix).toarray()

    def candidates() -> Iterator[tuple[Scores, int]]:
        for shrinkage in (0.0, 10.0, 50.0):
            similar = both / (np.sqrt(counts[:, None] * counts[None]) + shrinkage)
            np.fill_diagonal(similar, 0)
            for kept in (None, 100, 20):
                near = similar
                if kept:
                    edge = -np.partition(-similar, kept, axis=0)[kept]
                    near = np.where(similar > edge, similar, 0)
                yield (lambda history, near=near: near[history].sum(0)), near.nbytes

    return chosen(data, ends, candidates())


def ease(data: Data, given: argparse.Namespace, ends: float) -> tuple[Scores, int]:
    """The closed form over all items."""
    gram = (data.matrix.T @ data.matrix).toarray().astype(np.float32)

    def candidates() -> Iterator[tuple[Scores, int]]:
        for regularisation in (200.0, 100.0, 500.0, 50.0, 1000.0):
            inverse = np.linalg.inv(gram + regularisation * np.eye(len(gram), dtype=np.float32))
            weights = inverse / -np.diag(inverse)
            np.fill_diagonal(weights, 0)
            yield (lambda history, weights=weights: weights[history].sum(0)), weights.nbytes

    return chosen(data, ends, candidates())


def als(data: Data, given: argparse.Namespace, ends: float, factors: int = 64) -> tuple[Scores, int]:
    """Alternating least squares with exact solutions, 15 sweeps."""
    matrix = data.matrix
    transposed = matrix.T.tocsr()

    def solved(fixed: Array, rows: Any, alpha: float, ridge: float) -> Array:
        gram = fixed.T @ fixed + ridge * np.eye(factors, dtype=np.float32)
        answer = np.zeros((rows.shape[0], factors), np.float32)
        for row in range(rows.shape[0]):
            met = fixed[rows.indices[rows.indptr[row] : rows.indptr[row + 1]]]
            answer[row] = np.linalg.solve(gram + alpha * met.T @ met, (1 + alpha) * met.sum(0))
        return answer

    def candidates() -> Iterator[tuple[Scores, int]]:
        for alpha, ridge in ((10.0, 10.0), (10.0, 100.0), (1.0, 10.0), (40.0, 100.0)):
            generator = np.random.default_rng(given.seed)
            items = (generator.standard_normal((len(data.names), factors)) * 0.1).astype(np.float32)
            for _ in range(15):
                users = solved(items, matrix, alpha, ridge)
                items = solved(users, transposed, alpha, ridge)
            gram = items.T @ items + ridge * np.eye(factors, dtype=np.float32)
            yield folded(items, gram, alpha), items.nbytes

    return chosen(data, ends, candidates())


def folded(items: Array, gram: Array, alpha: float) -> Scores:
    """Users as the exact solution for their history."""

    def scores(history: list[int]) -> Array:
        met = items[history]
        user: Array = items @ np.linalg.solve(gram + alpha * met.T @ met, (1 + alpha) * met.sum(0))
        return user

    return scores


def implicit(data: Data, given: argparse.Namespace, ends: float) -> tuple[Scores, int]:
    """The ``implicit`` package's ALS, its factors folded in as above."""
    from implicit.als import AlternatingLeastSquares

    def candidates() -> Iterator[tuple[Scores, int]]:
        for alpha, ridge in ((10.0, 10.0), (10.0, 100.0), (1.0, 10.0), (40.0, 100.0)):
            model = AlternatingLeastSquares(64, regularization=ridge, alpha=alpha, random_state=given.seed)
            model.fit(data.matrix, show_progress=False)
            items = np.asarray(model.item_factors)
            yield folded(items, items.T @ items + ridge * np.eye(64, dtype=np.float32), alpha), items.nbytes

    return chosen(data, ends, candidates())


def sasrec(data: Data, given: argparse.Namespace, ends: float) -> tuple[Scores, int]:
    """As published, as long as there is time; the best of what validation saw."""
    import torch
    from torch import nn

    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    length, width, items = 50, 50, len(data.names)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items, self.places = nn.Embedding(items + 1, width, padding_idx=0), nn.Embedding(length, width)
            self.attention = nn.ModuleList(nn.MultiheadAttention(width, 1, 0.5, batch_first=True) for _ in range(2))
            self.wide = nn.ModuleList(
                nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, width))
                for _ in range(2)
            )
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
            self.drop = nn.Dropout(0.5)
            self.later = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)

        def forward(self, history: torch.Tensor) -> torch.Tensor:
            there = (history > 0)[:, :, None]
            x = self.drop(self.items(history) * width**0.5 + self.places.weight) * there
            for block in range(2):
                query = self.norms[2 * block](x)
                x = query + self.attention[block](query, x, x, attn_mask=self.later, need_weights=False)[0]
                x = self.norms[2 * block + 1](x)
                x = (x + self.drop(self.wide[block](x))) * there
            found: torch.Tensor = self.norms[4](x)
            return found

    def padded(history: list[int]) -> list[int]:
        latest = [item + 1 for item in history[-length:]]
        return [0] * (length - len(latest)) + latest

    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, betas=(0.9, 0.98))
    given_rows = torch.tensor([padded(history[:-1]) for history in data.train])
    wanted_rows = torch.tensor([padded(history) for history in data.train])

    def scores(history: list[int]) -> Array:
        with torch.inference_mode():
            last = network(torch.tensor([padded(history)]))[0, -1]
            found: Array = (network.items.weight[1:] @ last).numpy()
            return found

    best, kept, looked = -1.0, network.state_dict(), time.perf_counter()
    while time.perf_counter() < ends:
        network.train()
        rows = torch.randperm(len(given_rows))[:128]
        states, right = network(given_rows[rows]), wanted_rows[rows]
        wrong = torch.randint(1, items + 1, right.shape)
        counted = right > 0
        logits = [(states * network.items(one)).sum(2)[counted] for one in (right, wrong)]
        loss = nn.functional.softplus(-logits[0]).mean() + nn.functional.softplus(logits[1]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if time.perf_counter() - looked > given.seconds / 12:
            network.eval()
            value = ndcg(scores, data)
            if value > best:
                best, kept = value, {name: tensor.clone() for name, tensor in network.state_dict().items()}
            looked = time.perf_counter()
    network.load_state_dict(kept)
    network.eval()
    return scores, sum(4 * parameter.numel() for parameter in network.parameters())


SIDES: dict[str, Callable[[Data, argparse.Namespace, float], tuple[Scores, int]]] = {
    "popular": popular, "knn": knn, "ease": ease, "als": als, "implicit": implicit, "sasrec": sasrec,
}  # fmt: skip


if __name__ == "__main__":
    main()
