"""A package for faces against what one would otherwise take: eigenfaces, local binary patterns, a softmax network.

Claim: of people never seen, the package accepts far more at equal false accepts than eigenfaces and binary patterns, no
less than a softmax network, and answers several times as fast as that in eager PyTorch. Each side is a fresh process
with the same pinned threads that learns from the same people at most (the package: without those of its validation),
embeds the same test pictures from the bytes of their files, and is judged by the same scores and by the published list
of pairs (ten folds, best threshold of the other nine).

    python benchmarks/tasks/face_recognition.py RUN/package --seconds 60

Peers:
    pca: scikit-learn PCA of 32 × 32 grey pixels, 100 whitened components, cosine (eigenfaces).
    lbp: own reference of uniform local binary patterns in 8 × 8 cells (Ahonen et al. 2006), square roots of
        histograms, cosine. Learns nothing.
    softmax: a residual network trained as classifier with Adam for ``--seconds``, its last features compared by
        cosine, in eager PyTorch. Same pictures, 64 × 64, flipped and shifted at random.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "orl_faces"
PEERS = ("package", "pca", "lbp", "softmax")
TIMED, WARM = 400, 50
FIRST_TESTED = 20  # subjects 20 to 39 are those of the list of pairs

Array = np.ndarray[Any, np.dtype[Any]]
Embed = Callable[[Sequence[bytes]], Array]


def main() -> None:
    """Run every side in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=PEERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(judged(given)))
        return
    rows = [_in_process(given, side) for side in PEERS]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
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


def judged(given: argparse.Namespace) -> dict[str, Any]:
    """One side: made, asked, judged and timed in this process."""
    import resource

    from sartor import registry
    from sartor.catalog.tasks._faces_pairs import similarities
    from sartor.catalog.tasks._faces_scores import fold_accuracy
    from sartor.media.image import to_png
    from sartor.reading.faces import read_pairs

    with np.load(given.data / "orl_faces.npz") as archive:
        pictures, people = archive["images"], archive["subject"].astype(np.int64)
    test = np.flatnonzero(people >= FIRST_TESTED)
    raws = [to_png(pictures[number]) for number in test]
    started = time.perf_counter()
    embed, size = SIDES[given.side](pictures[people < FIRST_TESTED], people[people < FIRST_TESTED], given)
    made = time.perf_counter() - started
    outputs = np.concatenate([embed([raw]) for raw in raws])
    for turn in range(WARM):
        embed([raws[turn % len(raws)]])
    times = []
    for turn in range(TIMED):
        before = time.perf_counter()
        embed([raws[turn % len(raws)]])
        times.append(time.perf_counter() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # before judging, which is no part of a side

    task = registry.get("tasks", "face-recognition")
    scores = task.score(outputs, people[test], [str(number) for number in range(people.max() + 1)], 0.95)

    position = {int(number): place for place, number in enumerate(test)}
    pairs = read_pairs(given.data / "verification_pairs_subjects20-39.csv")
    left, right = (np.array([position[int(getattr(pair, side))] for pair in pairs]) for side in ("left", "right"))
    same, folds = np.array([pair.same for pair in pairs]), np.array([pair.fold for pair in pairs])
    accuracy, deviation = fold_accuracy(similarities(outputs, left, right), same, folds)
    values = {
        name: f"{scores.values[name][0]:.3f} ({scores.values[name][1]:.3f} … {scores.values[name][2]:.3f})"
        for name in ("tar_at_far_0_01", "tar_at_far_0_001", "auc", "eer", "rank_1")
    }
    p50, p95 = (float(np.quantile(times, q)) * 1e3 for q in (0.5, 0.95))
    return {
        "side": given.side, **values, "pairs_accuracy": f"{accuracy:.3f} ± {deviation:.3f}",
        "p50_ms": f"{p50:.3f}", "p95_ms": f"{p95:.3f}", "size_mb": f"{size / 1e6:.3f}",
        "peak_mb": f"{peak:.0f}", "made_s": f"{made:.1f}",
        "threads": given.threads, "seed": given.seed,
    }  # fmt: skip


def package(pictures: Array, people: Array, given: argparse.Namespace) -> tuple[Embed, int]:
    """The package, as it ships; what it learnt it learnt before."""
    import sartor

    model = sartor.load(given.package)
    size = sum(path.stat().st_size for path in given.package.iterdir() if path.suffix in (".onnx", ".bin", ".xml"))
    return lambda raws: np.asarray(model.outputs(raws)), size


def pca(pictures: Array, people: Array, given: argparse.Namespace) -> tuple[Embed, int]:
    """Eigenfaces as scikit-learn makes them."""
    from sklearn.decomposition import PCA

    found = PCA(n_components=100, whiten=True, random_state=given.seed)
    found.fit(np.stack([_grey(picture, 32).ravel() for picture in pictures]))
    size = found.components_.astype(np.float32).nbytes + found.mean_.astype(np.float32).nbytes
    return lambda raws: found.transform(np.stack([_grey(_decoded(raw), 32).ravel() for raw in raws])), size


def lbp(pictures: Array, people: Array, given: argparse.Namespace) -> tuple[Embed, int]:
    """Uniform local binary patterns of 8 neighbours at radius 1, in 8 × 8 cells of a 64 × 64 picture."""
    codes = np.array([[(number >> bit) & 1 for bit in range(8)] for number in range(256)])
    uniform = np.abs(np.diff(np.concatenate([codes, codes[:, :1]], 1), axis=1)).sum(1) <= 2
    bins = np.where(uniform, np.cumsum(uniform) - 1, int(uniform.sum()))  # 58 patterns, and one bin for the rest

    def one(raw: bytes) -> Array:
        face = _grey(_decoded(raw), 66)
        middle = face[1:-1, 1:-1]
        around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
        code = sum(
            (face[y : y + 64, x : x + 64] >= middle).astype(np.int64) << bit for bit, (y, x) in enumerate(around)
        )
        cells = bins[np.asarray(code)].reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64)
        histograms = np.stack([np.bincount(cell, minlength=59) for cell in cells])
        roots: Array = np.sqrt(histograms.ravel())
        return roots - roots.mean()

    return lambda raws: np.stack([one(raw) for raw in raws]), 0


