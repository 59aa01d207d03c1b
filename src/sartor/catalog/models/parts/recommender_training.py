"""What families trained on what comes next share: which sizes to offer, how to train, which loss. No torch needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.scaling import EFFORTS, Size, averaging
from sartor.errors import Unsupported
from sartor.jobs import Recipe
from sartor.types import DataCard, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

WINDOW = 50  # latest items of a history
MOST_EPOCHS = 200
_RATE = 3e-3


def windowed(table: Sequence[Size], sizes: Sequence[tuple[int, ...]], effort: str, encoding: str) -> Iterator[Variant]:
    """The rows offered at ``effort``, with the longest histories and as much of them as is looked at."""
    size = max(sizes)
    for row in table:
        if EFFORTS.index(row.effort) <= EFFORTS.index(effort):
            yield Variant(row.name, {**row.options, "window": min(WINDOW, *size)}, size, encoding)


def features_of(card: DataCard) -> tuple[str, Mapping[str, int]]:
    """Encoding that tells features, and options that say how many there are; both empty where there are none."""
    found = card.facts.get("features")
    if not found:
        return "", {}
    tokens, per_item, user_tokens, per_user, _ = (int(number) for number in found)
    options = {"tokens": tokens, "per_item": per_item, "user_tokens": user_tokens, "per_user": per_user}
    return f"features-{per_user}", options


def recipe(self: Any, network: Network, samples: int, epochs: float) -> Recipe:
    """AdamW on batches small enough for 16 steps an epoch."""
    batch = min(128, max(8, 2 ** (max(samples, 1) // 16).bit_length() // 2))
    return Recipe(
        epochs=epochs,
        batch_size=batch,
        optimizer="adamw",
        learning_rate=_RATE,
        weight_decay=0.1,
        label_smoothing=0.0,
        warmup_share=0.05,
        ema_decay=averaging(samples, batch, epochs),
        augment=("window",),
    )


def loss(self: Any, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Mean loss over all places, of what :class:`_next_items.NextItems` gives in training."""
    sums: Tensor = outputs.sum(0)
    return sums[0] / sums[1].clamp(min=1)


def fit(self: Any, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
    """Not for this family: it is trained."""
    raise Unsupported("NOT_CLOSED_FORM", f"{self.name} is trained by gradient")


def furnish(self: Any, module: Any, learnt: Any) -> None:
    """Tell the module which items train holds, and the features of items where it counts them."""
    module.furnish(learnt)
