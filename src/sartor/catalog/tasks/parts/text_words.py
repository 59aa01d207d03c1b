"""Explains answers about texts by leaving words out and asking the shipped file again.

Source: Li, Monroe and Jurafsky 2016, "Understanding neural networks through representation erasure", arXiv:1612.08220.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sartor.media.text import word_places
from sartor.types import Cause, Explanation

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

MOST_ASKED = 64  # words or phrases left out one by one in one go; of longer texts phrases come first
LOOKED_INTO = 4  # phrases whose words are then left out
MOST_CAUSES = 5
LEAST_WEIGHT = 0.01  # of confidence
MOST_TOGETHER = 10  # words left out together where none decides alone
TELLING_FALL = 0.1  # of confidence, from which words left out together explain an answer
LONGEST_NAME = 40  # characters

Place = tuple[int, int]  # first character and the one behind the last


def explain_words(
    ask: Callable[[Sequence[bytes]], Array], text: str, confidence: Callable[[Array], float], answer: str
) -> Explanation:
    """Which words an answer rests on; of scripts without spaces, which runs of characters.

    Args:
        ask: outputs for raw inputs.
        text: the input, decoded.
        confidence: one output to the confidence in the answer that is explained.
        answer: in words.
    """
    whole = confidence(ask([text.encode("utf-8", "surrogatepass")])[0])

    def weigh(places: Sequence[Place]) -> list[float]:
        left = [_without(text, place) for place in places]
        found = [confidence(output) for output in ask(left)] if left else []
        return [whole - value for value in found]

    places = word_places(text)
    if len(places) > MOST_ASKED:
        phrases = _phrases(places, MOST_ASKED)
        weights = weigh([(part[0][0], part[-1][1]) for part in phrases])
        best = sorted(range(len(phrases)), key=lambda number: (-abs(weights[number]), number))[:LOOKED_INTO]
        places = [place for number in sorted(best) for place in phrases[number]][:MOST_ASKED]
    causes = _joined(text, places, weigh(places))
    causes.sort(key=lambda cause: (-abs(cause.weight), cause.place))
    if not causes or causes[0].weight >= LEAST_WEIGHT:
        return Explanation("words", tuple(causes[:MOST_CAUSES]), _sentence(causes, whole, answer))
    speaking = sorted(causes, key=lambda cause: (-cause.weight, cause.place))[:MOST_TOGETHER]
    left = [_without(text, *(cause.place for cause in speaking[:count])) for count in range(2, len(speaking) + 1)]
    falls = [whole - confidence(output) for output in ask(left)] if left else []
    return Explanation("words", tuple(causes[:MOST_CAUSES]), _together(speaking, falls, whole, answer))


def _without(text: str, *places: Sequence[float]) -> bytes:
    """The text with gaps; where nothing is left it becomes a full stop, as nothing at all is no text."""
    for start, end in sorted(places, key=lambda place: -place[0]):
        text = text[: int(start)] + " " + text[int(end) :]
    return (text if text.strip() else ".").encode("utf-8", "surrogatepass")


def _phrases(places: Sequence[Place], most: int) -> list[list[Place]]:
    """Neighbouring words together, at most so many groups of nearly equal size."""
    edges = np.linspace(0, len(places), most + 1).round().astype(int)
    return [list(places[start:end]) for start, end in zip(edges, edges[1:], strict=False) if end > start]


def _joined(text: str, places: Sequence[Place], weights: Sequence[float]) -> list[Cause]:
    """Words as causes; characters that touch and speak for the same side become one cause, with their sum."""
    causes: list[Cause] = []
    for (start, end), weight in zip(places, weights, strict=True):
        last = causes[-1] if causes else None
        if (
            last is not None
            and last.place[1] == start
            and min(abs(weight), abs(last.weight)) >= LEAST_WEIGHT / 2
            and (weight > 0) == (last.weight > 0)
        ):
            start, weight = int(last.place[0]), weight + last.weight
            causes.pop()
        causes.append(Cause(text[start:end][:LONGEST_NAME], float(weight), (float(start), float(end))))
    return causes


def _sentence(causes: Sequence[Cause], whole: float, answer: str) -> str:
    speaking = [cause for cause in causes if cause.weight >= LEAST_WEIGHT][:3]
    if not speaking:
        return f"no word speaks for {answer}: it keeps its confidence of {whole:.2f} whichever is left out"
    fall = f"its confidence falls from {whole:.2f} by {speaking[0].weight:.2f}"
    return f"{answer} rests on {_named(speaking)}: without “{speaking[0].name}” {fall}"


def _together(speaking: Sequence[Cause], falls: Sequence[float], whole: float, answer: str) -> str:
    """Of an answer that no single word carries: the fewest words that carry it together."""
    telling = next((count for count, fall in enumerate(falls, 2) if fall >= TELLING_FALL), 0)
    if not telling:
        return f"no single word decides: {answer} keeps its confidence of {whole:.2f} whichever is left out"
    fall = f"the confidence of {answer} falls from {whole:.2f} by {falls[telling - 2]:.2f}"
    return f"no single word decides: without {_named(speaking[:telling])} together {fall}"


def _named(causes: Sequence[Cause]) -> str:
    return ", ".join(f"“{cause.name}”" for cause in causes)
