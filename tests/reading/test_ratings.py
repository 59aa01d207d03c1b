import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import DataError
from sartor.reading import features, interactions
from sartor.reading.event_tables import moment
from sartor.reading.features import find_features
from sartor.reading.interactions import Interactions, Told
from sartor.reading.ratings import read_ratings
from sartor.types import DataSource

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "movielens_latest_small"


def read(path, **options):
    parts = {part.split: part for part in read_ratings(DataSource(str(path), options=options))}
    found = {
        split: {
            raw["user"]: (raw["history"], json.loads(sample.truth)["items"])
            for sample in part.samples
            for raw in [json.loads(sample.raw)]
        }
        for split, part in parts.items()
    }
    notes = {problem.code: problem for part in parts.values() for problem in part.notes}
    return parts, found, notes


def table(tmp_path, text, name="ratings.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_last_two_of_each_user_are_set_aside(tmp_path):
    path = table(tmp_path, "userId,movieId,timestamp\n1,c,30\n1,a,10\n1,b,20\n1,d,40\n2,a,1\n2,b,2\n2,c,3\n")
    parts, found, notes = read(path)
    assert found["train"] == {"1": (["a"], ["a", "b"]), "2": ([], ["a"])}
    assert found["validation"] == {"1": (["a", "b"], ["c"]), "2": (["a"], ["b"])}
    assert found["test"] == {"1": (["a", "b", "c"], ["d"]), "2": (["a", "b"], ["c"])}
    assert parts["train"].names == ("a", "b")  # of train, the most frequent first
    assert notes["COLD_ITEM"].count == 2  # c and d are in nobody's train


def test_titles_name_items_and_ids_travel_with_train(tmp_path):
    table(tmp_path, "movieId,title,genres\n1,Heat,x\n2,Heat,y\n3,Alien,z\n", "movies.csv")
    path = table(tmp_path, "userId,movieId,rating,timestamp\n7,3,4,1\n7,1,5,2\n7,2,1,3\n7,9,2,4\n")
    parts, found, _ = read(tmp_path)
    assert parts["train"].names == ("Alien", "Heat [1]")
    assert found["test"]["7"] == ([["Alien", 4.0], ["Heat [1]", 5.0], ["Heat [2]", 1.0]], ["9"])
    sample = next(iter(read_ratings(DataSource(str(path)))[0].samples))
    assert json.loads(sample.raw)["ids"] == {"3": "Alien", "1": "Heat [1]"}
    assert json.loads(sample.truth) == {"items": ["Alien", "Heat [1]"], "ratings": [4.0, 5.0]}


def test_given_splits_are_followed_and_the_future_in_train_is_told(tmp_path):
    rows = "user,item,ts,split\n1,a,1,train\n1,b,9,train\n1,c,5,val\n1,d,6,test\n2,a,1,train\n3,a,2,test\n"
    _, found, notes = read(table(tmp_path, rows))
    assert found["validation"] == {"1": (["a", "b"], ["c"])}
    assert found["test"] == {"1": (["a", "b", "c"], ["d"]), "3": ([], ["a"])}
    assert notes["FUTURE_IN_TRAIN"].count == 1
    assert "user 1, item b" in notes["FUTURE_IN_TRAIN"].examples
    assert notes["COLD_USER"].count == 1
    assert notes["SINGLE_EVENT_USER"].count == 2


def test_one_moment_for_all(tmp_path):
    rows = [f"{user},{item},{10 * item + user}" for user in range(5) for item in range(20)]
    _, found, notes = read(table(tmp_path, "\n".join(["user,item,time", *rows])), split="time")
    assert "FUTURE_IN_TRAIN" not in notes
    assert found["train"]["0"][1] == [str(item) for item in range(16)]
    assert found["validation"]["0"] == ([str(item) for item in range(16)], ["16", "17"])
    assert found["test"]["0"][1] == ["18", "19"]


def test_what_is_odd_is_left_out_and_told(tmp_path):
    good = [f"{user},{item},{1 + item % 5},{item}" for user in range(30) for item in range(5)]
    odd = ["0,0,3,7", "1,9,55,9", ",3,4,1", "2,3,x,1", "2,8,4,soon"]
    _, found, notes = read(table(tmp_path, "\n".join(["user_id,item_id,rating,timestamp", *good, *odd])))
    assert notes["RATING_SCALE"].count == 1
    assert "0.5 to 5" in notes["RATING_SCALE"].sentence
    assert notes["REPEATED_PAIR"].count == 1
    assert notes["BROKEN"].count == 3
    assert found["test"]["0"][1] == ["0"]  # the repeated pair's latest


def test_without_times_rows_are_in_order(tmp_path):
    path = table(tmp_path, "\n".join(json.dumps({"user": 1, "item": item}) for item in "dbca"), "events.jsonl")
    _, found, notes = read(path)
    assert found["test"]["1"] == (["d", "b", "c"], ["a"])
    assert "NO_TIMES" in notes


def test_features_are_found_told_and_let_new_items_in(tmp_path):
    rows = (
        "1,Heat,crime|drama,1995,x\n2,Alien,horror,1979,y\n3,Up,drama,2009,z\n4,Big,drama|crime,1988,w\n4,Big,drama,,\n"
    )
    table(tmp_path, "movieId,title,genres,year,sku\n" + rows + ",No,drama,1,\n", "movies.csv")
    table(tmp_path, "userId,age,plan\n7,25,free\n8,60,paid\n9,30,free\n", "users.csv")
    table(tmp_path, "userId,movieId,timestamp\n7,1,1\n7,5,2\n7,3,4\n8,1,1\n8,2,3\n8,5,5\n")
    parts, _, notes = read(tmp_path)
    assert parts["train"].names == ("Heat", "Big", "Up")  # Heat was met in train, the others share features
    said = parts["train"].facts["item features"]
    assert said["genres"] == "3 names, several of them in a row with | between"
    assert said["year"] == said["sku"] == "left out: different in nearly every row"  # too few for steps
    assert parts["train"].facts["user features"]["plan"] == "2 names"
    assert {code: notes[code].count for code in ("REPEATED_ID", "NO_ID", "NEW_ITEM", "NO_FEATURES")} == {
        "REPEATED_ID": 1,
        "NO_ID": 1,
        "NEW_ITEM": 1,
        "NO_FEATURES": 1,  # of users: one alone has a paid plan
    }
    samples = {
        part.split: [json.loads(one.raw) for one in part.samples] for part in read_ratings(DataSource(str(tmp_path)))
    }
    told = samples["train"][0]["told"]
    assert told["item_tokens"] == ["genres=drama", "genres=crime"]  # one row alone has horror
    assert told["user_tokens"] == ["plan=free"]
    items = {name: numbers for raw in samples["train"] for name, numbers in raw["items"].items()}
    assert items == {"Heat": [1, 2], "Up": [1], "Big": [1, 2]}
    assert samples["test"][0]["features"]["plan"] == "free"


def test_numbers_become_steps_and_requests_are_read_alike():
    rows = {str(n): {"price": n * 10, "when": f"20{n:02d}-06-01", "rare": "a" if n else "b"} for n in range(40)}
    found = find_features(rows, ["price", "when", "rare"])
    assert found.said["price"].endswith("in 8 steps")
    assert found.said["when"].startswith("numbers from 2000.4")
    number = {token: place for place, token in enumerate(found.tokens, 1)}
    again = features.from_plain(json.loads(json.dumps(features.plain(found.columns))))
    for identifier, row in rows.items():
        assert features.numbers_of(row, again, number) == found.rows[identifier]
    assert len({found.rows[str(n)] for n in range(40)}) > 8
    assert features.numbers_of({"price": "dear", "rare": "never seen"}, again, number) == ()


def test_items_are_kept_out_of_train_on_request(tmp_path):
    table(tmp_path, "item,kind\n" + "\n".join(f"{n},{'ab'[n % 2]}" for n in range(20)), "items.csv")
    rows = [f"{user},{(user + step) % 20},{step}" for user in range(20) for step in range(8)]
    path = table(tmp_path, "\n".join(["user,item,time", *rows]))
    _, found, notes = read(path, new_items=0.25)
    held = {str(n) for n in range(20)} - {item for _, items in found["train"].values() for item in items}
    assert len(held) == 5
    assert notes["HELD_OUT_ITEMS"].count == 5
    truths = [
        json.loads(one.truth) for one in read_ratings(DataSource(str(path), options={"new_items": 0.25}))[2].samples
    ]
    assert {item for truth in truths for item in truth.get("new", ())} == held


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("userId,movieId\n1,a\n1,b\n", {}, "at least 3 interactions"),
        ("a,b\n1,2\n", {}, "user"),
        ("userId,movieId\n1,a\n", {"split": "weekly"}, "last"),
        ("userId,movieId\n1,a\n", {"history": 0}, "whole number"),
        ("userId,movieId\n1,a\n1,b\n1,c\n", {"items": "nowhere.csv"}, "nowhere.csv"),
        ("userId,movieId,split\n1,a,later\n", {}, "row 1"),
        ("userId,movieId\n1,a\n1,b\n1,c\n", {"new_items": 0.9}, "share"),
        ("userId,movieId\n1,a\n1,b\n1,c\n", {"new_items": 0.1}, "data.items"),
        ("userId,movieId\n1,a\n1,b\n1,c\n", {"users": "no_ids.csv"}, "it must have userId"),
    ],
)
def test_refusals_say_what_is_wrong(tmp_path, text, options, sentence):
    table(tmp_path, "age,plan\n1,free\n", "no_ids.csv")
    with pytest.raises(DataError, match=sentence):
        read(table(tmp_path, text), **options)


