"""Which words go with which answer of a model, over many texts. numpy and the standard library only.

Source: Monroe, Colaresi and Quinn 2008, "Fightin' words", section 3.5 (log-odds with an informative prior).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sartor.catalog.tasks.parts.text_encodings import terms
from sartor.media.text import words
from sartor.types import Table

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

MOST_TEXTS = 2_000  # looked at
MOST_LABELS = 30  # the most frequent answers
MOST_WORDS = 10  # of an answer
LEAST_TEXTS = 3  # that a word has to occur in
PRIOR_TEXTS = 20  # of the average kind, that every answer is taken to have had already
LEAST_Z = 2.5  # standard errors beyond nothing

TITLE = "Words that go with each answer"


def telling_words(texts: Sequence[str], answers: Array, labels: Sequence[str]) -> tuple[Table, ...]:
    """A table of the words and phrases that texts answered so hold far more often than the others.

    Args:
        texts: decoded inputs; the first 2,000 count.
        answers: (n,) numbers of labels.
        labels: their names.

    Returns:
        One table, or none where nothing stands out.
    """
    texts, answers = texts[:MOST_TEXTS], np.asarray(answers[:MOST_TEXTS])
    held = [_phrases(words(text)) for text in texts]
    counts = Counter(phrase for phrases in held for phrase in phrases)
    known = {phrase: number for number, phrase in enumerate(sorted(p for p, c in counts.items() if c >= LEAST_TEXTS))}
    found = np.zeros((len(labels), len(known)))
    for phrases, answer in zip(held, answers, strict=True):
        found[answer, [known[phrase] for phrase in phrases if phrase in known]] += 1
    sizes, names = np.bincount(answers, minlength=len(labels)), list(known)
    asked = [label for label in np.argsort(-sizes, kind="stable")[:MOST_LABELS] if 0 < sizes[label] < len(texts)]
    rows = []
    for label in sorted(asked):
        strength = _strength(found[label], sizes[label], found.sum(0) - found[label], len(texts) - sizes[label])
        order = [place for place in np.argsort(-strength, kind="stable") if strength[place] >= LEAST_Z]
        rows.append((labels[label], " · ".join(_apart([names[place] for place in order])) or "–"))
    if all(said == "–" for _, said in rows):
        return ()
    note = (
        f"Words and phrases that occur far more often in the texts answered so than in the others, of {len(texts):,} "
        "texts; what a single answer rests on is found by asking again without its words"
    )
    return (Table(TITLE, ("answer", "typical words"), tuple(rows), note),)


def _phrases(found: Sequence[str]) -> set[str]:
    """Words and pairs as they are read; of scripts without spaces pairs and triples: a character says little."""
    phrases = set()
    for term in terms(found):
        parts = term.split(" ")
        unspaced = all(len(part) == 1 and part >= "\u0e00" for part in parts)
        if all(any(map(str.isalnum, part)) for part in parts) and not (unspaced and len(parts) == 1):
            phrases.add("".join(parts) if unspaced else term)
    return phrases


def _strength(here: Array, size: int, elsewhere: Array, others: int) -> Array:
    """How many standard errors the log-odds of a word here exceed those elsewhere."""
    prior = PRIOR_TEXTS * (here + elsewhere) / (size + others)
    inside, outside = here + prior, elsewhere + prior
    without, without_too = size + PRIOR_TEXTS + 1 - inside, others + PRIOR_TEXTS + 1 - outside  # 1: nothing is certain
    odds = np.log(inside / without) - np.log(outside / without_too)
    strength: Array = odds / np.sqrt(1 / inside + 1 / outside)
    return strength


def _apart(phrases: Sequence[str]) -> list[str]:
    """The strongest, without those that say a stronger one again."""
    chosen: list[str] = []
    for phrase in phrases:
        if not any(phrase in other or other in phrase for other in chosen):
            chosen.append(phrase)
        if len(chosen) == MOST_WORDS:
            break
    return chosen
