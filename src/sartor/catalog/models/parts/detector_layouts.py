"""How detectors from elsewhere give what they found: which outputs hold boxes, scores and classes. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sartor.catalog.models.parts.onnx_graphs import Exit, shown
from sartor.errors import Refused

_MOST_ROWS = 1000  # found objects; more are candidates of a network that has not thinned them out
_SCORE_WORDS, _CLASS_WORDS = ("score", "conf", "prob"), ("class", "label", "categor")

KNOWN = (
    "rows (n, k, 6) of box, score and class; boxes (n, k, 4) with scores (n, k) and classes (n, k); boxes (n, q, 4) "
    "with scores (n, q, classes); or YOLO's (n, 4 + classes, q), also turned, also with a fifth column for objectness"
)


@dataclass(frozen=True)
class Layout:
    """Outputs and how they are read.

    Args:
        kind: ``rows``: one output of box, score, class number; ``lists``: boxes, scores, class numbers; ``scores``:
            boxes, scores of all classes; ``raw``: one output of boxes and scores of all classes side by side.
        outputs: names, in the order of the kind.
        unbatched: those without an axis for the batch.
        sides: of the outputs, with the batch.
        turned: raw ones whose columns lie in the second axis.
        objectness: raw ones with a column for it.
        background: a class more than there are names.
    """

    kind: Literal["rows", "lists", "scores", "raw"]
    outputs: tuple[str, ...]
    unbatched: tuple[str, ...]
    sides: tuple[tuple[int, ...], ...]
    turned: bool = False
    objectness: bool = False
    background: bool = False

    @property
    def overlapping(self) -> bool:
        """Whether several rows may mean one object."""
        return self.kind in ("scores", "raw")

    @property
    def exits(self) -> list[Exit]:
        """The outputs as they reach what follows, floats with the batch first."""
        return [Exit(name, sides, True) for name, sides in zip(self.outputs, self.sides, strict=True)]

    def as_options(self) -> dict[str, Any]:
        """Values of JSON."""
        return {
            "kind": self.kind, "outputs": list(self.outputs), "unbatched": list(self.unbatched),
            "sides": [list(one) for one in self.sides], "turned": self.turned, "objectness": self.objectness,
            "background": self.background,
        }  # fmt: skip


def from_options(options: dict[str, Any]) -> Layout:
    """What :meth:`Layout.as_options` gave."""
    return Layout(
        options["kind"], tuple(options["outputs"]), tuple(options["unbatched"]),
        tuple(tuple(one) for one in options["sides"]), options["turned"], options["objectness"], options["background"],
    )  # fmt: skip


def layout_of(exits: Sequence[Exit], classes: int, name: str) -> Layout:
    """The layout that outputs have.

    Args:
        exits: outputs for one picture.
        classes: number of names.
        name: of the file, for messages.

    Raises:
        Refused: none that is known here.
    """
    for read in (_rows, _lists, _scores, _raw):
        found = read(exits, classes)
        if found is not None:
            return found
    raise Refused(f"{name} gives {shown(exits)}, which is no detection with {classes} classes that is known: {KNOWN}")


def _rows(exits: Sequence[Exit], classes: int) -> Layout | None:
    fitting = [one for one in exits if len(one.sides) in (2, 3) and one.sides[-1] == 6 and one.sides[-2] <= _MOST_ROWS]
    return _layout("rows", fitting[:1]) if fitting else None


def _lists(exits: Sequence[Exit], classes: int) -> Layout | None:
    for boxes in (one for one in exits if len(one.sides) in (2, 3) and one.sides[-1] == 4):
        columns = [
            one
            for one in exits
            if one is not boxes and len(one.sides) == len(boxes.sides) - 1 and one.sides[-1] == boxes.sides[-2]
        ]
        scores = [one for one in columns if one.floats and not _named(one, _CLASS_WORDS)]
        numbers = [one for one in columns if one not in scores or _named(one, _CLASS_WORDS)]
        if len(scores) > 1:
            scores = [one for one in scores if _named(one, _SCORE_WORDS)]
        if len(scores) == 1 and len(numbers) == 1:
            return _layout("lists", [boxes, scores[0], numbers[0]])
    return None


def _scores(exits: Sequence[Exit], classes: int) -> Layout | None:
    for boxes in (one for one in exits if len(one.sides) == 3 and one.sides[-1] == 4):
        for scores in (one for one in exits if len(one.sides) == 3 and one.sides[1] == boxes.sides[1]):
            if scores is not boxes and scores.sides[2] in (classes, classes + 1):
                return _layout("scores", [boxes, scores], background=scores.sides[2] == classes + 1)
    return None


def _raw(exits: Sequence[Exit], classes: int) -> Layout | None:
    for one in (one for one in exits if len(one.sides) == 3):
        for axis in (1, 2):
            if one.sides[axis] in (4 + classes, 5 + classes) and one.sides[3 - axis] > 0:
                objectness = one.sides[axis] == 5 + classes
                return _layout("raw", [one], turned=axis == 1, objectness=objectness)
    return None


def _layout(kind: Any, exits: Sequence[Exit], **more: bool) -> Layout:
    """Boxes of two axes have none for the batch, nor has what belongs to them."""
    alone = len(exits[0].sides) == 2
    unbatched = tuple(one.name for one in exits) if alone else ()
    sides = tuple((1, *one.sides) if alone else one.sides for one in exits)
    return Layout(kind, tuple(one.name for one in exits), unbatched, sides, **more)


def _named(one: Exit, words: Sequence[str]) -> bool:
    return any(word in one.name.casefold() for word in words)
