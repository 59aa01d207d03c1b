"""Tables as rows, whatever holds them, and where they are found."""

import gzip
import json

import pytest

from sartor.errors import DataError
from sartor.reading.locate import open_tables, table_sources
from sartor.reading.tables import class_names, column_names, is_table, pick_columns, read_rows
from sartor.types import DataSource

ROWS = [{"a": "1", "b": "eins"}, {"a": "2", "b": "zwei, drei"}]


@pytest.fixture(params=["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.parquet", "t.csv.gz", "t.jsonl.gz"])
def table(request, tmp_path):
    path = tmp_path / request.param
    kind = request.param.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        return path
    if kind == "csv":
        text = 'a,b\n1,eins\n2,"zwei, drei"\n'
    elif kind == "tsv":
        text = "a\tb\n1\teins\n2\tzwei, drei\n"
    else:
        text = "\n".join(json.dumps(row) for row in ROWS)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_rows_of_every_kind(table):
    assert is_table(table)
    assert list(read_rows(table)) == ROWS
    assert [row["b"] for row in read_rows(table, ["b"])] == ["eins", "zwei, drei"]
    assert column_names(table) == ["a", "b"]
    assert class_names(table, "a") == ()


def test_tables_by_name(tmp_path):
    assert [is_table(tmp_path / name) for name in ("a.CSV", "a.Jsonl.GZ", "a.parquet.gz", "a.gz", "csv", "a.txt")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_cell_longer_than_the_csv_module_takes_by_itself(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "x" * 200_000 + ",1\n")
    assert len(next(read_rows(tmp_path / "t.csv"))["a"]) == 200_000


def test_columns_that_only_later_objects_have(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"b": 2, "a": 3}\n')
    assert column_names(tmp_path / "t.jsonl") == ["a", "b"]


@pytest.mark.parametrize("cut", [5, -6])
def test_a_gzipped_table_that_is_damaged(tmp_path, cut):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 1000)[:cut])
    with pytest.raises(DataError, match=r"t\.csv\.gz: "):
        list(read_rows(path))


# -------------------------------------------------------------------------------------------------------- where


@pytest.fixture
def folder(tmp_path):
    for name in ("train.csv", "test.csv", "more/train-0.csv", "more/train-1.csv", "one/ratings.csv", "two/a.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"a,b\n{name},1\n")
    (tmp_path / "two" / "b.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two" / "notes.txt").write_text("hello")
    return tmp_path


def found(source):
    return [(split, [path.name for path in paths]) for split, paths in table_sources(source)]


def test_where_tables_are(folder):
    both = [("test", ["test.csv"]), ("train", ["train.csv"])]
    assert sorted(found(DataSource(str(folder)))) == both
    given = DataSource(str(folder), test=str(folder / "two" / "a.csv"))
    assert found(given) == [("train", ["train.csv"]), ("test", ["a.csv"])]
    assert found(DataSource(str(folder / "more"))) == [("train", ["train-0.csv", "train-1.csv"])]
    assert found(DataSource(str(folder / "more" / "train-*.csv"))) == [("train", ["train-0.csv", "train-1.csv"])]
    assert found(DataSource(str(folder / "one"))) == [("train", ["ratings.csv"])]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("trian.csv", "data.train: .*trian.csv does not exist. Did you mean .*train.csv"),
        ("none-*.csv", "data.train: nothing matches .*none-"),
        ("two", "two holds a.csv, b.csv; name its tables after splits"),
        ("empty", "empty holds no table"),
        ("two/*", r"matches .*notes.txt, but only tables"),
        ("two/notes.txt", "notes.txt is not a table Sartor reads; give .parquet, .csv"),
    ],
)
def test_tables_that_are_not_there(folder, address, words):
    for find in (table_sources, open_tables):
        with pytest.raises(DataError, match=words):
            find(DataSource(str(folder / address)))


def test_tables_are_opened_with_names_for_rows(folder):
    [table] = open_tables(DataSource(str(folder / "more")))
    assert (table.split, table.columns, table.root) == ("train", ("a", "b"), folder / "more")
    rows = list(table.rows(None))
    assert rows == list(table.rows(None))  # anew at each call
    assert [(place, row["a"]) for place, row in rows] == [
        ("train-0.csv row 1", "more/train-0.csv"),
        ("train-1.csv row 1", "more/train-1.csv"),
    ]


def test_files_of_the_hub_are_no_files(folder):
    with pytest.raises(DataError, match="is a data set of the hub, but files are needed"):
        table_sources(DataSource("hub:owner/name"))


# ------------------------------------------------------------------------------------------------------ columns


def pick(columns, notes=None, **given):
    usual = {"user": ("user", "id"), "item": ("item", "id"), "rating": ("rating",)}
    wanted = {role: (given.get(role, ""), names) for role, names in usual.items()}
    return pick_columns(columns, wanted, "t.csv", "train", [] if notes is None else notes)


def test_roles_never_share_a_column():
    assert pick(["id", "item", "rating"]) == {"user": "id", "item": "item", "rating": "rating"}
    assert pick(["id", "user", "rating"], item="user") == {"item": "user", "user": "id", "rating": "rating"}
    notes = []
    assert pick(["user", "id", "rating"], notes) == {"user": "user", "item": "id", "rating": "rating"}
    assert [note.code for note in notes] == ["GUESSED_COLUMN"]
    assert "'id' would also do (set data.user)" in notes[0].sentence


def test_the_one_column_left():
    assert pick(["user", "what", "rating"])["item"] == "what"
    with pytest.raises(DataError, match="no column looks like the item among user, rating, x, y; name it with"):
        pick(["user", "rating", "x", "y"])
