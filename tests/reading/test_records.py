"""Tables whose rows are inputs: which column is the label, what a row becomes, and what is told about it."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path

import pytest

from sartor.errors import DataError
from sartor.reading.records import CLASS_NAMES, NUMBER_NAMES, plain_value, read_records, telling_digits
from sartor.types import DataSource


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def one(source: DataSource, usual: tuple[str, ...] = CLASS_NAMES):
    (part,) = read_records(source, usual)
    return part, list(part.samples)


def test_rows_become_objects_without_the_label(tmp_path):
    path = written(tmp_path, "a.csv", "age,city,zip,target\n40,Bonn,007,yes\n,Köln,12 %,no\n")
    part, samples = one(DataSource(path))
    assert [sample.label for sample in samples] == ["yes", "no"]
    assert [json.loads(sample.raw) for sample in samples] == [
        {"age": 40, "city": "Bonn", "zip": "007"},
        {"age": "", "city": "Köln", "zip": "12 %"},
    ]
    assert samples[0].place == "a.csv row 1"
    assert [note.code for note in part.notes] == ["GUESSED_COLUMN"]


@pytest.mark.parametrize(
    ("header", "usual", "chosen", "why"),
    [
        ("x,y,price", NUMBER_NAMES, "price", "by its name"),
        ("a,y,b", CLASS_NAMES, "y", "by its name"),
        ("x,y,b", CLASS_NAMES, "b", "the last one"),
        ("class,b,Target", CLASS_NAMES, "Target", "'class' would also do"),
        ("a,b,c", NUMBER_NAMES, "c", "the last one"),
    ],
)
def test_the_label_is_guessed_and_told(tmp_path, header, usual, chosen, why):
    part, _ = one(DataSource(written(tmp_path, "a.csv", f"{header}\n1,2,3\n")), usual)
    assert f"column {chosen!r} is taken as label" in part.notes[0].sentence
    assert why in part.notes[0].sentence


def test_a_named_label_is_no_guess_and_columns_can_be_left_out(tmp_path):
    path = written(tmp_path, "a.csv", "id,a,b,c\n1,2,3,4\n")
    part, samples = one(DataSource(path, label="b", options={"ignore": ["id"]}))
    assert json.loads(samples[0].raw) == {"a": 2, "c": 4}
    assert (samples[0].label, part.notes) == ("3", [])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"label": "pris"}, "did you mean 'price'"),
        ({"label": "price", "options": {"ignore": ["aage"]}}, "did you mean 'age'"),
        ({"label": "price", "options": {"ignore": 3}}, "must be a list of columns"),
        ({"label": "price", "options": {"ignore": "age"}}, "no column beside 'price'"),
        ({"input": "age"}, "a row's input is all its columns"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, source, said):
    with pytest.raises(DataError, match=said):
        read_records(DataSource(written(tmp_path, "a.csv", "age,price\n1,2\n"), **source), NUMBER_NAMES)


def test_all_parts_have_the_columns_of_train(tmp_path):
    train = written(tmp_path, "train.csv", "a,b,c,label\n1,2,3,x\n")
    test = written(tmp_path, "test.csv", "label,c,d,a\nx,3,9,1\n")
    parts = read_records(DataSource(train, test=test), CLASS_NAMES)
    assert [json.loads(sample.raw) for sample in parts[1].samples] == [{"a": 1, "b": None, "c": 3}]
    assert {note.code: note.examples for note in parts[1].notes} == {
        "FURTHER_COLUMNS": ("d",),
        "LACKING_COLUMNS": ("b",),
    }
    with pytest.raises(DataError, match="'label', which train answers with, is not there"):
        read_records(DataSource(train, test=written(tmp_path, "b.csv", "a,b\n1,2\n")), CLASS_NAMES)


def test_equal_rows_of_flags_stay_apart_and_copies_of_long_rows_do_not(tmp_path):
    flags = written(tmp_path, "flags.jsonl", '{"a": 1, "b": true, "label": 0}\n' * 300)
    _, samples = one(DataSource(flags))
    assert len({sample.raw for sample in samples}) == 300
    assert all(json.loads(sample.raw) == {"a": 1, "b": True} for sample in samples)
    long = written(tmp_path, "long.jsonl", '{"a": 1.23456, "b": 98765.4, "label": 0}\n' * 3)
    assert len({sample.raw for sample in one(DataSource(long))[1]}) == 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("12", 12),
        ("-1.5e3", -1500.0),
        ("1e999", "1e999"),
        ("+3", "+3"),
        (" 3", " 3"),
        (float("nan"), None),
        (decimal.Decimal("2.5"), 2.5),
        (datetime.date(2024, 5, 6), "2024-05-06"),
        (datetime.datetime(2024, 5, 6, 7, 8), "2024-05-06T07:08:00"),
        (b"ab", "ab"),
        (True, True),
        ([1, 2], "[1, 2]"),
    ],
)
def test_cells_become_json_values(value, plain):
    assert plain_value(value) == plain
    assert type(plain_value(value)) is type(plain)


def test_telling_digits():
    assert telling_digits({"a": 1, "b": 0.0, "c": "red", "d": True, "e": None, "f": 200}) == 0
    assert telling_digits({"a": 61.5, "b": 2.43}) == 4
    assert telling_digits({"name": "a longer text"}) == 2