def test_several_tables_without_a_telling_name(tmp_path):
    table(tmp_path, "user,item\n1,2\n", "one.csv")
    table(tmp_path, "user,item\n1,2\n", "two.csv")
    with pytest.raises(DataError, match=r"one\.csv, two\.csv"):
        read(tmp_path)


def test_moments():
    assert moment("12.5") == 12.5
    assert moment("1970-01-02") == 86400
    assert moment("1970-01-01T01:00:00+01:00") == 0
    with pytest.raises(ValueError, match="neither"):
        moment("yesterday")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=60),
    st.sampled_from(["last", "time"]),
)
def test_nothing_of_a_user_is_later_than_what_it_is_judged_by(rows, how):
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.full(len(rows), np.nan)
    people, things = [str(n) for n in range(5)], [str(n) for n in range(10)]
    events = Interactions(people, things, user, item, nothing, time.astype(float), np.zeros(len(rows), np.int8))
    events = interactions.cleaned(events, [])
    pairs = set(zip(events.user.tolist(), events.item.tolist(), strict=True))
    assert len(pairs) == len(events)
    try:
        cut = interactions.cut(events, how)
    except DataError:
        return
    assert set(zip(cut.user.tolist(), cut.item.tolist(), strict=True)) == pairs
    assert not [problem for problem in interactions.remarks(cut, Told()) if problem.code == "FUTURE_IN_TRAIN"]
    for split in range(3):
        for sample in interactions.samples(cut, cut.items, split, 100, Told()):
            raw, truth = json.loads(sample.raw), json.loads(sample.truth)["items"]
            assert (raw["history"] == truth[:-1]) if split == 0 else not set(raw["history"]) & set(truth)


@pytest.mark.shared
def test_movielens():
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is absent")
    parts, found, notes = read(SHARED / "ratings_leave_last_out.parquet")
    assert {split: len(users) for split, users in found.items()} == {"train": 610, "validation": 610, "test": 610}
    assert len(parts["train"].names) == 9742  # those that train lacks have genres
    assert "Toy Story (1995)" in parts["train"].names
    assert "|" in parts["train"].facts["item features"]["genres"]
    assert set(notes) == {"NEW_ITEM"}
