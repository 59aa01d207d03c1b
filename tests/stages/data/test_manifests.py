import csv
import json

import pytest

from sartor.errors import DataError
from sartor.prepared import open_data
from sartor.reading.picture_tables import choose_columns
from sartor.types import DataSource


@pytest.fixture
def pictures(tmp_path, picture):
    """24 picture files in img/, and their names with labels."""
    (tmp_path / "img").mkdir()
    rows = []
    for index in range(24):
        (tmp_path / "img" / f"{index}.png").write_bytes(picture(index))
        rows.append((f"img/{index}.png", "cat" if index % 2 else "dog"))
    return rows


def write_csv(path, rows, header=("path", "label"), delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows] if header else rows)
    return path


def total(card):
    return sum(split.samples for split in card.splits.values())


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_paths(tmp_path, pictures, prepared, workspace, picture, delimiter):
    card = prepared(write_csv(tmp_path / "m.csv", pictures, delimiter=delimiter, encoding="utf-8-sig"))
    assert card.labels == ("cat", "dog")
    assert total(card) == 24
    train = open_data(card.fingerprint, workspace).split("train")
    assert train.raw(0) == (tmp_path / train.place(0)).read_bytes()


def test_csv_without_a_header(tmp_path, pictures, prepared):
    assert total(prepared(write_csv(tmp_path / "m.csv", pictures, header=None))) == 24


def test_csv_with_absolute_paths_and_missing_things(tmp_path, pictures, prepared, problem):
    rows = [(str(tmp_path / name), label) for name, label in pictures]
    rows += [("img/none.png", "cat"), ("", "cat"), ("https://x.org/a.png", "dog"), (str(tmp_path / "img/3.png"), "")]
    card = prepared(write_csv(tmp_path / "m.csv", rows))
    examples = " | ".join(problem(card, "BROKEN").examples)
    assert "img/none.png: the file does not exist" in examples
    assert "m.csv row 26: there is no path" in examples
    assert "web address" in examples
    assert problem(card, "UNLABELLED").count == 1


def test_csv_that_is_not_utf8(tmp_path, pictures, prepared):
    path = write_csv(tmp_path / "m.csv", [*pictures, ("img/ü.png", "cat")], encoding="latin-1")
    with pytest.raises(DataError, match="line 26 is not UTF-8"):
        prepared(path)


@pytest.mark.parametrize("content", [b"", b"path,label\n"])
def test_empty_csv(tmp_path, prepared, content):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError, match="no rows"):
        prepared(tmp_path / "m.csv")


def test_jsonl_with_labels_of_every_kind(tmp_path, pictures, prepared):
    for values, expected in (
        ([0, 1], ("0", "1")),
        ([True, False], ("False", "True")),
        ([10.0, 9.0], ("9", "10")),
        (["b", " a "], ("a", "b")),
    ):
        lines = [json.dumps({"image": name, "label": values[i % 2]}) for i, (name, _) in enumerate(pictures)]
        (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n\n")
        assert prepared(tmp_path / "m.jsonl").labels == expected


@pytest.mark.parametrize(("line", "words"), [("{oops", "line 2 is not JSON"), ("[1]", "line 2 is not an object")])
def test_jsonl_with_a_bad_line(tmp_path, prepared, line, words):
    (tmp_path / "m.jsonl").write_text('{"path": "a.png", "label": 1}\n' + line + "\n")
    with pytest.raises(DataError, match=words):
        prepared(tmp_path / "m.jsonl")


# ------------------------------------------------------------------------------------------------------ parquet


def write_parquet(path, columns, features=None):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(columns)
    if features:
        metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        table = table.replace_schema_metadata(metadata)
    parquet.write_table(table, path, row_group_size=7)
    return path


def test_parquet_of_hugging_face_structs(tmp_path, picture, prepared, workspace):
    images = [{"bytes": picture(index), "path": f"{index}.png"} for index in range(30)]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["zebra", "ant", "unused"]}}
    path = write_parquet(tmp_path / "p.parquet", {"image": images, "label": [i % 2 for i in range(30)]}, features)
    card = prepared(path)
    assert card.labels == ("zebra", "ant")
    assert [problem.examples for problem in card.problems if problem.code == "ABSENT_CLASS"] == [("unused",)]
    train = open_data(card.fingerprint, workspace).split("train")
    for index in range(len(train)):
        row = int(train.place(index).split("row ")[1].split(" ")[0]) - 1
        assert train.raw(index) == images[row]["bytes"]
        assert train.truths[index] == row % 2


