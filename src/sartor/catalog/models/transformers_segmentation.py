"""Segmenters of Hugging Face transformers: small SegFormers trained from scratch, or a local checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartor import tuning
from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import checkpoints, scaling, segmenting
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEADS = ("decode_head", "auxiliary_head", "classifier", "segmentation_head")
_B0 = {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256}  # the paper's MiT-B0
_SIZES = (
    scaling.Size(
        "segformer-xs",
        {
            "type": "segformer",
            "config": {"hidden_sizes": [16, 32, 80, 128], "depths": [1, 1, 2, 1], "decoder_hidden_size": 96},
        },
        "balanced",
    ),
    scaling.Size("segformer-b0", {"type": "segformer", "config": _B0}, "thorough"),
)


@register("models", "transformers-segmentation")
class TransformersSegmentation:
    """Architectures of transformers for class maps, by their configuration classes; options as of ``transformers``.

    ``options``: ``{"type": …, "config": {…}}``, or ``{"checkpoint": folder, "sha256": …}`` as made by
    :meth:`checkpoint_variant`, which is fine-tuned with a new head where its classes are others.

    Source: Xie et al. 2021, arXiv:2105.15203 (SegFormer).
    """

    name: str
    tasks = frozenset({"image-segmentation"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:2105.15203")
    fitting = "gradient"
    baseline = False
    adaptable = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Small SegFormers; none with effort ``quick``, as training them from scratch takes long.

        Raises:
            MissingExtra: transformers is not installed.
            Unsupported: at this effort there is none.
        """
        checkpoints.require("the model family transformers-segmentation")
        if effort == "quick":
            raise Unsupported("EFFORT", "transformers-segmentation has no configuration for effort quick")
        fitting = [size for size in sizes if all(side % 32 == 0 for side in size)]
        return scaling.sized_variants(_SIZES, fitting, effort, smallest_side=64)

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that fine-tunes a local checkpoint, at the most natural input size.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is a file.
            Refused: the folder holds code, unknown keys, or no safetensors.
        """
        checkpoints.require_folder("transformers-segmentation", folder)
        checkpoints.require("the model family transformers-segmentation")
        return checkpoints.variant(folder, sizes[0])

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs, H / 4, W / 4) or as fine as the architecture gives them."""
        checkpoints.require("the model family transformers-segmentation")
        from transformers import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING as KNOWN

        kind, settings, weights = checkpoints.chosen(network.options)
        model = checkpoints.architecture(kind, KNOWN, "semantic segmenter", settings, network.outputs, _HEADS, weights)
        return checkpoints.of_pictures(model)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW with warm-up; gentle for a checkpoint."""
        batch = segmenting.batch_size(samples)
        rate = 1e-4 if "checkpoint" in network.options else 1e-3
        whole = Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=rate * math.sqrt(batch / segmenting.LARGEST_BATCH),
            weight_decay=0.01,
            label_smoothing=0.0,
            warmup_share=0.1,
            ema_decay=scaling.averaging(samples, batch, epochs),
            augment=("auto",),
        )
        return tuning.tuned(whole, network)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "transformers-segmentation is trained by gradient")
