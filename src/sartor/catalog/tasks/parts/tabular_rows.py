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
    *,
    confidence: bool,
) -> Explanation:
    """Which columns an answer rests on: each in turn is made missing or another, and the file is asked again.

    The weight of a column is the largest fall (or rise, below 0) among its changes: what is missing may be taken for
    the very value that was there. Numbers are also halved, doubled and set to 0, flags turned round, text replaced by
    what no category is called.

    Args:
        ask: outputs for raw inputs.
        raw: the row.
        measure: one output to what is followed: the confidence in the answer, or the answered number.
        answer: one output in words.
        confidence: whether ``measure`` is the confidence in the answer, rather than the answer itself.
    """
    row = decode_row(raw)
    asked, meant = [raw], []
    for name, value in row.items():
        for words, other in _others(value):
            asked.append(json.dumps({**row, name: other}).encode())
            meant.append((name, words))
    outputs = ask(asked)
    whole, said = measure(outputs[0]), answer(outputs[0])
    strongest: dict[str, tuple[float, str, Array]] = {}
    for (name, words), output in zip(meant, outputs[1:], strict=True):
        fall = whole - measure(output)
        if name not in strongest or abs(fall) > abs(strongest[name][0]):
            strongest[name] = fall, words, output
    order = sorted(strongest, key=lambda name: -abs(strongest[name][0]))[:MOST_CAUSES]
    causes = tuple(Cause(f"{name} = {_short(row[name])}", strongest[name][0]) for name in order)
    if not causes or abs(causes[0].weight) < 0.01 * max(abs(whole), 1e-9):
        return Explanation("features", causes, f"no single column decides: it stays {said} whichever is changed")
    fall, words, output = strongest[order[0]]
    other = answer(output)
    became = f"{whole:,.4g} becomes {whole - fall:,.4g}" if confidence else f"it becomes {other}"
    turned = f" ({other})" if confidence and other != said else ""
    return Explanation("features", causes, f"{said} rests most on {causes[0].name}: {words}, {became}{turned}")


def _others(value: Any) -> list[tuple[str, Any]]:
    """What is put in the place of a value, each with a word for it; nothing for what is missing already."""
    if value is None:
        return []
    missing: list[tuple[str, Any]] = [("missing", None)]
    if isinstance(value, bool):
        return [*missing, ("turned round", not value)]
    if isinstance(value, (int, float)):
        return [*missing, ("halved", value / 2), ("doubled", value * 2), ("set to 0", 0)]
    return [*missing, ("another", "\0")] if isinstance(value, str) else missing
