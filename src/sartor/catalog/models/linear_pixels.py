"""Logistic regression on small pixels: tiny, fast, and now and then all that is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import scaling
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST_SIDE = 16  # pixels


@register("models", "linear-pixels")
class LinearPixels:
    """One linear layer on at most 16x16 pixels.

    Source: Cox 1958, "The regression analysis of binary sequences".
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1111/j.2517-6161.1958.tb00292.x")
    fitting = "gradient"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One, at the smallest input size."""
        yield Variant("", {"side": _LARGEST_SIDE}, min(sizes))

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs)."""
        from torch import nn

        from sartor.blocks import Shrink

        shrink = Shrink(network.input_size, network.options["side"])
        linear = nn.Linear(shrink.features, network.outputs)
        nn.init.zeros_(linear.weight)  # convex: the start does not matter, and zero is the calmest
        return nn.Sequential(shrink, linear)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW; no smoothing, no augmentation, as the model cannot overfit far."""
        batch = scaling.batch_size(samples, network.input_size)
        return Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=0.01,
            label_smoothing=0.0,
            warmup_share=0.05,
            ema_decay=scaling.averaging(samples, batch, epochs),
        )

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "linear-pixels is trained by gradient")
