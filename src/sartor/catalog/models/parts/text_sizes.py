"""How long inputs and how large vocabularies suit the texts of a card: arithmetic that the families of texts share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts.scaling import EFFORTS, Size, averaging, batch_size
from sartor.jobs import Recipe
from sartor.types import DataCard

STEP = 8  # lengths are multiples of it
UNSURVEYED = {"words": 64, "characters": 256, "terms": 128, "pieces": 384}  # lengths where the card has no survey
MOST_UNSURVEYED = 50_000  # entries of a vocabulary then
ENOUGH_SHARE = 1.25  # a vocabulary larger than what is expected to be found by this is not offered


def length(card: DataCard, kind: str, most: int) -> int:
    """Ids that 95 of 100 texts fit into, at most ``most``; ``kind`` is words, characters, terms or pieces."""
    high = int(card.facts.get(kind, {}).get("p95", UNSURVEYED[kind]))
    return max(STEP, min(most, -(-high // STEP) * STEP))


def expected(card: DataCard, kind: str) -> int:
    """How many different ones there are believed to be in train, from the survey's count and growth."""
    found = card.facts.get("vocabulary", {}).get(kind)
    if not found:
        return MOST_UNSURVEYED
    samples = card.splits["train"].samples if "train" in card.splits else found["samples"]
    return int(found["number"] * (max(samples, 1) / max(found["samples"], 1)) ** found["exponent"])


def short(number: int) -> str:
    """A number for the name of a variant: 800, 5k, 20k."""
    return f"{round(number / 1000)}k" if number >= 1000 else str(number)


def sequence_variants(
    table: Sequence[Size], card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str
) -> Iterator[Variant]:
    """The rows offered at ``effort`` for each length, smallest network first; ``vocabulary`` is cut to what there is.

    ``quick`` looks at the first (most natural) length only. The length ends the name except for the first.
    """
    rank = EFFORTS.index(effort)
    most = max(16, int(expected(card, "words") * ENOUGH_SHARE))
    for position, size in enumerate(sizes[:1] if rank == 0 else sizes):
        for row in table:
            if EFFORTS.index(row.effort) <= rank:
                options = {**row.options, "vocabulary": min(row.options["vocabulary"], most)}
                name = row.name + (f"-{size[0]}" if position else "")
                yield Variant(name, options, tuple(size[:1]), f"words-{options['vocabulary']}")


def recipe(samples: int, epochs: float, rate: float, decay: float = 0.01) -> Recipe:
    """AdamW with small batches: texts are few, and what is said of a word is said of it alone."""
    batch = min(64, batch_size(samples, (1,)))
    return Recipe(
        epochs=epochs,
        batch_size=batch,
        optimizer="adamw",
        learning_rate=rate * math.sqrt(batch / 64),
        weight_decay=decay,
        label_smoothing=0.05,
        warmup_share=0.1,
        ema_decay=averaging(samples, batch, epochs),
        augment=("auto",),
        clip=1.0,
    )
