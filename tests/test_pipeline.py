"""The predictor: the path from bytes to answer, and what it refuses to run."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from sartor.codec import to_plain
from sartor.errors import DataError, Refused, SartorError, Unsupported
from sartor.evidence import write_json
from sartor.pipeline import PARTS, Predictor, read_pipeline
from sartor.testing.runtimes import expected_output, write_example_onnx
from sartor.types import Pipeline

PIPELINE = Pipeline("image-classification", ("a", "b", "c", "d"), (8, 8), "model.onnx", "onnxruntime", "fp32", 1, 2)


def png(seed, size=(8, 8)):
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


@pytest.fixture
def folder(tmp_path):
    write_example_onnx(tmp_path / "model.onnx")
    write_json(tmp_path / "pipeline.json", PIPELINE)
    return tmp_path


@pytest.fixture
def predictor(folder):
    return Predictor(folder)


def test_answer_is_the_most_probable_label(predictor):
    raw, pixels = png(1)
    expected = expected_output(pixels[None])[0]
    answer = predictor.predict(raw)
    assert answer["label"] == "abcd"[int(expected.argmax())]
    assert answer["confidence"] == pytest.approx(float(expected.max()), abs=1e-5)
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_inputs_fits_the_batch(predictor, count):
    raws, pixels = zip(*(png(seed) for seed in range(count)), strict=True)
    outputs = predictor.outputs(raws)
    np.testing.assert_allclose(outputs, expected_output(np.stack(pixels)), atol=1e-5)
    assert outputs.dtype == np.float32
    assert [answer["label"] for answer in predictor.predict_batch(raws)] == ["abcd"[row.argmax()] for row in outputs]


def test_timing_gives_the_same_answer_and_its_parts(predictor):
    raw, _ = png(3)
    answer, parts = predictor.timed(raw)
    assert answer == predictor.predict(raw)
    assert tuple(parts) == PARTS
    assert all(0 < milliseconds < 10_000 for milliseconds in parts.values())


def test_timing_of_a_batch_answers_all_of_it(predictor):
    raws = [png(4)[0], png(5)[0]]
    answers, nanoseconds = predictor.timed_batch(raws)
    assert answers == predictor.predict_batch(raws)
    assert len(nanoseconds) == len(PARTS)


def test_other_sizes_are_fitted(predictor):
    assert predictor.predict(png(6, (20, 13))[0])["label"] in "abcd"


@pytest.mark.parametrize("raw", [b"", b"text", png(7)[0][:40]])
def test_broken_inputs_are_data_errors(predictor, raw):
    with pytest.raises(DataError):
        predictor.predict(raw)


def test_a_file_that_is_not_for_this_batch(folder):
    write_json(folder / "pipeline.json", replace(PIPELINE, batch=3))
    with pytest.raises(Unsupported, match="RUNTIME_FAILED"):
        Predictor(folder).predict(png(1)[0])


def write(folder, **changes):
    (folder / "pipeline.json").write_text(json.dumps(to_plain(PIPELINE) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 0}, "threads is 0; it must be a whole number of at least 1"),
        ({"threads": "two"}, "threads is 'two'"),
        ({"batch": True}, "batch is True"),
        ({"input_size": [8, -1]}, r"input_size\[1\] is -1"),
        ({"input_size": 8}, "is not a pipeline"),
        ({"color": "red"}, "has no field 'color'"),
        ({"runtime": 3}, "runtime is 3; it must be text"),
        ({"runtime": "onnxruntme"}, "Did you mean onnxruntime"),
        ({"task": "image-clasification"}, "Did you mean image-classification"),
    ],
)
def test_a_wrong_pipeline_gets_one_sentence(folder, changes, words):
    write(folder, **changes)
    with pytest.raises(SartorError, match=words) as error:
        Predictor(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"task": "image-classification"}', "7"])
def test_a_file_that_is_no_pipeline(folder, content):
    (folder / "pipeline.json").write_text(content)
    with pytest.raises(SartorError, match="is not a pipeline"):
        read_pipeline(folder / "pipeline.json")


def test_bytes_that_are_no_text(folder):
    (folder / "pipeline.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SartorError, match="is not a pipeline"):
        Predictor(folder)


def test_no_pipeline(tmp_path):
    with pytest.raises(SartorError, match="does not exist"):
        Predictor(tmp_path)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b.onnx", "", ".."])
def test_the_model_stays_in_its_folder(folder, name):
    write(folder, model=name)
    with pytest.raises(Refused, match="must name a file in the same folder"):
        Predictor(folder)


def test_a_linked_model_is_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "model.onnx"
    (folder / "model.onnx").rename(other)
    (folder / "model.onnx").symlink_to(other)
    with pytest.raises(Refused, match="symbolic link"):
        Predictor(folder)


def test_an_unsafe_model_never_reaches_the_runtime(folder):
    (folder / "model.onnx").write_bytes(b"\x80\x04garbage")
    with pytest.raises(Refused):
        Predictor(folder)


def test_precision_that_the_runtime_has_not(folder):
    write(folder, precision="bf16")
    with pytest.raises(Unsupported, match="NO_BF16"):
        Predictor(folder)


def test_predicting_needs_no_trainer(folder):
    code = (
        "import sys; from pathlib import Path; from sartor.pipeline import Predictor\n"
        f"Predictor(Path({str(folder)!r})).predict(bytes.fromhex({png(1)[0].hex()!r}))\n"
        "print([m for m in ('torch', 'openvino', 'sklearn', 'pyarrow', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------ tasks that are not about pictures


@pytest.fixture
def words(fake_tasks, word_files, tmp_path):
    model, encoder, pipeline = word_files
    shutil.copy(model, tmp_path / "model.onnx")
    shutil.copy(encoder, tmp_path / "encoder.bin")
    write_json(tmp_path / "pipeline.json", pipeline)
    return tmp_path


def test_what_was_learnt_prepares_texts(words):
    predictor = Predictor(words)
    np.testing.assert_array_equal(predictor.prepare(b"free free you"), [0, 2, 0, 0, 0, 1])
    assert [one["label"] for one in predictor.predict_batch([b"free money", b"see you", b"tomorrow"])] == [
        "spam",
        "ham",
        "ham",
    ]
    answers, outputs = predictor.answers([b"free"])
    assert answers[0]["confidence"] == pytest.approx(float(outputs[0, 1]))
    assert answers[0]["letters"] == 4
    assert predictor.timed(b"free")[0] == answers[0]
    assert predictor.explain(b"free bread").causes[0].name == "free"


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\x80\x04."])
def test_an_encoder_that_is_not_its_own_is_refused(words, content):
    (words / "encoder.bin").unlink()
    if content is not None:
        (words / "encoder.bin").write_bytes(content)
    with pytest.raises(Refused, match=r"encoder\.bin") as error:
        Predictor(words)
    assert "\n" not in str(error.value)


def test_an_encoder_that_holds_nothing_of_use_is_refused(words):
    (words / "encoder.bin").write_bytes(b"\x80\x04.")
    write_json(words / "pipeline.json", replace(pipeline_of(words), learnt=hashlib.sha256(b"\x80\x04.").hexdigest()))
    with pytest.raises(Refused, match="nothing that fake-words can prepare with"):
        Predictor(words)


def pipeline_of(folder):
    return read_pipeline(folder / "pipeline.json")


def test_whole_numbers_of_any_shape_are_answers_too(fake_tasks, count_files, tmp_path):
    model, pipeline = count_files
    shutil.copy(model, tmp_path / "model.onnx")
    write_json(tmp_path / "pipeline.json", pipeline)
    predictor = Predictor(tmp_path)
    outputs = predictor.outputs([b"[1, 2, 3]", b"[4, 5, 6]"])
    assert (outputs.shape, outputs.dtype) == ((2, 3, 1), np.int64)
    assert predictor.predict(b"[1, 2, 3]")["label"] == "1 cat, 2 dog, 4 owl"


class Gives:
    def __init__(self, output):
        self.output = np.asarray(output)

    def run(self, batch):
        return self.output


def test_one_number_each_is_a_column(predictor):
    predictor.session = Gives(np.array([1.5, 2.5], np.float32))
    assert predictor.outputs([png(1)[0], png(2)[0], png(3)[0]]).tolist() == [[1.5], [2.5], [1.5]]


@pytest.mark.parametrize("output", [np.zeros((3, 4)), np.float32(1), np.array(["a", "b"]), np.array([{}, {}])])
def test_what_is_no_output_for_this_batch(predictor, output):
    predictor.session = Gives(output)
    with pytest.raises(Unsupported, match=r"must be numbers of shape \(2, …\)"):
        predictor.outputs([png(1)[0]])
