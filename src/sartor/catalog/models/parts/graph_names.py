"""What the outputs of a graph from elsewhere mean: names of classes in the file or beside it, matched to labels."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import Refused

if TYPE_CHECKING:
    from onnx import ModelProto

KEYS = ("names", "labels", "classes", "class_names", "id2label")
"""Of the metadata in which exporters write names of classes; YOLO's is ``names``."""

UNKNOWN = -1
_MOST_NAMES = 100_000


def names_of(model: ModelProto, path: Path) -> tuple[str, ...]:
    """Names of classes: of the file ``NAME.names`` beside the model, one a line, else of its metadata; empty without.

    Raises:
        Refused: the file of names is not UTF-8.
    """
    beside = path.with_suffix(".names")
    if beside.is_file():
        try:
            lines = beside.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{beside} cannot be read as UTF-8 text ({error}); it holds a class's name a line") from None
        return tuple(line.strip() for line in lines if line.strip())
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    for key in KEYS:
        found = _listed(metadata.get(key, ""))
        if found:
            return found
    return ()


def _listed(text: str) -> tuple[str, ...]:
    """A JSON or Python literal, list or numbered dictionary, or lines, as names; empty where it is none of them."""
    document: Any = None
    for read in (json.loads, ast.literal_eval):  # literals alone: nothing is run
        try:
            document = read(text)
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    if isinstance(document, dict):
        try:
            numbered = {int(key): name for key, name in document.items()}
        except (TypeError, ValueError):
            return ()
        if sorted(numbered) != list(range(len(numbered))):
            return ()
        document = [numbered[place] for place in range(len(numbered))]
    if document is None and "\n" in text:
        document = [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(document, list) or not 0 < len(document) <= _MOST_NAMES:
        return ()
    return tuple(document) if all(isinstance(name, str) for name in document) else ()


def places_of(labels: Sequence[str], names: Sequence[str]) -> list[int]:
    """For each label the number of the class of that name, :data:`UNKNOWN` where there is none.

    Case, underscores and hyphens do not matter.
    """
    known: dict[str, int] = {}
    for place, name in enumerate(names):
        known.setdefault(_plain(name), place)
    return [known.get(_plain(label), UNKNOWN) for label in labels]


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
