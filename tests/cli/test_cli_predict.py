import json
import os
import subprocess
import sys

import pytest

from sartor.testing.tiny_package import build_tiny_package, picture

COMMAND = (sys.executable, "-c", "from sartor.cli import main; main()")
FORBID = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "datasets", "sklearn", "pyarrow", "openvino", "scipy"}:
            raise ImportError(name)
sys.meta_path.insert(0, Forbid())
from sartor.cli import main
main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    build_tiny_package(folder)
    for label in ("red", "blue"):
        (folder / f"{label}.png").write_bytes(picture(label))
    (folder / "bad.png").write_text("no picture")
    return folder


def sartor(*arguments, command=COMMAND, cwd=None, said=None):
    line = [*command, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=cwd, input=said)
    assert "Traceback" not in done.stderr
    return done


def test_answers_in_words(place):
    done = sartor("predict", place / "package", place / "red.png")
    assert done.returncode == 0
    assert done.stdout.split()[:3] == [str(place / "red.png"), "red", "0.990"]
    assert "green 0.005" in done.stdout


def test_answers_as_json_one_a_line(place):
    done = sartor("predict", place / "package", place / "red.png", place / "blue.png", "--json", "--top", 2)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == ["red", "blue"]
    assert [len(answer["top"]) for answer in answers] == [2, 2]


def test_a_broken_input_gets_a_sentence_and_the_others_an_answer(place):
    done = sartor("predict", place / "package", place / "bad.png", place / "no.png", place / "blue.png")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "bad.png" in lines[0]
    assert "not a picture" in lines[0]
    assert "no.png does not exist" in lines[1]
    assert " blue " in lines[2]
    done = sartor("predict", place / "package", place / "bad.png", place / "blue.png", "--json")
    assert done.returncode == 1
    assert [set(json.loads(line)) for line in done.stdout.splitlines()] == [
        {"input", "error"},
        {"input", "label", "confidence", "top"},
    ]


def test_a_folder_stands_for_its_files(place, tmp_path):
    for number, label in enumerate(("red", "green", "blue")):
        (tmp_path / f"{number}.png").write_bytes(picture(label))
    (tmp_path / ".hidden").write_text("x")
    done = sartor("predict", place / "package", tmp_path)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["red", "green", "blue"]
    (tmp_path / "empty").mkdir()
    assert sartor("predict", place / "package", tmp_path / "empty").returncode == 1


def test_without_the_trainer(place):
    done = sartor("predict", place / "package", place / "red.png", command=(sys.executable, "-c", FORBID))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("package", "code", "word"),
    [("nothing", 1, "does not exist"), (".", 5, "MANIFEST.json"), ("red.png", 5, "red.png")],
)
def test_what_is_no_package(place, package, code, word):
    done = sartor("predict", place / package, place / "red.png")
    assert done.returncode == code
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_changed_package_is_refused(place, tmp_path):
    import shutil

    shutil.copytree(place / "package", tmp_path / "package")
    with (tmp_path / "package/model.onnx").open("ab") as file:
        file.write(b"\0")
    done = sartor("predict", tmp_path / "package", place / "red.png")
    assert (done.returncode, done.stdout) == (5, "")
    assert "model.onnx was changed" in done.stderr


def test_missing_arguments_are_usage_errors(place):
    assert sartor("predict").returncode == 1
    assert sartor("predict", place / "package").returncode == 1
    assert sartor("predict", place / "package", place / "red.png", "--top", 0).returncode == 1


def test_a_closed_pipe_is_no_crash(place):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as sink:
        process = subprocess.run(
            [*COMMAND, "predict", str(place / "package"), str(place / "red.png")], stdout=sink, stderr=subprocess.PIPE
        )
    assert b"Traceback" not in process.stderr or b"BrokenPipeError" in process.stderr


def test_texts_are_given_as_they_are_or_in_files(word_package, tmp_path):
    (tmp_path / "mail.txt").write_text("see you tomorrow")
    done = sartor("predict", word_package, "free money", "mail.txt", "x" * 300, cwd=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[-2] for line in lines] == ["spam", "ham", "ham"]
    assert "…" in lines[2]
    assert max(map(len, lines)) < 90


def test_lines_of_standard_input_are_inputs(word_package):
    done = sartor("predict", word_package, "-", "--json", said="free money\n\nsee you\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["input"], answer["label"]) for answer in answers] == [("free money", "spam"), ("see you", "ham")]


def test_what_an_answer_rests_on(word_package):
    done = sartor("predict", word_package, "see free you", "--explain")
    first, sentence, strongest, *_ = done.stdout.splitlines()
    assert first.split()[-2] == "spam"
    assert sentence.strip() == "free weighs most"
    assert strongest.split()[1] == "free"
    assert float(strongest.split()[0]) > 0.5
    done = sartor("predict", word_package, "see free you", "--explain", "--json")
    assert json.loads(done.stdout)["explanation"]["kind"] == "words"


def test_paths_of_pictures_on_standard_input(place):
    done = sartor("predict", place / "package", "-", "--json", said=f"{place / 'red.png'}\n{place / 'no.png'}\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["label"] == "red"
    assert "does not exist" in answers[1]["error"]
    assert done.returncode == 1
