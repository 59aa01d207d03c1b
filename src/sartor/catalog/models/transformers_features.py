"""A pretrained image backbone of a local checkpoint as it is, with a linear classifier on its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import checkpoints
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEADS = ("classifier", "head", "fc")
_FEATURE = "the model family transformers-features"
_AT_ONCE = 32  # pictures


@register("models", "transformers-features")
class TransformersFeatures:
    """What the last layer of an image classifier reads, then logistic regression. Only the regression is computed.

    ``options``: ``{"checkpoint": folder, "sha256": …}`` as made by :meth:`checkpoint_variant`.

    Source: Donahue et al. 2013, "DeCAF", arXiv:1310.1531.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:1310.1531")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None without a checkpoint.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("NO_CHECKPOINT", "transformers-features needs a checkpoint; name its folder with model")

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant of a local checkpoint; its input size comes from the checkpoint where it has one.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is a file.
            Refused: the folder holds code, unknown keys, or no safetensors.
        """
        checkpoints.require_folder("transformers-features", folder)
        checkpoints.require(_FEATURE)
        return checkpoints.variant(folder, checkpoints.picture_size(folder, sizes))

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs): the checkpoint's features ("0") and a new head ("1").

        Raises:
            Unsupported: ``NO_FEATURES``: its logits do not come from one linear layer.
        """
        checkpoints.require(_FEATURE)
        from torch import nn
        from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING as KNOWN

        kind, settings, weights = checkpoints.chosen(network.options)
        model = checkpoints.architecture(kind, KNOWN, "image classifier", settings, network.outputs, _HEADS, weights)
        heads = [
            (name, part)
            for name, part in model.named_modules()
            if name.startswith(_HEADS) and isinstance(part, nn.Linear) and part.out_features == network.outputs
        ]
        if len(heads) != 1:
            raise Unsupported("NO_FEATURES", f"the logits of a {kind} model do not come from one linear layer")
        name, head = heads[0]
        model.set_submodule(name, nn.Identity())
        return nn.Sequential(checkpoints.of_pictures(model), nn.Linear(head.in_features, network.outputs))

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Computed from all samples at once, as they are."""
        return Recipe(1.0, 256, "closed-form", 0.0, 0.0)

    def encode(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """Features (n, width) of normalised pictures (n, 3, H, W)."""
        import torch

        backbone = module.get_submodule("0").eval()
        return torch.cat([backbone(part).flatten(1) for part in torch.split(inputs, _AT_ONCE)])

    def fit_head(self, module: nn.Module, vectors: Tensor, truths: Tensor) -> None:
        """Logistic regression, at the penalty that does best on pictures left out."""
        from sartor.catalog.models.parts.frozen_features import fit_head

        fit_head(module.get_parameter("1.weight"), module.get_parameter("1.bias"), vectors, truths.long())

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Every picture's features once, then the head."""
        from sartor.catalog.models.parts.frozen_features import fit_at_once

        fit_at_once(self, module, batches)
