"""What one would otherwise take for faces: eigenfaces, local binary patterns, a softmax network.

pca: scikit-learn's PCA of 32 × 32 grey pixels, 100 whitened components (eigenfaces, Turk and Pentland 1991).
lbp: uniform local binary patterns in 8 × 8 cells (Ahonen et al. 2006), square roots of histograms. Learns nothing.
softmax: a residual network trained as classifier with Adam, its last features, in eager PyTorch; 64 × 64 pixels,
    flipped and shifted at random.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Loaded = tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]
BATCH, LARGEST_SHIFT = 32, 4


def grey(raw: bytes, side: int) -> Array:
    """A picture's bytes as (side, side) float32 of 0 to 255."""
    from PIL import Image

    picture = Image.open(io.BytesIO(raw)).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture).astype(np.float32)


def loaded(embed: Callable[[bytes], Array]) -> Loaded:
    """What is timed is the embedding itself; it is compared by cosine."""
    return embed, lambda raws: np.stack([embed(raw) for raw in raws])


def learn_pca(given: Any, folder: Path) -> str:
    """Components of train."""
    from sklearn.decomposition import PCA

    rows = np.stack([grey(raw, 32).ravel() for raw in given.raws("train")])
    found = PCA(n_components=min(100, len(rows) - 1), whiten=True, random_state=given.seed).fit(rows)
    (folder / "model.pickle").write_bytes(pickle.dumps(found))
    return f"{found.n_components_} components"


def load_pca(folder: Path) -> Loaded:
    """Projection."""
    found = pickle.loads((folder / "model.pickle").read_bytes())
    return loaded(lambda raw: found.transform(grey(raw, 32).ravel()[None])[0])


def learn_lbp(given: Any, folder: Path) -> str:
    """Nothing."""
    return "learns nothing"


def load_lbp(folder: Path) -> Loaded:
    """8 neighbours at radius 1."""
    codes = np.array([[(number >> bit) & 1 for bit in range(8)] for number in range(256)])
    uniform = np.abs(np.diff(np.concatenate([codes, codes[:, :1]], 1), axis=1)).sum(1) <= 2
    bins = np.where(uniform, np.cumsum(uniform) - 1, int(uniform.sum()))  # 58 patterns, and one bin for the rest
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]

    def one(raw: bytes) -> Array:
        face = grey(raw, 66)
        middle = face[1:-1, 1:-1]
        code = np.zeros((64, 64), np.int64)
        for bit, (y, x) in enumerate(around):
            code |= (face[y : y + 64, x : x + 64] >= middle).astype(np.int64) << bit
        cells = bins[code].reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64)
        roots: Array = np.sqrt(np.stack([np.bincount(cell, minlength=59) for cell in cells]).ravel())
        return roots - roots.mean()

    return loaded(one)


def network() -> Any:
    """Grey (n, 1, 64, 64) in 0..1 to features (n, 128)."""
    import torch
    from torch import nn

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
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def learn_softmax(given: Any, folder: Path) -> str:
    """Name the people of train, as tutorials do it."""
    import torch
    from torch import nn

    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    body = network()
    truths = torch.from_numpy(np.unique(given.truths("train"), return_inverse=True)[1])
    head = nn.Linear(128, int(truths.max()) + 1)
    faces = torch.from_numpy(np.stack([grey(raw, 64) for raw in given.raws("train")]))[:, None] / 255
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-3)
    steps = 0
    while not given.over or not steps:
        chosen = torch.randint(0, len(faces), (BATCH,))
        batch = faces[chosen]
        batch = batch.flip(3) if torch.rand(()) < 0.5 else batch
        batch = batch.roll(tuple(torch.randint(-LARGEST_SHIFT, LARGEST_SHIFT + 1, (2,)).tolist()), (2, 3))
        loss = nn.functional.cross_entropy(head(body(batch)), truths[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    torch.save(body.state_dict(), folder / "weights.pt")
    return f"{steps} steps"


def load_softmax(folder: Path) -> Loaded:
    """Eager, on one thread."""
    import torch

    torch.set_num_threads(1)
    body = network()
    body.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    body.eval()

    def embed(raw: bytes) -> Array:
        with torch.inference_mode():
            found: Array = body(torch.from_numpy(grey(raw, 64))[None, None] / 255)[0].numpy()
            return found

    return loaded(embed)


SIDES = {
    "pca": (learn_pca, load_pca),
    "lbp": (learn_lbp, load_lbp),
    "softmax": (learn_softmax, load_softmax),
}
