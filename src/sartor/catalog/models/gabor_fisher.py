"""Gabor filters and a Fisher discriminant: no gradient, and the best there is where few people are to learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_NATURAL_SIDE = 48  # pixels: the filters see eyes, nose and mouth at this size
_SMALLEST_SIDE = 24
_KERNEL, _STRIDE = 11, 2
_ORIENTATIONS, _SCALES = 8, 4
_CELLS = 8  # a side, over which magnitudes are averaged
_COMPONENTS = (64, 128)
_SHRINK = 0.05
"""Share of an even spread mixed into the covariance within people, which few pictures a person show badly."""

_MOST_FITTED = 3000  # pictures, mirrored ones included: the first ones, so that people stay together
_SLOPE = 1e-4  # keeps the root of a magnitude smooth at zero


@register("models", "gabor-fisher")
class GaborFisher:
    """Magnitudes of 32 Gabor filters in 8 × 8 cells, whitened, and spread so that one person's pictures fall together.

    The components are those of all faces (PCA); then the covariance within people is whitened (linear discriminant
    analysis without its last projection). The mirror image of a face counts as another picture of the person.

    Source: Liu and Wechsler 2002, "Gabor feature based classification using the enhanced Fisher linear discriminant
    model for face recognition", doi:10.1109/TIP.2002.999679.
    """

    name: str
    tasks = frozenset({"face-recognition"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1109/TIP.2002.999679")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One or two, by the number of components; at the input size nearest to 48 pixels.

        Raises:
            Unsupported: the pictures are too small, or nobody has two of them.
        """
        size = min(sizes, key=lambda one: (abs(min(one) - _NATURAL_SIDE), one))
        if min(size) < _SMALLEST_SIDE:
            raise Unsupported("INPUT_TOO_SMALL", f"needs faces of at least {_SMALLEST_SIDE} pixels, not {list(sizes)}")
        train = card.splits["train"]
        if max(train.classes.values(), default=0) < 2:
            raise Unsupported("ONE_PICTURE_EACH", "nobody in train has two pictures, so what varies is not known")
        most = max(2, train.samples)  # with mirror images there are twice as many, of which so many can be told
        counts = sorted({min(components, most) for components in _COMPONENTS})
        for count in counts if effort != "quick" else counts[-1:]:
            yield Variant(f"c{count}", {"components": count}, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to embeddings (n, components)."""
        import torch
        from torch import nn

        height, width = ((side - 1) // _STRIDE + 1 for side in network.input_size)
        down, across = (max(1, side // _CELLS) for side in (height, width))
        features = _ORIENTATIONS * _SCALES * (height // down) * (width // across)

        class Discriminant(nn.Module):
            mean: Tensor  # (features,)
            projection: Tensor  # (features, components)

            def __init__(self) -> None:
                super().__init__()
                self.filters = nn.Conv2d(1, 2 * _ORIENTATIONS * _SCALES, _KERNEL, stride=_STRIDE, padding=_KERNEL // 2)
                self.filters.weight = nn.Parameter(gabor_filters(), requires_grad=False)
                self.filters.bias = nn.Parameter(torch.zeros(len(self.filters.weight)), requires_grad=False)
                self.pool = nn.AvgPool2d((down, across))
                self.register_buffer("mean", torch.zeros(features))
                self.register_buffer("projection", torch.randn(features, network.options["components"]))

            def forward(self, x: Tensor) -> Tensor:
                return (self.magnitudes(x) - self.mean) @ self.projection

            def magnitudes(self, x: Tensor) -> Tensor:
                """(n, 3, H, W) to the mean magnitude of every filter in every cell, (n, features)."""
                even, odd = self.filters(x.mean(dim=1, keepdim=True)).chunk(2, dim=1)
                found: Tensor = self.pool((even.square() + odd.square() + _SLOPE).sqrt()).flatten(1)
                return found

        return Discriminant()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Fitting is not repeated."""
        return Recipe(1.0, 256, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Set mean and projection from train and its mirror images; needs somebody with two pictures."""
        import torch

        kept: list[Tensor] = []
        owners: list[Tensor] = []
        for inputs, people in batches():
            for faces in (inputs, inputs.flip(3)):
                kept.append(module.magnitudes(faces).double())  # type: ignore[operator]
                owners.append(people)
            if sum(map(len, kept)) >= _MOST_FITTED:
                break
        features, people = torch.cat(kept), torch.cat(owners)
        grouped = features.view(len(features), _ORIENTATIONS * _SCALES, -1)
        spread = grouped.std(dim=(0, 2)).clamp_min(1e-9)  # of each filter, over faces and places
        scale = (1 / spread).repeat_interleave(grouped.shape[2])
        mean = features.mean(dim=0)
        centred = (features - mean) * scale
        projection = module.get_buffer("projection")
        module.get_buffer("mean").copy_(mean)
        found = scale[:, None] * discriminant(centred, people, projection.shape[1])
        projection.zero_()
        projection[:, : found.shape[1]] = found.to(projection)


def gabor_filters() -> torch.Tensor:
    """Even, then odd filters of 4 scales and 8 orientations, (64, 1, 11, 11).

    Wiskott et al. 1997, "Face recognition by elastic bunch graph matching", doi:10.1109/34.598235: wave numbers fall
    by the root of 2 from a quarter of a turn per pixel on, the envelope is as wide as a wave, and the even filter is
    free of the mean.
    """
    import torch

    reach = _KERNEL // 2
    down, across = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
    waves = [(math.pi / 2 / math.sqrt(2) ** scale, math.pi * turn / _ORIENTATIONS)
             for scale in range(_SCALES) for turn in range(_ORIENTATIONS)]  # fmt: skip
    even, odd = [], []
    for number, angle in waves:
        phase = number * (across * math.cos(angle) + down * math.sin(angle))
        envelope = number**2 * torch.exp(-(number**2) * (across**2 + down**2) / (2 * math.pi**2))
        even.append(envelope * (torch.cos(phase) - math.exp(-(math.pi**2) / 2)))
        odd.append(envelope * torch.sin(phase))
    return torch.stack([*even, *odd])[:, None]


def discriminant(centred: torch.Tensor, people: torch.Tensor, components: int) -> torch.Tensor:
    """Projection (features, at most components) that whitens all faces, then what varies within people.

    Args:
        centred: (n, features) float64, without their mean.
        people: (n,) whose they are.
        components: of the principal ones so many are kept, as far as the faces show them.
    """
    import torch

    n, features = centred.shape
    squares, axes = torch.linalg.eigh(centred @ centred.T if n <= features else centred.T @ centred)
    squares, axes = squares.flip(0), axes.flip(1)  # largest first
    count = max(1, min(components, int((squares > 1e-9 * squares[0]).sum())))
    squares, axes = squares[:count].clamp_min(1e-30), axes[:, :count]
    turned = centred.T @ axes / squares.sqrt() if n <= features else axes  # (features, count), orthonormal
    whiten = turned / (squares / n).sqrt()
    white = centred @ whiten
    within = torch.zeros(count, count, dtype=white.dtype)
    for person in torch.unique(people):
        mine = white[people == person]
        apart = mine - mine.mean(dim=0)
        within += apart.T @ apart
    within /= len(white)
    even = within.diagonal().mean() * torch.eye(count, dtype=within.dtype)
    variances, axes = torch.linalg.eigh((1 - _SHRINK) * within + _SHRINK * even)
    result: torch.Tensor = whiten @ (axes / variances.clamp_min(1e-9).sqrt())
    return result
