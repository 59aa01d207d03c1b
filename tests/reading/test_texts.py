"""Readers of labelled texts: columns guessed, tables without a header, folders, encodings, scripts."""

import gzip
import json

import pytest

from sartor.errors import DataError
from sartor.media import text as media
from sartor.reading.texts import read_texts, shifted
from sartor.types import DataSource


def read(source):
    """Split -> [(text, label)], and all notes by code."""
    parts = read_texts(source)
    found = {part.split: [(s.raw.decode(), s.label) for s in part.samples if not s.problem] for part in parts}
    return found, {note.code: note for part in parts for note in part.notes}


def test_names_of_classes_go_before_their_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,text,label,label_name\n1,hello there,0,ham\n2,win money,1,spam\n")
    found, notes = read(DataSource(str(path)))
    assert found == {"train": [("hello there", "ham"), ("win money", "spam")]}
    assert not notes
    found, notes = read(DataSource(str(path), label="label"))
    assert found["train"][1] == ("win money", "1")


def test_a_guess_among_several_is_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("title,content,label,category\nx,good,1,book\ny,bad,0,book\n")
    found, notes = read(DataSource(str(path)))
    assert found["train"][0] == ("good", "1")
    assert "'label' is taken as label; 'category' would also do" in notes["GUESSED_COLUMN"].sentence


def test_jsonl_gz_and_empty_cells(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    rows = [{"review": "好", "sentiment": 1}, {"review": None, "sentiment": 0}, {"review": 5, "sentiment": 0}]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (part,) = read_texts(DataSource(str(path)))
    samples = list(part.samples)
    assert [sample.label for sample in samples] == ["1", "0", "0"]
    assert samples[0].raw == "好".encode()
    assert "no text" in samples[1].problem
    assert samples[2].raw == b"5"


def test_a_table_without_header_gives_its_first_line_too(tmp_path):
    path = tmp_path / "SMSSpamCollection.tsv"
    path.write_text("ham\tsee you at 5\nspam\twin money now\nham\tok\nham\tbye then\n")
    found, notes = read(DataSource(str(path)))
    assert found["train"][0] == ("see you at 5", "ham")
    assert len(found["train"]) == 4
    assert "first line" in notes["NO_HEADER"].sentence


def test_a_header_of_unusual_names_is_no_sample(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("kind,words\nham,see you\nspam,win money\n")
    with pytest.raises(DataError, match="no column looks like"):
        read_texts(DataSource(str(path)))


def test_folders_per_class_in_splits_and_encodings(tmp_path):
    for split in ("train", "test"):
        for label, words in (("good", "很好"), ("bad", "太差")):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            (folder / "1.txt").write_text(f"{words} 的酒店", encoding="utf-8-sig")
            (folder / "2.txt").write_bytes(f"{words} 的书".encode("gb18030"))
            (folder / "notes.pdf").write_bytes(b"%PDF")
    (tmp_path / "train" / "bad" / "3.txt").write_bytes(b"\xff\xff\xff")
    parts = {part.split: part for part in read_texts(DataSource(str(tmp_path)))}
    train = list(parts["train"].samples)
    assert [(s.place, s.label) for s in train] == [
        ("bad/1.txt", "bad"), ("bad/2.txt", "bad"), ("bad/3.txt", "bad"),
        ("good/1.txt", "good"), ("good/2.txt", "good"),
    ]  # fmt: skip
    assert media.decode(train[0].raw) == "太差 的酒店"
    assert train[1].raw.decode() == "太差 的书"
    assert "neither UTF-8" in train[2].problem
    (note,) = parts["train"].notes
    assert (note.code, note.count) == ("NOT_UTF8", 2)
    assert len(list(parts["test"].samples)) == 4


@pytest.mark.parametrize(
    ("encoding", "name"), [("gbk", "GB 18030"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-8-sig", "")]
)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".csv.gz"])
def test_tables_in_other_encodings_are_read_and_told(tmp_path, encoding, name, ending):
    rows = [("酒店很好，服务周到", "好"), ("room too small 太差", "差")] * 3
    lines = [json.dumps({"text": a, "label": b}, ensure_ascii=False) for a, b in rows]
    table = "\n".join(lines if ending == ".jsonl" else ["text,label", *map(",".join, rows)])
    path = tmp_path / f"a{ending}"
    raw = table.encode(encoding)
    path.write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)
    found, notes = read(DataSource(str(path)))
    assert found["train"] == rows
    assert [f"read as {name};" in note.sentence for note in notes.values()] == [True] * bool(name)


def test_accented_letters_are_no_chinese(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nok,a\nun café très animé,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 3 is not UTF-8 \(byte 0xE9\), and the whole not GB 18030 or UTF-16"):
        read_texts(DataSource(str(path)))
    path.write_bytes("text,label\né,a\n".encode("utf-16")[:-1])
    with pytest.raises(DataError, match="damaged UTF-16|line"):
        read_texts(DataSource(str(path)))


def test_a_class_folder_without_texts_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("x")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b: this class folder holds no .txt"):
        read_texts(DataSource(str(tmp_path)))


def test_folders_and_tables_do_not_mix(tmp_path):
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "1.txt").write_text("x")
    (tmp_path / "t.csv").write_text("text,label\nx,a\n")
    with pytest.raises(DataError, match="give folders of texts for all splits"):
        read_texts(DataSource(str(tmp_path / "d"), test=str(tmp_path / "t.csv")))


def test_another_script_in_test_is_told_whatever_the_order(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "plain words,a\n" * 8)
    (tmp_path / "test.csv").write_text("text,label\n" + "plain words,a\n" * 2 + "这是中文,a\n" * 2)
    _, notes = read(DataSource(str(tmp_path)))
    assert notes["SCRIPT_SHIFT"].split == "test"
    assert "50% of the texts of test" in notes["SCRIPT_SHIFT"].sentence


def test_equal_mixes_are_not_told():
    from collections import Counter

    assert shifted(Counter(Latin=90, Han=10), Counter(Latin=10, Han=1), "test") == []


def test_data_sets_saved_on_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = datasets.Dataset.from_dict({"text": ["fine", "poor"], "label": [1, 0]}, features=features)
    rows.save_to_disk(str(tmp_path / "saved"))
    found, _ = read(DataSource(str(tmp_path / "saved")))
    assert found["train"] == [("fine", "pos"), ("poor", "neg")]
