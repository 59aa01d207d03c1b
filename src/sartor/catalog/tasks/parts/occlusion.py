"""Explains answers about pictures by covering one region after another and asking the shipped file again.

Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", arXiv:1311.2901, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sartor.types import Cause, Explanation

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

GRID = 7  # regions a side; tiny pictures have fewer
LONGEST_SIDE = 448  # pixels: a larger picture is reduced first, regions are coarse anyway
MOST_CAUSES = 5
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


def explain_regions(
    ask: Callable[[Sequence[bytes]], Array], pixels: Array, confidence: Callable[[Array], float], answer: str
) -> Explanation:
    """Which regions of a picture an answer rests on.

    Args:
        ask: outputs for raw inputs.
        pixels: the picture, (h, w, 3) uint8.
        confidence: one output to the confidence in the answer that is explained.
        answer: in words.
    """
    from sartor.media.draw import heat
    from sartor.media.image import resize, to_png

    factor = LONGEST_SIDE / max(pixels.shape[:2])
    if factor < 1:
        pixels = resize(pixels, [max(1, round(side * factor)) for side in pixels.shape[:2]])
    rows, columns = (max(1, min(GRID, side // 2)) for side in pixels.shape[:2])
    whole = confidence(ask([to_png(pixels)])[0])
    cover = pixels.reshape(-1, 3).mean(axis=0).astype(np.uint8)
    weights = np.zeros((rows, columns), np.float32)
    edges = [
        np.linspace(0, side, count + 1).astype(int)
        for side, count in ((pixels.shape[0], rows), (pixels.shape[1], columns))
    ]
    for row in range(rows):
        for column in range(columns):
            covered = pixels.copy()
            covered[edges[0][row] : edges[0][row + 1], edges[1][column] : edges[1][column + 1]] = cover
            weights[row, column] = whole - confidence(ask([to_png(covered)])[0])
    causes = _causes(weights)
    if not causes or causes[0].weight < 0.01:
        sentence = f"no single region decides: {answer} keeps its confidence of {whole:.2f} whatever is covered"
    else:
        fall = f"its confidence falls from {whole:.2f} by {causes[0].weight:.2f}"
        sentence = f"{answer} rests on the {causes[0].name}: covered, {fall}"
    return Explanation("regions", causes, sentence, heat(pixels, weights))


def _causes(weights: Array) -> tuple[Cause, ...]:
    rows, columns = weights.shape
    order = np.argsort(-np.abs(weights), axis=None)[:MOST_CAUSES]
    causes = []
    for flat in order:
        row, column = divmod(int(flat), columns)
        name = f"{ROWS[row * 3 // rows]} {COLUMNS[column * 3 // columns]}"
        place = (row / rows, column / columns, (row + 1) / rows, (column + 1) / columns)
        causes.append(Cause(name, float(weights[row, column]), place))
    return tuple(causes)