def softmax(pictures: Array, people: Array, given: argparse.Namespace) -> tuple[Embed, int]:
    """A residual network trained to name the people of train, as tutorials do it."""
    import torch
    from torch import nn

    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.relu(x + self.body(x))
            return result

    layers: list[nn.Module] = []
    width = 1
    for wider in (32, 64, 128):
        layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU(), Block(wider)]
        width = wider
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Linear(width, len(np.unique(people)))
    faces = torch.from_numpy(np.stack([_grey(picture, 64) for picture in pictures]))[:, None] / 255
    truths = torch.from_numpy(np.unique(people, return_inverse=True)[1])
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-3)
    ends = time.perf_counter() + given.seconds
    while time.perf_counter() < ends:
        chosen = torch.randint(0, len(faces), (32,))
        batch = faces[chosen]
        batch = batch.flip(3) if torch.rand(()) < 0.5 else batch
        batch = batch.roll(tuple(torch.randint(-4, 5, (2,)).tolist()), (2, 3))
        loss = nn.functional.cross_entropy(head(body(batch)), truths[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    body.eval()
    size = 4 * sum(parameter.numel() for parameter in body.parameters())

    def embed(raws: Sequence[bytes]) -> Array:
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack([_grey(_decoded(raw), 64) for raw in raws]))[:, None] / 255
            found: Array = body(batch).numpy()
            return found

    return embed, size


SIDES: dict[str, Callable[[Array, Array, argparse.Namespace], tuple[Embed, int]]] = {
    "package": package, "pca": pca, "lbp": lbp, "softmax": softmax,
}  # fmt: skip


def _decoded(raw: bytes) -> Array:
    from sartor.media.image import decode

    return decode(raw)[..., 0]


def _grey(picture: Array, side: int) -> Array:
    """A grey picture (h, w) uint8 as (side, side) float32."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)).astype(np.float32)


if __name__ == "__main__":
    main()
