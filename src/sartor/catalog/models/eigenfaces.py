"""Eigenfaces: a face by its principal components, the baseline of face recognition since 1991."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST_SIDE = 32  # pixels: grey faces of this size hold what the first components show
_COMPONENTS = 100
_MOST_FITTED = 5000  # pictures; the components of more hardly differ


@register("models", "eigenfaces")
class Eigenfaces:
    """Grey pixels less the mean face, on their principal components; compared by cosines.

    Source: Turk and Pentland 1991, "Eigenfaces for recognition", doi:10.1162/jocn.1991.3.1.71.
    """

    name: str
    tasks = frozenset({"face-recognition"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1162/jocn.1991.3.1.71")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One, at the smallest input of at least 32 pixels a side, or the largest below."""
        enough = [size for size in sizes if min(size) >= _LARGEST_SIDE]
        size = min(enough, key=min) if enough else max(sizes, key=min)
        components = max(1, min(_COMPONENTS, card.splits["train"].samples - 1))
        yield Variant("", {"side": _LARGEST_SIDE, "components": components}, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to weights of components (n, components)."""
        import torch
        from torch import nn

        from sartor.blocks import Shrink

        class Projection(nn.Module):
            mean: Tensor  # (features,)
            components: Tensor  # (features, components)

            def __init__(self) -> None:
                super().__init__()
                self.shrink = Shrink(network.input_size, network.options["side"])
                features = self.shrink.features // 3
                self.register_buffer("mean", torch.zeros(features))
                self.register_buffer("components", torch.randn(features, network.options["components"]))

            def forward(self, x: Tensor) -> Tensor:
                return (self.grey(x) - self.mean) @ self.components

            def grey(self, x: Tensor) -> Tensor:
                """(n, 3, H, W) to small grey faces (n, features)."""
                found: Tensor = self.shrink(x.mean(dim=1, keepdim=True))
                return found

        return Projection()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Fitting is not repeated."""
        return Recipe(1.0, 512, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Mean face and principal components, by a singular value decomposition; where there are too few, zeros."""
        import torch

        kept: list[Tensor] = []
        for inputs, _ in batches():
            kept.append(module.grey(inputs).double())  # type: ignore[operator]
            if sum(map(len, kept)) >= _MOST_FITTED:
                break
        faces = torch.cat(kept)
        mean, components = module.get_buffer("mean"), module.get_buffer("components")
        mean.copy_(faces.mean(dim=0))
        found = torch.linalg.svd(faces - faces.mean(dim=0), full_matrices=False).Vh[: components.shape[1]].T
        components.zero_()
        components[:, : found.shape[1]] = found.to(components)
