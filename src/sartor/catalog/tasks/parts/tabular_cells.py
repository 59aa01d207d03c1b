"""What one cell of a table holds: nothing, a number, a date, a category. Standard library only."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "missing"})
"""Words, in small letters, that stand for no value."""

TRUE, FALSE = frozenset({"true", "yes", "y", "t"}), frozenset({"false", "no", "n", "f"})

DATE_PARTS = ("time", "month", "day", "weekday", "hour")
"""What a date becomes: years with their fraction since year 0, month 1..12, day 1..31, weekday 0..6, hour 0..23."""

_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_COMMA = re.compile(r"[0-9]+,[0-9]+")
_YEAR_FIRST = re.compile(r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4})")
_CLOCK = re.compile(r"[T ]+([0-9]{1,2}):([0-9]{2})(?::[0-9.]+)?$")
_CURRENCY = "$€£¥₹"


def is_missing(value: Any) -> bool:
    """None, a number that is not finite, or a word for nothing."""
    if value is None:
        return True
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and value.strip().lower() in MISSING


def number_of(value: Any) -> float | None:
    """A cell as a number, also where it is written as text: ``1,234.5``, `` 12 %``, ``$3``, ``3,14``; else None."""
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.strip().replace("−", "-").replace(" ", "").removesuffix("%").strip(_CURRENCY + " ")
    sign = text[:1] if text[:1] in ("-", "+") else ""
    digits = text.removeprefix(sign).lstrip(_CURRENCY)
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _COMMA.fullmatch(digits):
        digits = digits.replace(",", ".")
    if not digits[:1].isdigit() and digits[:1] != ".":  # "nan", "infinity" and the like are no numbers
        return None
    try:
        number = float(sign + digits)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in digits else None


def flag_of(value: Any) -> float | None:
    """1 or 0 for true and false, yes and no; else None."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        word = value.strip().lower()
        return 1.0 if word in TRUE else 0.0 if word in FALSE else None
    return None


def date_of(value: Any) -> datetime.datetime | None:
    """A cell as a date: ISO 8601, ``2024/5/31``, ``31.5.2024``, and with strokes month first where both would do."""
    if not isinstance(value, str) or not 8 <= len(value.strip()) <= 35:
        return None
    text = value.strip()
    if not text[0].isdigit() or not any(sign in text for sign in "-/."):
        return None
    try:
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        pass
    clock = _CLOCK.search(text)
    hour, minute = (int(clock[1]), int(clock[2])) if clock else (0, 0)
    day_text = text[: clock.start()] if clock else text
    try:
        if found := _YEAR_FIRST.fullmatch(day_text):
            return datetime.datetime(int(found[1]), int(found[2]), int(found[3]), hour, minute)
        if found := _YEAR_LAST.fullmatch(day_text):
            first, second, year = int(found[1]), int(found[3]), int(found[4])
            month_first = found[2] == "/" and first <= 12
            month, day = (first, second) if month_first else (second, first)
            return datetime.datetime(year, month, day, hour, minute)
    except ValueError:
        pass
    return None


def date_parts(date: datetime.datetime) -> tuple[float, ...]:
    """The numbers of ``DATE_PARTS``."""
    start = datetime.datetime(date.year, 1, 1)
    year = date.year + (date - start).total_seconds() / (366 * 86400)
    return year, float(date.month), float(date.day), float(date.weekday()), float(date.hour)


def category_of(value: Any) -> str:
    """A cell as the name of a category: whole numbers without a point, text without its margins."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
