"""What many texts together show: lengths, sizes of vocabularies, scripts, and whether words say things twice.

numpy and the standard library only.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.tasks.parts.text_encodings import LEAST_TEXTS, TERMS
from sartor.media.text import words
from sartor.types import DataProblem

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

BUCKETS = 1 << 16  # of the classifier that dropping words is tried on
DROPPED = 0.1  # of the words
KEPT_SHARE = 0.98  # of its accuracy, that a classifier has to keep for dropping to be a safe augmentation
LEAST_SURVEYED = 200  # texts, for a verdict on dropping
SECOND_SCRIPT = 0.1  # of the samples, from which a second script is worth a remark
MIXED_TEXTS = 0.2  # of the samples, written in two scripts each

Counts = Mapping[str, int]


def survey_texts(texts: Sequence[str], truths: Array, scripts: Counts, seed: int) -> dict[str, Any]:
    """Facts of a card, from a choice of training texts with their class numbers.

    Returns:
        ``words``, ``characters``, ``terms``, ``pieces``: length of a text in each (median, 95th percentile);
        ``vocabulary``: how many of each there are, and how their number grows with the texts (see :func:`growth`);
        ``dropping``: whether classes survive the loss of words; ``problems``.
    """
    found = [words(text) for text in texts]
    facts: dict[str, Any] = {"words": spread(map(len, found)), "characters": spread(map(len, texts))}
    vocabulary = {"words": growth([Counter(set(text)) for text in found], 1)}
    for kind, split in TERMS.items():
        sets = [set(split(text)) for text in found]
        facts[kind] = spread(map(len, sets))
        vocabulary[kind] = growth(sets, LEAST_TEXTS)
    vocabulary["characters"] = growth([set(text) for text in texts], 1)
    facts["vocabulary"] = vocabulary
    facts["dropping"] = dropping(found, truths, seed)
    facts["problems"] = script_problems(scripts)
    return facts


def spread(lengths: Iterable[int]) -> dict[str, int]:
    """Median and 95th percentile."""
    values = list(lengths)
    median, high = np.percentile(values, [50, 95]) if values else (0, 0)
    return {"median": int(median), "p95": int(high)}


def growth(sets: Sequence[Iterable[str]], least: int) -> dict[str, float]:
    """How many things occur in at least ``least`` texts, and the exponent their number grows with.

    Source: Heaps' law; Heaps 1978, "Information retrieval: computational and theoretical aspects", section 7.5.
    """

    def number(part: Sequence[Iterable[str]]) -> int:
        counts: Counter[str] = Counter()
        for text in part:
            counts.update(text)
        return sum(count >= least for count in counts.values())

    half, whole = max(1, number(sets[: len(sets) // 2])), max(1, number(sets))
    exponent = float(np.clip(np.log2(whole / half), 0.0, 1.0))
    return {"samples": len(sets), "number": whole, "exponent": round(exponent, 3)}


def dropping(found: Sequence[Sequence[str]], truths: Array, seed: int) -> dict[str, Any]:
    """Whether a classifier answers texts as well when a tenth of their words is missing.

    A naive Bayes classifier learns from every second text and answers the others, whole and with gaps. Where it keeps
    its accuracy, texts say what they say more than once, and dropping words in training keeps the class.
    """
    if len(found) < LEAST_SURVEYED:
        return {"suits": False, "samples": len(found)}
    hashed = [np.array([zlib.crc32(w.encode("utf-8", "surrogatepass")) % BUCKETS for w in text]) for text in found]
    classes = int(truths.max()) + 1
    counts = np.ones((classes, BUCKETS))
    for ids, truth in zip(hashed[::2], truths[::2], strict=True):
        np.add.at(counts[int(truth)], ids.astype(np.int64), 1)
    weights = np.log(counts / counts.sum(axis=1, keepdims=True))
    prior = np.log(np.bincount(truths[::2], minlength=classes) + 1.0)
    generator = np.random.default_rng(seed)

    def right(share: float) -> float:
        hits = 0
        for ids, truth in zip(hashed[1::2], truths[1::2], strict=True):
            kept = ids[generator.random(len(ids)) >= share].astype(np.int64)
            hits += int((prior + weights[:, kept].sum(axis=1)).argmax() == truth)
        return hits / max(1, len(hashed[1::2]))

    whole, gaps = right(0.0), right(DROPPED)
    commonest = float(np.bincount(truths).max() / len(truths))
    suits = whole > commonest and gaps >= KEPT_SHARE * whole
    return {"suits": bool(suits), "samples": len(found), "whole": round(whole, 4), "gaps": round(gaps, 4)}


def script_problems(counts: Counts) -> list[DataProblem]:
    """A remark where samples are written in several scripts: one model then learns several languages."""
    total = sum(counts.values())
    ordered = sorted(((n, name) for name, n in counts.items() if name not in ("mixed", "none")), reverse=True)
    second = ordered[1][0] if len(ordered) > 1 else 0
    mixed = counts.get("mixed", 0)
    if not total or (second < SECOND_SCRIPT * total and mixed < MIXED_TEXTS * total):
        return []
    named = ", ".join(f"{name} {n / total:.0%}" for n, name in ordered[:3]) + (
        f", two in one text {mixed / total:.0%}" if mixed else ""
    )
    sentence = f"the texts are written in several scripts ({named}); have enough samples of each, or a model for each"
    return [DataProblem("MIXED_SCRIPTS", "", total - (ordered[0][0] if ordered else 0), sentence)]
