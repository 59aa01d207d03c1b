"""Detectors of Hugging Face transformers (YOLOS, DETR, RT-DETR and their kin): a local checkpoint, fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import tuning
from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import checkpoints, scaling
from sartor.errors import MissingExtra, Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

# where the number of classes shows, by the names of the architectures: new in a fine-tuning for other classes
_HEADS = (
    *("class_labels_classifier", "class_embed"),  # YOLOS, DETR
    *("model.decoder.class_embed", "model.enc_score_head", "model.denoising_class_embed"),  # RT-DETR
)
_FEATURE = "the model family transformers-detection"


@register("models", "transformers-detection")
class TransformersDetection:
    """Architectures of transformers that answer with a set of boxes, so that nothing has to be thinned out.

    ``options``: ``{"checkpoint": folder, "sha256": …}`` as made by :meth:`checkpoint_variant`, or
    ``{"type": …, "config": {…}}`` for random weights. From scratch they need far more pictures and time than the
    detectors made for that: none is proposed without a checkpoint.

    Sources: Carion et al. 2020, arXiv:2005.12872 (DETR); Fang et al. 2021, arXiv:2106.00666 (YOLOS); Zhao et al. 2023,
    arXiv:2304.08069 (RT-DETR).
    """

    name: str
    tasks = frozenset({"object-detection"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:2005.12872")
    fitting = "gradient"
    baseline = False
    adaptable = True
    loss_spans_batch = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None of its own.

        Raises:
            MissingExtra: transformers is not installed.
            Unsupported: always; a checkpoint is needed.
        """
        checkpoints.require(_FEATURE)
        raise Unsupported("NO_CHECKPOINT", "transformers-detection fine-tunes a checkpoint; name a folder by model:")

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that fine-tunes a local checkpoint, at the most natural input size.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is a file.
            Refused: the folder holds code, unknown keys, or no safetensors.
        """
        checkpoints.require_folder("transformers-detection", folder)
        checkpoints.require(_FEATURE)
        checkpoints.settings_of(checkpoints.read_config(folder))
        return checkpoints.variant(folder, sizes[0])

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits, boxes and the number of classes; the head is new where classes differ.

        Raises:
            MissingExtra: the architecture needs another package (timm, for old DETR checkpoints).
        """
        checkpoints.require(_FEATURE)
        from torch import nn
        from transformers import MODEL_FOR_OBJECT_DETECTION_MAPPING

        from sartor.catalog.models.parts.set_prediction import class_scores, to_corners

        kind, settings, weights = checkpoints.chosen(network.options)
        try:
            model = checkpoints.architecture(
                kind, MODEL_FOR_OBJECT_DETECTION_MAPPING, "object detector", settings, network.outputs, _HEADS, weights
            )
        except ImportError as error:
            raise MissingExtra(f"{_FEATURE} of type {kind}", "hub", str(error.name or "timm")) from error

        class Queries(nn.Module):
            overlapping = False
            classes = network.outputs

            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, x: Tensor) -> tuple[Tensor, Tensor, int]:
                answer = self.model(pixel_values=x)
                return answer.logits, answer.pred_boxes, self.classes

            def candidates(self, outputs: tuple[Tensor, Tensor, int]) -> tuple[Tensor, Tensor]:
                return to_corners(outputs[1]).clamp(0, 1), class_scores(outputs[0], self.classes)

        return Queries()

    def loss(self, outputs: Any, targets: Tensor, label_smoothing: float) -> Tensor:
        """See ``_set_prediction.set_loss``."""
        from sartor.catalog.models.parts.set_prediction import set_loss

        logits, boxes, classes = outputs
        return set_loss((logits, boxes), targets, classes)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW, gentle, gradients clipped as the papers do."""
        batch = 4 if samples < 500 else 8
        whole = Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=1e-4,
            weight_decay=1e-4,
            label_smoothing=0.0,
            warmup_share=0.1,
            ema_decay=scaling.averaging(samples, batch, epochs),
            augment=("auto",),
            clip=0.1,
        )
        return tuning.tuned(whole, network)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "transformers-detection is trained by gradient")
