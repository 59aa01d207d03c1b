"""A pretrained text encoder of a local checkpoint, fine-tuned with a new head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartor import tuning
from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import scaling, text_checkpoints
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 32
_DROPOUT = 0.1


@register("models", "text-encoder")
class TextEncoder:
    """An encoder of transformers (BERT and its kin) behind its own tokenizer, mean of states, linear.

    ``options``: ``{"checkpoint": folder, "sha256": …}`` as made by :meth:`checkpoint_variant`.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.2 (fine-tuning).
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:1810.04805")
    fitting = "gradient"
    baseline = False
    adaptable = True
    most_epochs = 4.0

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None without a checkpoint: such encoders are not trained from nothing.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("NO_CHECKPOINT", "text-encoder fine-tunes a checkpoint; name its folder with model")

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that fine-tunes a local checkpoint.

        Raises:
            Refused: the folder holds code, unknown keys, no tokenizer, or no safetensors.
        """
        return text_checkpoints.variant("the model family text-encoder", folder, sizes)

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs); the encoder's weights are in, the head is new."""
        return text_checkpoints.classifier(network, _DROPOUT)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW with warm-up, gentle: the encoder knows much already."""
        batch = min(_BATCH, scaling.batch_size(samples, (1,)))
        whole = Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=5e-5 * math.sqrt(batch / _BATCH),
            weight_decay=0.01,
            label_smoothing=0.05,
            warmup_share=0.1,
            ema_decay=scaling.averaging(samples, batch, epochs),
            clip=1.0,
        )
        return tuning.tuned(whole, network)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "text-encoder is trained by gradient")
