from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.stages.requirement.units import (
    WrongUnit,
    parse_duration,
    parse_quantity,
    written_duration,
)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (5, "ms", 5.0),
        ("5", "ms", 5.0),
        ("5 ms", "ms", 5.0),
        ("0.5 s", "ms", 500.0),
        ("250us", "ms", 0.25),
        ("250 µs", "ms", 0.25),
        ("5MB", "MB", 5.0),
        ("200 KB", "MB", 0.2),
        ("200 kB", "MB", 0.2),
        ("1 GiB", "MB", 1073.741824),
        ("1 MiB", "MB", 1.048576),
        ("1500000 bytes", "MB", 1.5),
        ("90 %", "", 0.9),
        ("90%", "", 0.9),
        ("120 /min", "1/s", 2.0),
        ("30 1/s", "1/s", 30.0),
        ("1e3 ms", "ms", 1000.0),
        ("  7  ", "ms", 7.0),
        ("3 J", "J", 3.0),
    ],
)
def test_clear_units_are_converted(value: object, unit: str, expected: float) -> None:
    assert parse_quantity(value, unit) == expected


@pytest.mark.parametrize(
    ("value", "unit"), [("5 MB", "ms"), ("5 ms", "MB"), ("5 Mb", "MB"), ("5 %", "ms"), ("5 s", ""), ("5 kJ", "J")]
)
def test_another_unit_is_named(value: str, unit: str) -> None:
    with pytest.raises(WrongUnit) as caught:
        parse_quantity(value, unit)
    assert caught.value.number == 5


@pytest.mark.parametrize("value", ["", "fast", "ms", "--5", "nan", "inf", "1e999", "5 5", True, None, [], {}])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the caller says what is wrong
        parse_quantity(value, "ms")
    assert not isinstance(caught.value, WrongUnit)


@pytest.mark.parametrize("value", ["1,5", "5e", "5 ms 3", "5 ms ms", "5 μ s"])
def test_half_a_number_is_none(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_quantity(value, "ms")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), ("1.5 h", 5400), ("2 minutes 5 s", 125), ("1d", 86400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 minuets", "-5m", "5m-", "1e5s", "0s", "31d", "9" * 400 + "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="it must be"):
        parse_duration(text)


@given(st.integers(1, 30 * 86400) | st.floats(1, 1e6).map(lambda value: round(value, 6)))
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    assert parse_duration(written_duration(seconds)) == seconds
