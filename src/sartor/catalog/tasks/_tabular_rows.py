"""Rows of tables as raw inputs: reading one, showing one, and saying which of its columns an answer rests on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Sighting
from sartor.errors import DataError
from sartor.reading.records import TELLING_DIGITS, telling_digits
from sartor.types import Cause, Explanation

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

LARGEST_ROW = 1 << 22  # bytes of JSON
MOST_CAUSES = 8
SHOWN_CHARACTERS = 400


def decode_row(raw: bytes) -> dict[str, Any]:
    """A JSON object as a dict.

    Raises:
        DataError: it is none, or larger than 4 MiB.
    """
    if len(raw) > LARGEST_ROW:
        raise DataError(f"the row has {len(raw):,} bytes; at most {LARGEST_ROW:,} are read")
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise DataError(
            f'the row is not JSON ({reason}); give an object such as {{"age": 40, "city": "Bonn"}}'
        ) from None
    if type(row) is not dict:
        raise DataError(f'the row is a JSON {_kind(row)}; give an object such as {{"age": 40, "city": "Bonn"}}')
    return row


def _kind(value: Any) -> str:
    kinds = ((bool, "flag"), (list, "list"), (str, "text"), ((int, float), "number"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def look_at_row(raw: bytes) -> Sighting:
    """Equal rows are copies where they hold enough to be told apart; else their bytes say (see ``read_records``)."""
    if not raw.strip():
        raise DataError("the row is empty")
    row = decode_row(raw)
    telling = telling_digits(row) >= TELLING_DIGITS
    meaning = json.dumps(row, sort_keys=True, ensure_ascii=False).encode() if telling else raw
    return Sighting(hashlib.sha256(meaning).hexdigest(), {})


def row_text(row: Mapping[str, Any]) -> str:
    """A row for people: ``carat 0.7, cut Ideal``; cut where it is long, values that are missing left out."""
    parts = [f"{name} {_short(value)}" for name, value in row.items() if value is not None]
    text = ", ".join(parts)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS].rsplit(",", 1)[0] + ", …"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def explain_columns(
    ask: Callable[[Sequence[bytes]], Array],
    raw: bytes,
    measure: Callable[[Array], float],
    answer: Callable[[Array], str],
) -> Explanation:
    """Which columns an answer rests on: each in turn is taken away (made missing), and the file is asked again.

    Args:
        ask: outputs for raw inputs.
        raw: the row.
        measure: one output to what is followed: the confidence in the answer, or the answered number.
        answer: one output in words.
    """
    row = decode_row(raw)
    names = [name for name, value in row.items() if value is not None]
    asked = [raw, *(json.dumps({**row, name: None}).encode() for name in names)]
    outputs = ask(asked)
    whole = measure(outputs[0])
    weights = [whole - measure(output) for output in outputs[1:]]
    order = sorted(range(len(names)), key=lambda number: -abs(weights[number]))[:MOST_CAUSES]
    causes = tuple(Cause(f"{names[number]} = {_short(row[names[number]])}", weights[number]) for number in order)
    said = answer(outputs[0])
    if not causes or abs(causes[0].weight) < 0.01 * max(abs(whole), 1e-9):
        return Explanation(
            "features", causes, f"no single column decides: the answer stays {said} whichever is missing"
        )
    first = order[0] + 1
    sentence = (
        f"{said} rests most on {causes[0].name}: without it, {whole:.3g} becomes {measure(outputs[first]):.3g} "
        f"({answer(outputs[first])})"
    )
    return Explanation("features", causes, sentence)
