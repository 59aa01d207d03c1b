"""A pretrained text encoder of a local checkpoint as it is, with a linear classifier on its vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import text_checkpoints
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_AT_ONCE = 32  # texts


@register("models", "sentence-encoder")
class SentenceEncoder:
    """Mean of an encoder's last states, standardised, then logistic regression. Only the regression is computed.

    ``options``: ``{"checkpoint": folder, "sha256": …}`` as made by :meth:`checkpoint_variant`.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084, section 5 (SentEval).
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:1908.10084")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None without a checkpoint.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("NO_CHECKPOINT", "sentence-encoder needs a checkpoint; name its folder with model")

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant of a local checkpoint.

        Raises:
            Refused: the folder holds code, unknown keys, no tokenizer, or no safetensors.
        """
        return text_checkpoints.variant("the model family sentence-encoder", folder, sizes)

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs); the encoder's weights are in, the head is random."""
        return text_checkpoints.classifier(network)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Computed from all samples at once."""
        return Recipe(1.0, 256, "closed-form", 0.0, 0.0)

    def encode(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """Vectors (n, width) of ids (n, length)."""
        return _encoded(module.get_submodule("0").eval(), inputs)

    def fit_head(self, module: nn.Module, vectors: Tensor, truths: Tensor) -> None:
        """Logistic regression, at the penalty that does best on texts left out."""
        from sartor.catalog.models.parts.frozen_features import fit_head

        fit_head(module.get_parameter("1.weight"), module.get_parameter("1.bias"), vectors, truths.long())

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Encode every text once, then fit the head."""
        from sartor.catalog.models.parts.frozen_features import fit_at_once

        fit_at_once(self, module, batches)


def _encoded(encoder: nn.Module, ids: Tensor) -> Tensor:
    """(n, width); texts of like lengths together, cut to the longest of them, as most are short."""
    import torch

    lengths = (ids != cast(int, encoder.padding)).sum(1)
    order = lengths.argsort(descending=True)
    found: list[Tensor] = []
    for start in range(0, len(ids), _AT_ONCE):
        chosen = order[start : start + _AT_ONCE]
        found.append(encoder(ids[chosen, : max(1, int(lengths[chosen].max()))]))
    vectors = torch.cat(found)
    return vectors[order.argsort()]
