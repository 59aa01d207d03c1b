"""A small multilayer perceptron on the piecewise-linear encoding of every column."""

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

_ENCODED = 33  # numbers per column: missing or not, and 32 steps
_SIZES = (
    scaling.Size("s", {"widths": [64, 64], "dropout": 0.1}, "balanced"),
    scaling.Size("m", {"widths": [160, 160], "dropout": 0.2}, "quick"),
    scaling.Size("l", {"widths": [320, 320, 160], "dropout": 0.25}, "balanced"),
)


@register("models", "tabular-mlp")
class TabularMlp:
    """Two or three hidden layers with dropout.

    Source: Gorishniy et al. 2022, "On embeddings for numerical features in tabular deep learning", arXiv:2203.05556
    (there MLP-Q).
    """

    name: str
    tasks = frozenset({"tabular-classification", "tabular-regression"})
    provenance = Provenance("own", "Apache-2.0", "arXiv:2203.05556")
    fitting = "gradient"
    baseline = False
    most_epochs = 60.0
    autocast = False  # numbers over several magnitudes: bf16 keeps too few digits of them

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By widths."""
        return scaling.sized_variants(_SIZES, sizes, effort, smallest_side=1)

    def build(self, network: Network) -> nn.Module:
        """Encoded rows (n, inputs, 34) to logits (n, outputs), or numbers (n, 1)."""
        import torch
        from torch import nn

        widths, dropout = network.options["widths"], network.options["dropout"]

        class Perceptron(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                layers: list[nn.Module] = []
                before = network.input_size[0] * _ENCODED
                for width in widths:
                    layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
                    before = width
                self.layers = nn.Sequential(*layers, nn.Linear(before, network.outputs))

            def forward(self, x: Tensor) -> Tensor:
                outputs: Tensor = self.layers(torch.flatten(x[:, :, :_ENCODED], 1))
                return outputs

        return Perceptron()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW without smoothing, so that probabilities and numbers stay what they are."""
        batch = scaling.batch_size(samples, network.input_size)
        return Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=2e-3,
            weight_decay=0.05,
            label_smoothing=0.0,
            warmup_share=0.05,
            ema_decay=scaling.averaging(samples, batch, epochs),
            clip=1.0,
        )

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "tabular-mlp is trained by gradient")
