"""Checkpoints of Hugging Face transformers for face embeddings: image backbones, fine-tuned with a margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sartor import tuning
from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import checkpoints, margin, scaling
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEADS = ("classifier", "head", "fc")
_DIMENSION = 128
_FEATURE = "the model family transformers-faces"


@register("models", "transformers-faces")
class TransformersFaces:
    """An image classifier of transformers whose last layer gives an embedding; never trained from scratch.

    ``options``: ``{"checkpoint": folder, "sha256": …, "dimension": …, "mirrored": …}``, made by
    :meth:`checkpoint_variant`.
    """

    name: str
    tasks = frozenset({"face-recognition"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:1910.03771")
    fitting = "gradient"
    baseline = False
    adaptable = True
    most_epochs = 30.0

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None without a checkpoint.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("NEEDS_CHECKPOINT", "transformers-faces fine-tunes a checkpoint; name one with model: folder")

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that fine-tunes a local checkpoint; its input size comes from the checkpoint where it has one.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is a file.
            Refused: the folder holds code, unknown keys, or no safetensors.
        """
        checkpoints.require_folder("transformers-faces", folder)
        checkpoints.require(_FEATURE)
        found = checkpoints.variant(folder, checkpoints.picture_size(folder, sizes))
        return replace(found, options={**found.options, "dimension": _DIMENSION, "mirrored": False})

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to embeddings (n, dimension); in training to cosines (n, outputs)."""
        checkpoints.require(_FEATURE)
        from torch import nn
        from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

        kind, settings, weights = checkpoints.chosen(network.options)
        known, dimension = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, int(network.options["dimension"])
        model = checkpoints.architecture(kind, known, "image classifier", settings, dimension, _HEADS, weights)

        class Embedding(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = self.model(pixel_values=x).logits
                return found

        return margin.compared(Embedding(), dimension, network.outputs, mirrored=bool(network.options["mirrored"]))

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Cosine loss with a margin (CosFace)."""
        return margin.margin_loss(outputs, targets)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW with warm-up, gentle."""
        batch = min(128, max(margin.LEAST_BATCH, scaling.batch_size(samples, network.input_size)))
        whole = Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=3e-4 * math.sqrt(batch / 128),
            weight_decay=0.05,
            label_smoothing=0.0,
            warmup_share=0.1,
            ema_decay=scaling.averaging(samples, batch, epochs),
            augment=("auto",),
        )
        return tuning.tuned(whole, network)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "transformers-faces is trained by gradient")
