"""Tables: cells, kinds of columns, rows to numbers, checks, scores of numbers, and the modules that ship."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor import registry
from sartor.catalog.tasks.parts.regression_scores import regression_scores
from sartor.catalog.tasks.parts.tabular_cells import category_of, date_of, date_parts, flag_of, is_missing, number_of
from sartor.catalog.tasks.parts.tabular_columns import Columns, inputs_of, kind_of, learn_columns
from sartor.catalog.tasks.parts.tabular_survey import mid_ranks, survey_rows
from sartor.errors import DataError
from sartor.types import Pipeline

LABELS = registry.get("tasks", "tabular-classification")
NUMBERS = registry.get("tasks", "tabular-regression")


# ---------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234", 1234),
        ("1,234,567.5", 1234567.5),
        (" 12 %", 12),
        ("$3.50", 3.5),
        ("-€ 2", -2),
        ("3,14", 3.14),
        ("−4", -4),
        (".5", 0.5),
        (7, 7),
        ("12 apples", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("", None),
        (10**400, None),
        (float("inf"), None),
        ("1" * 70, None),
    ],
)
def test_numbers_are_read_as_people_write_them(text, number):
    assert number_of(text) == number


def test_what_counts_as_missing():
    assert all(map(is_missing, (None, "", " N/A ", "NaN", "?", "-", float("nan"))))
    assert not any(map(is_missing, (0, "0", "no", False, "nano")))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-05-31", datetime.datetime(2024, 5, 31)),
        ("2024-05-31T06:30:00+02:00", datetime.datetime(2024, 5, 31, 6, 30)),
        ("2024/5/31 18:05", datetime.datetime(2024, 5, 31, 18, 5)),
        ("31.5.2024", datetime.datetime(2024, 5, 31)),
        ("5/31/2024", datetime.datetime(2024, 5, 31)),
        ("31/05/2024", datetime.datetime(2024, 5, 31)),
        ("31.13.2024", None),
        ("20240531", None),
        ("1.2.3", None),
        ("about 2024-05-31", None),
    ],
)
def test_dates(text, date):
    assert date_of(text) == date


def test_parts_of_a_date():
    year, *rest = date_parts(datetime.datetime(2024, 7, 1, 13))
    assert rest == [7, 1, 0, 13]
    assert 2024.45 < year < 2024.55


def test_flags_and_categories():
    assert (flag_of("Yes"), flag_of("F"), flag_of(True), flag_of("1"), flag_of(1)) == (1, 0, 1, None, None)
    assert (category_of(3.0), category_of(" a "), category_of(True), category_of(2.5)) == ("3", "a", "true", "2.5")


# -------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("a", [1, 2.5, None, "3,000"] * 20, "number"),
        ("a", [1, 2, 3, 4] * 20, "number"),
        ("job_type", [1, 2, 3, 4] * 20, "code"),
        ("id", list(range(80)), "name"),
        ("amount", list(range(80)), "number"),
        ("a", ["x", "y"] * 20, "category"),
        ("a", ["yes", "no", ""] * 20, "flag"),
        ("a", [f"2024-01-{day:02d}" for day in range(1, 29)], "date"),
        ("a", [f"customer {n}" for n in range(80)], "name"),
        ("a", [f"this is the {n}th of many sentences" for n in range(80)], "text"),
        ("a", [None, "", "NA"], "empty"),
        ("a", [5, 5, None], "constant"),
    ],
)
def test_kinds(name, cells, kind):
    assert kind_of(name, cells) == kind


def table(rows: int = 200) -> list[dict]:
    generator = np.random.default_rng(0)
    colours = ("red", "green", "blue")
    return [
        {
            "size": round(float(generator.normal()), 3),
            "colour": colours[int(generator.integers(3))],
            "when": f"2024-{1 + number % 12:02d}-03",
            "note": f"row number {number} says this and that",
            "ok": bool(number % 2),
        }
        for number in range(rows)
    ]


def learnt(rows, truths, classes=True):
    facts = survey_rows(iter(rows), np.asarray(truths), classes)
    return Columns(learn_columns(iter(rows), np.asarray(truths), facts["inputs"], classes)), facts


def test_a_row_becomes_numbers():
    rows = table()
    worth = {"red": 10.0, "green": 30.0, "blue": 20.0}
    columns, facts = learnt(rows, [worth[row["colour"]] for row in rows], classes=False)
    assert facts["inputs"] == 9
    row = columns.row({"size": 1.5, "colour": "green", "when": "2024-03-03", "note": "x", "ok": True})
    assert row.dtype == np.float32
    assert row[:2].tolist() == [1.5, 2.0]  # red, blue, green by what they are worth
    assert np.isnan(row[3])
    assert row[4:].tolist() == [1.0, 3.0, 3.0, 6.0, 0.0]


def test_both_ways_of_preparing_agree():
    rows = [{name: value for name, value in row.items() if name != "when"} for row in table()]
    columns, _ = learnt(rows, [number % 3 for number in range(len(rows))])
    for row in (*rows[:20], {**rows[0], "colour": None}, {**rows[0], "size": None}):
        assert np.array_equal(columns.row(row), columns._carefully(row), equal_nan=True)


def test_unknown_values_and_wrong_kinds():
    columns, _ = learnt(table(), [number % 2 for number in range(200)])
    row = columns.row({"size": "big", "colour": "pink", "ok": "no", "when": "never"})
    assert np.isnan(row[[0, 2, 3]]).all()
    assert row[1] not in (0.0, 1.0, 2.0)
    assert row[4] == 0.0
    assert np.isnan(columns.row({})).all()
    assert np.isfinite(columns.row({"size": 1e300})[0])
    with pytest.raises(DataError, match="did you mean 'colour'"):
        columns.row({"color": "red"})


def test_rare_categories_share_a_code():
    rows = [{"a": "often" if number % 3 else "mostly", "b": number / 7} for number in range(300)]
    rows[0]["a"], rows[7]["a"] = "once", "never again"
    columns, _ = learnt(rows, [number % 2 for number in range(300)])
    assert columns.columns[0].categories in (("often", "mostly"), ("mostly", "often"))
    codes = {columns.row({"a": name})[0] for name in ("once", "never again", "new")}
    assert len(codes) == 1


def test_categories_of_many_classes_are_ordered_by_their_answers():
    rows, truths = [], []
    for category, answer in (("p", 0), ("q", 3), ("r", 0), ("s", 3), ("t", 1)):
        rows += [{"a": category, "b": 0.5 * len(rows) + number} for number in range(40)]
        truths += [answer] * 40
    columns, _ = learnt(rows, truths)
    order = columns.columns[0].categories
    assert {order.index("p"), order.index("r")} in ({0, 1}, {3, 4})
    assert {order.index("q"), order.index("s")} in ({0, 1}, {3, 4})


def test_the_width_follows_the_survey_where_more_rows_disagree():
    rows = [
        {"a": number, "when": "2024-01-02" if number < 5 else "soon" if number % 2 else "later"} for number in range(99)
    ]
    few = learn_columns(iter(rows), np.zeros(99), 2, True)
    many = learn_columns(iter(rows), np.zeros(99), 6, True)
    assert len(Columns(few).row(rows[0])) == 2
    assert Columns(many).row(rows[0])[2:].tolist() == [1.0, 2.0, 1.0, 0.0]
    with pytest.raises(DataError, match="prepare the data again"):
        learn_columns(iter(rows), np.zeros(99), 4, True)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("size", "colour", "ok", "note")),
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=8)
        | st.lists(st.integers(), max_size=2),
    )
)
def test_any_row_of_known_columns_is_prepared(row):
    rows = [{name: value for name, value in one.items() if name != "when"} for one in table(60)]
    columns, facts = learnt(rows, [number % 2 for number in range(60)])
    assert columns.row(row).shape == (inputs_of(["number", "category", "text", "flag"]),)


# --------------------------------------------------------------------------------------------------------- survey


def codes(problems):
    return {problem.code: problem for problem in problems}


def test_what_is_wrong_with_columns_is_told():
    generator = np.random.default_rng(0)
    truths = generator.integers(0, 2, 200)
    rows = [
        {
            "same": 4,
            "nothing": "n/a",
            "key": f"K{number}",
            "comment": f"the {number}th of many longer comments",
            "leak": int(truth) * 3 + 1,
            "leaky": "won" if truth else "lost",
            "few": number if number % 5 == 0 else None,
            "written": f"{number + 1000:,}" if number % 2 else number + 1000,
            "mixed": "unknown!" if number % 50 == 7 else number % 13,
            "fine": float(generator.normal()),
        }
        for number, truth in enumerate(truths)
    ]
    facts = survey_rows(iter(rows), truths, True)
    found = codes(facts["problems"])
    assert set(found) == {
        *("CONSTANT_COLUMN", "EMPTY_COLUMN", "NAME_COLUMN", "TEXT_COLUMN", "TELLS_THE_TRUTH"),
        *("MANY_MISSING", "NUMBERS_AS_TEXT", "MIXED_COLUMN"),
    }
    assert found["TELLS_THE_TRUTH"].examples == ("leak: AUC 1.0000", "leaky: agreement 1.0000")
    assert found["MANY_MISSING"].examples == ("few: 80%",)
    assert facts["columns"]["fine"] == "number"
    assert facts["columns"]["comment"] == "left out: free text"


def test_a_table_without_usable_columns_is_refused():
    with pytest.raises(DataError, match="no column can be used: a \\(one value\\)"):
        survey_rows(iter([{"a": 1}] * 5), np.zeros(5), True)


def test_far_and_uneven_truths_are_told():
    truths = np.random.default_rng(0).normal(size=500)
    rows = [{"a": float(value)} for value in np.random.default_rng(1).normal(size=500)]
    assert not codes(survey_rows(iter(rows), truths, False)["problems"])
    truths[:2] = 1e4, -2e4
    found = codes(survey_rows(iter(rows), truths, False)["problems"])
    assert set(found) == {"FAR_TRUTH", "SKEWED_TRUTH"}
    assert found["FAR_TRUTH"].examples == ("-20000", "10000")


def test_mid_ranks():
    assert mid_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


# --------------------------------------------------------------------------------------------------- raw and answer


@pytest.mark.parametrize("raw", [b"", b"[1]", b"3", b"{", b"null", b"\xff", b"[" * 5000])
def test_what_is_no_row_is_refused(raw):
    with pytest.raises(DataError):
        LABELS.inspect(raw)


def test_equal_rows_are_copies_only_where_they_tell_much():
    def content(raw):
        return LABELS.inspect(raw).content

    assert content(b'{"a":1.23456,"b":98765.4}') == content(b'{ "b":98765.4, "a":1.23456}')
    assert content(b'{"a":1,"b":0} ') != content(b'{"a":1,"b":0}  ')


def test_answers():
    pipeline = Pipeline("tabular-regression", (), (2,), "m", "onnxruntime", "fp32", 1, 1)
    assert NUMBERS.answer(np.array([12345.6]), pipeline) == {"label": "12,346", "value": 12345.6}
    with pytest.raises(DataError, match="not finite"):
        NUMBERS.answer(np.array([np.nan]), pipeline)
    example = NUMBERS.show(b'{"a":1.5,"b":"x","c":null}', 3.0, np.array([2.5]), pipeline)
    assert (example.truth, example.answer, example.text) == ("3", "2.5", "a 1.5, b x")


@pytest.mark.parametrize("n", [19, 60, 450, 3000])
def test_ranges_hold_the_share_they_promise_of_fresh_rows(n):
    """Errors here grow with the number: one margin for all would be too wide for the small and too narrow above."""
    generator = np.random.default_rng(n)

    def drawn(rows):
        answers = generator.uniform(1, 100, rows)
        return answers[:, None], answers * (1 + 0.1 * generator.standard_normal(rows))

    held = []
    for _ in range(20):
        pipeline = Pipeline("t", (), (2,), "m", "onnxruntime", "fp32", 1, 1, dict(NUMBERS.margins(*drawn(n))))
        answers = [(NUMBERS.answer(output, pipeline), truth) for output, truth in zip(*drawn(200), strict=True)]
        held += [answer["low"] <= truth <= answer["high"] for answer, truth in answers]
    assert 0.93 <= np.mean(held) <= 0.99
    spans = [answer["high"] - answer["low"] for answer, _ in sorted(answers, key=lambda pair: pair[0]["value"])]
    assert n < 450 or spans[-1] > 3 * spans[0]
    assert answers[0][0]["within"] == 0.95
    assert " … " in answers[0][0]["range"]


def test_too_few_rows_promise_nothing_and_equal_answers_have_equal_ranges():
    assert NUMBERS.margins(np.zeros((18, 1)), np.arange(18.0)) == {}
    constant = NUMBERS.margins(np.full((500, 1), 5.0), np.arange(500.0))
    assert (constant["edges"], len(constant["margins"])) == ([], 1)
    with_gap = NUMBERS.margins(np.array([[1.0], [np.nan]] * 30), np.zeros(60))
    assert with_gap["margins"] == [1.0]


@pytest.mark.parametrize("task", [LABELS, NUMBERS], ids=lambda task: task.name)
@pytest.mark.parametrize(("value", "other"), [(7, "doubled"), ("red", "another"), (True, "turned round")])
def test_explanations_name_the_column_that_decides(task, value, other):
    """The column counts only where it is changed to something: missing is taken for what it was."""
    pipeline = Pipeline(task.name, ("no", "yes"), (2,), "m", "onnxruntime", "fp32", 1, 1)
    changed = {"doubled": 14, "another": "\0", "turned round": False}[other]

    def ask(raws):
        values = np.array([0.3 if json.loads(raw)["a"] == changed else 0.9 for raw in raws])
        return np.c_[1 - values, values] if task is LABELS else values[:, None]

    explanation = task.explain(ask, json.dumps({"b": 2, "a": value, "c": None}).encode(), pipeline)
    assert explanation.kind == "features"
    assert explanation.causes[0].name == f"a = {value}"
    assert explanation.causes[0].weight == pytest.approx(0.6)
    assert [cause.weight for cause in explanation.causes[1:]] == [0.0]
    became = "0.9 becomes 0.3" if task is LABELS else "it becomes 0.3"
    assert f"a = {value}: {other}, {became}" in explanation.sentence
    assert (explanation.sentence.count("(no)"), explanation.sentence.count("0.3")) == (int(task is LABELS), 1)


def test_an_explanation_says_so_where_nothing_decides():
    pipeline = Pipeline("tabular-regression", (), (2,), "m", "onnxruntime", "fp32", 1, 1)
    explanation = NUMBERS.explain(lambda raws: np.ones((len(raws), 1)), b'{"a":1}', pipeline)
    assert explanation.sentence.startswith("no single column decides")
    assert NUMBERS.explain(lambda raws: np.ones((len(raws), 1)), b"{}", pipeline).causes == ()


# ---------------------------------------------------------------------------------------------------------- scores


def test_scores_of_numbers_are_those_of_scikit_learn():
    from sklearn import metrics

    generator = np.random.default_rng(0)
    truths = generator.gamma(2, 100, 400)
    answers = truths + generator.normal(0, 20, 400)
    found = NUMBERS.score(answers[:, None], truths, (), 0.95)
    wanted = {
        "rmse": metrics.root_mean_squared_error(truths, answers),
        "mae": metrics.mean_absolute_error(truths, answers),
        "r2": metrics.r2_score(truths, answers),
    }
    for name, value in wanted.items():
        assert found.values[name][0] == pytest.approx(value)
    for value, low, high in found.values.values():
        assert low < value < high
    assert found.resample(np.arange(400)) == pytest.approx(wanted["rmse"])
    assert found.worst[0] == np.abs(answers - truths).argmax()
    assert set(found.values) == {metric.name for metric in NUMBERS.metrics}
    assert [line.name for line in found.charts[0].lines][0] == "mean truth"


def test_the_interval_of_rmse_covers_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        gaps = generator.normal(size=120)
        _, low, high = regression_scores(gaps[:, None], np.zeros(120), 0.9).values["rmse"]
        covered += low <= 1 <= high
    assert covered >= 45


def test_scores_of_few_and_of_equal_truths():
    values = NUMBERS.score(np.array([[1.0]]), np.array([0.0]), (), 0.95).values
    assert set(values) == {"rmse", "mae"}
    exact = NUMBERS.score(np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), (), 0.95).values
    assert exact["r2"] == (1.0, 1.0, 1.0)


def test_wrong_numbers_and_differences():
    assert NUMBERS.wrong(np.zeros(1, np.float32), 5.0).tolist() == [55.0]
    assert NUMBERS.difference(np.array([2000.0]), np.array([2001.0])) == pytest.approx(0.0005, rel=0.01)
    assert NUMBERS.difference(np.array([np.nan]), np.array([1.0])) == float("inf")


# --------------------------------------------------------------------------------------------------------- tensors


def test_the_encoding_steps_through_values_and_marks_what_is_missing():
    torch = pytest.importorskip("torch")
    prepared = np.array([[0.0, 5], [1, np.nan], [2, np.nan], [4, np.nan]], np.float32)
    encoded = LABELS.normalise(torch.tensor([[3.0, np.nan], [np.inf, 9.0]]), LABELS.statistics(prepared))
    assert encoded.shape == (2, 2, 34)
    assert encoded[0, 0, :5].tolist() == [0.0, 1.0, 1.0, 0.5, 0.0]
    assert encoded[0, 1, :33].tolist() == [1.0] + [0.0] * 32
    assert encoded[1, 0, 1:4].tolist() == [1.0, 1.0, 1.0]
    assert torch.isnan(encoded[0, 1, 33])
    assert encoded[..., :33].isfinite().all()


def test_a_column_of_mostly_zeros_still_has_steps_for_the_rest():
    prepared = np.r_[np.zeros(1900), np.random.default_rng(0).random(100)].astype(np.float32)[:, None]
    edges = np.array(LABELS.statistics(prepared)["edges"])
    assert len(np.unique(edges)) > 15


def test_numbers_leave_the_module_in_the_unit_of_the_truths():
    torch = pytest.importorskip("torch")
    truths = np.array([100.0, 300.0])
    prepared = np.zeros((2, 1), np.float32)
    statistics = {**NUMBERS.statistics(prepared), **NUMBERS.truth_statistics(truths)}

    class Ones(torch.nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 1)

    assert NUMBERS.wrap(Ones(), statistics)(torch.zeros(1, 1)).tolist() == [[300.0]]
    assert NUMBERS.scale(torch.tensor(truths), statistics).tolist() == [-1.0, 1.0]
    assert NUMBERS.truth_statistics(np.ones(3)) == {"truth_mean": (1.0,), "truth_scale": (1.0,)}
