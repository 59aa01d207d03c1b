"""Packages of tasks that are not about pictures: what preparing learnt ships, and inputs come as people have them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import sartor
from sartor.errors import DataError, Refused
from sartor.stages.package import build_package, compare, open_package, pack, to_bytes
from sartor.stages.package import manifest as manifests
from sartor.testing import tiny_package as tiny


@pytest.fixture(scope="module")
def model(word_package):
    return sartor.load(word_package)


@pytest.fixture
def package(word_package, tmp_path):
    return shutil.copytree(word_package, tmp_path / "package")


def test_it_holds_the_encoder_and_is_read_back_from_one_file(word_package, word_files, tmp_path):
    contents = open_package(word_package)
    assert (word_package / "encoder.bin").read_bytes() == word_files[1].read_bytes()
    assert {name for name in contents.manifest.files if name.startswith("golden/0")} == {
        "golden/000.txt",
        "golden/001.txt",
        "golden/002.txt",
    }
    pack(word_package, tmp_path / "words.sartor")
    model = sartor.load(tmp_path / "words.sartor")
    assert model.predict("free money")["label"] == "spam"
    expected, raws = contents.golden_outputs, contents.golden_inputs()
    assert expected.shape == (3, 2)
    assert compare(contents.golden, expected, raws, model, model.task, "fp32").matched == 3


def test_a_text_is_a_text_and_a_path_is_a_file(model, tmp_path, monkeypatch):
    (tmp_path / "free").write_text("see you tomorrow")
    monkeypatch.chdir(tmp_path)
    assert model.predict("free")["label"] == "spam"
    assert model.predict(tmp_path / "free")["label"] == "ham"
    assert model.predict(["free money", b"see you", tmp_path / "free"])[1]["label"] == "ham"
    assert model.predict("free money")["letters"] == 10  # the task words its answer with the input in hand


def test_why(model):
    explanation = model.explain("see free money")
    assert explanation.kind == "words"
    assert {cause.name for cause in explanation.causes[:2]} == {"free", "money"}
    with pytest.raises(DataError, match="the text is empty"):
        model.explain(" ")


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (np.zeros((4, 4, 3), np.uint8), "ndarray is no input; give the text as str"),
        ({"text": "free"}, "dict is no input"),
        (3, "int is no input"),
        ("\ud800", "half a surrogate"),
        ("", "empty"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_text_gets_one_sentence(model, wrong, word):
    with pytest.raises(DataError, match=word) as caught:
        model.predict(wrong)
    assert "\n" not in str(caught.value)


def test_records_come_as_json_whatever_holds_them(tmp_path):
    (tmp_path / "one.json").write_text('{"a": 1}')
    assert to_bytes({"b": np.float64(2.5), "a": np.int64(1)}, "record") == b'{"a":1,"b":2.5}'
    assert to_bytes([1, "x", None], "record") == b'[1,"x",null]'
    assert to_bytes('{"a": 1}', "record") == to_bytes(tmp_path / "one.json", "record") == b'{"a": 1}'
    assert to_bytes(42, "record") == b"42"
    assert to_bytes("user-7", "record") == b"user-7"
    for wrong in ({"a": float("nan")}, {"a": object()}, {"a": np.zeros(3)}, {"a": "\ud800"}):
        with pytest.raises(DataError, match="has no JSON form"):
            to_bytes(wrong, "record")
    with pytest.raises(DataError, match="NoneType is no input; give a dict"):
        to_bytes(None, "record")


def test_the_card_speaks_of_texts(model):
    card = model.card
    assert "image" not in card.replace("image-classification", "")
    assert 'sartor predict THIS_FOLDER "some text"' in card
    assert "takes `float (2, 6)` and gives `float (2, 2)`" in card
    assert "Tell spam from ham" in card
    assert "encoder.bin, sha256" in card


# ------------------------------------------------------------------------------------- the encoder is part of it


def remade(package):
    (package / "MANIFEST.json").unlink()
    manifests.write_manifest(package, "0.1.0")
    return package


def test_another_encoder_is_refused(package):
    (package / "encoder.bin").write_text(json.dumps(["free"]))
    with pytest.raises(Refused, match=r"encoder\.bin was changed"):
        sartor.load(package)
    with pytest.raises(Refused, match=r"encoder\.bin is not the one"):
        sartor.load(remade(package))


def test_a_missing_or_useless_encoder_is_refused(package):
    pipeline = json.loads((package / "pipeline.json").read_text())
    (package / "pipeline.json").write_text(json.dumps({**pipeline, "learnt": ""}))
    with pytest.raises(Refused, match=r"encoder\.bin is not the one"):
        sartor.load(remade(package))
    (package / "encoder.bin").unlink()
    with pytest.raises(Refused, match="holds nothing that fake-words can prepare with"):
        sartor.load(remade(package))


def test_only_what_was_judged_is_packaged(fake_tasks, word_files, tmp_path):
    model, encoder, pipeline = word_files
    run = tiny.tiny_run(model, pipeline=pipeline)
    other = tmp_path / "other.bin"
    other.write_text("[]")
    for wrong in ({"encoder": other}, {}):
        with pytest.raises(Refused, match="is not what .* was judged with"):
            build_package(run, model, pipeline, [], tmp_path / "p", **wrong)
    with pytest.raises(Refused, match="was judged with"):
        build_package(run, model, replace(pipeline, learnt=""), [], tmp_path / "p", encoder=encoder)
    assert not (tmp_path / "p").exists()
