"""Image classifiers of Hugging Face transformers: small configurations trained from scratch, or a local checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import tuning
from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import checkpoints, scaling
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEADS = ("classifier", "head", "fc")


@register("models", "transformers")
class Transformers:
    """Architectures of transformers by their configuration classes; options name one and its configuration.

    ``options``: ``{"type": …, "config": {…}}``, or ``{"checkpoint": folder, "sha256": …}`` as made by
    :meth:`checkpoint_variant`, which is fine-tuned with a new head. Without ``sha256`` the weights are not compared
    with what they were when the run began.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:1910.03771")
    fitting = "gradient"
    baseline = False
    adaptable = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Small configurations; none with effort ``quick``, as training them from scratch takes long.

        Raises:
            MissingExtra: transformers is not installed.
            Unsupported: at this effort there is none that takes inputs so small.
        """
        checkpoints.require("the model family transformers")
        found = 0
        for position, size in enumerate(sizes):
            for name, row in _presets().items():
                if _offered(row, size, effort):
                    found += 1
                    yield Variant(name + (f"-{size[0]}" if position else ""), _fitted(row, size), size)
        if not found:
            raise Unsupported(
                "EFFORT", f"transformers has no configuration for inputs {list(sizes)} at effort {effort}"
            )

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that fine-tunes a local checkpoint; its input size comes from the checkpoint where it has one.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is a file.
            Refused: the folder holds code, unknown keys, or no safetensors.
        """
        checkpoints.require_folder("transformers", folder)
        checkpoints.require("the model family transformers")
        return checkpoints.variant(folder, checkpoints.picture_size(folder, sizes))

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs); with a checkpoint its weights are in, the head is new."""
        checkpoints.require("the model family transformers")
        from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING as KNOWN

        kind, settings, weights = checkpoints.chosen(network.options)
        model = checkpoints.architecture(kind, KNOWN, "image classifier", settings, network.outputs, _HEADS, weights)
        return checkpoints.of_pictures(model)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW with warm-up; gentle for a checkpoint."""
        batch = min(128, scaling.batch_size(samples, network.input_size))
        rate = 1e-4 if "checkpoint" in network.options else 1e-3
        whole = Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=rate * math.sqrt(batch / 128),
            weight_decay=0.05,
            label_smoothing=0.1,
            warmup_share=0.1,
            ema_decay=scaling.averaging(samples, batch, epochs),
            augment=("auto",),
        )
        return tuning.tuned(whole, network)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "transformers is trained by gradient")


@cache
def _presets() -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text())
    return presets


def _offered(row: Mapping[str, Any], size: Sequence[int], effort: str) -> bool:
    wanted = scaling.EFFORTS.index(effort) >= scaling.EFFORTS.index(row["effort"])
    fits = min(size) >= row["least_side"] and all(side % row.get("multiple", 1) == 0 for side in size)
    square = len(set(size)) == 1
    return wanted and fits and (square or "patches" not in row)


def _fitted(row: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """Options for one input size; a patch transformer gets patches that divide the input, about as many as asked."""
    config = dict(row["config"])
    if "patches" in row:
        divisors = [side for side in range(2, size[0] + 1) if size[0] % side == 0]
        patch = min(divisors, key=lambda side: abs(size[0] / side - row["patches"]))
        config |= {"image_size": size[0], "patch_size": patch}
    return {"type": row["type"], "config": config}