def test_parquet_of_plain_bytes_and_of_paths(tmp_path, picture, pictures, prepared):
    path = write_parquet(
        tmp_path / "b.parquet", {"img": [picture(i) for i in range(30)], "y": [i % 3 for i in range(30)]}
    )
    assert prepared(path).labels == ("0", "1", "2")
    columns = {"file_name": [name for name, _ in pictures], "class": [label for _, label in pictures]}
    assert total(prepared(write_parquet(tmp_path / "p.parquet", columns))) == 24


def test_a_folder_of_shards_named_after_splits(tmp_path, picture, prepared):
    (tmp_path / "hf" / "data").mkdir(parents=True)
    for name, start in (("train-00000-of-00002", 0), ("train-00001-of-00002", 20), ("test-00000-of-00001", 40)):
        columns = {"image": [picture(start + i) for i in range(20)], "label": [i % 2 for i in range(20)]}
        write_parquet(tmp_path / "hf" / "data" / f"{name}.parquet", columns)
    card = prepared(tmp_path / "hf")
    assert {name: split.samples for name, split in card.splits.items()} == {"train": 32, "validation": 8, "test": 20}


def test_shards_by_a_pattern(tmp_path, picture, prepared):
    for shard in range(3):
        columns = {"image": [picture(shard * 10 + i) for i in range(10)], "label": [i % 2 for i in range(10)]}
        write_parquet(tmp_path / f"part-{shard}.parquet", columns)
    assert total(prepared(tmp_path / "part-*.parquet")) == 30
    assert prepared(tmp_path / "part-[01].parquet") != prepared(tmp_path / "part-*.parquet")
    (tmp_path / "part-x.txt").write_text("x")
    with pytest.raises(DataError, match="only tables .* may be many"):
        prepared(tmp_path / "part-*")
    with pytest.raises(DataError, match="nothing matches"):
        prepared(tmp_path / "none-*.parquet")


def test_damaged_parquet(tmp_path, prepared):
    (tmp_path / "p.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        prepared(tmp_path / "p.parquet")


def test_missing_label_numbers_are_unlabelled(tmp_path, picture, prepared, problem):
    features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    labels = [i % 2 for i in range(20)] + [-1, None, 7]
    columns = {"image": [picture(i) for i in range(23)], "label": labels}
    assert problem(prepared(write_parquet(tmp_path / "p.parquet", columns, features)), "UNLABELLED").count == 3


# ------------------------------------------------------------------------------------------------------ columns


def choose(columns, **source):
    notes = []
    return choose_columns(columns, DataSource("t", **source), "t.csv", "train", notes), notes


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["image", "label"], ("image", "label")),
        (["Label", "Image_Path"], ("Image_Path", "Label")),
        (["img", "fine_label", "coarse_label"], ("img", "fine_label")),
        (["what", "label"], ("what", "label")),
        (["photo", "species"], ("photo", "species")),
    ],
)
def test_columns_are_guessed(columns, expected):
    assert choose(columns)[0] == expected


def test_an_ambiguous_guess_says_so():
    chosen, notes = choose(["image", "path", "label"])
    assert chosen == ("image", "label")
    assert "'path' would also do (set data.input)" in notes[0].sentence


def test_what_cannot_be_guessed_is_asked_for():
    with pytest.raises(DataError, match="no column looks like the input among a, b, c; name it with data.input"):
        choose(["a", "b", "c"])
    with pytest.raises(
        DataError, match="data.label names the column 'lable', which is not there; did you mean 'label'"
    ):
        choose(["image", "label"], label="lable")
    assert choose(["a", "b", "c"], input="c", label="a")[0] == ("c", "a")
