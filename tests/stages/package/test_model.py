"""A loaded package answers whatever a picture comes as, without the trainer."""

import io
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sartor
from sartor import registry
from sartor.codec import canonical_json
from sartor.errors import DataError, Refused
from sartor.stages.package import manifest as manifests
from sartor.stages.package.golden import Pair, compare, tolerance
from sartor.stages.package.model import MAX_INPUT_BYTES
from sartor.testing.tiny_package import LABELS, picture


@pytest.fixture(scope="module")
def model(made):
    return sartor.load(made / "package")


def test_every_form_of_one_picture_gives_one_answer(model, tmp_path):
    raw = picture("green")
    (tmp_path / "green.png").write_bytes(raw)
    image = Image.open(io.BytesIO(raw))
    forms = [raw, bytearray(raw), memoryview(raw), str(tmp_path / "green.png"), tmp_path / "green.png", image]
    forms.append(np.asarray(image))
    answers = model.predict(forms)
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["label"] == "green"
    assert len(answers) == len(forms)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "YCbCr", "1", "I;16"])
def test_pictures_of_other_modes_are_answered(model, mode):
    image = Image.open(io.BytesIO(picture("red")))
    image = Image.fromarray(np.full((4, 4), 40_000, np.uint16)) if mode == "I;16" else image.convert(mode)
    assert model.predict(image)["label"] in LABELS


def test_a_turned_photo_is_turned_alike_as_file_and_as_image(model):
    image = Image.new("RGB", (20, 10), (200, 30, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert model.predict(Image.open(buffer)) == model.predict(buffer.getvalue())


def test_arrays_do_not_have_to_be_contiguous(model):
    array = np.zeros((16, 16, 3), np.uint8)
    array[..., 2] = 200
    assert model.predict(array[::2, ::-1])["label"] == "blue"
    assert model.predict(np.full((5, 6), 90, np.uint8))["label"] in LABELS


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((3, 4, 4), np.uint8), r"\(h, w, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.array(["a"], object), "object"),
        (3.5, "float is no input"),
        (None, "NoneType is no input"),
        ("no/such/file.png", "does not exist"),
        ("http://example.com/a.png", "does not exist"),
        ("a\x00b", "does not exist"),
        (b"", "empty"),
        (b"text", "not a picture"),
    ],
)
def test_what_is_no_picture_gets_one_sentence(model, wrong, word):
    with pytest.raises(DataError, match=word) as caught:
        model.predict(wrong)
    assert "\n" not in str(caught.value)


def test_folders_devices_and_huge_files_are_not_read(model, tmp_path):
    with pytest.raises(DataError, match="not a file"):
        model.predict(tmp_path)
    with pytest.raises(DataError, match="not a file"):
        model.predict("/dev/zero")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MAX_INPUT_BYTES + 1)
    with pytest.raises(DataError, match="at most"):
        model.predict(tmp_path / "huge.png")


def test_top_limits_the_labels_named(model):
    assert len(model.predict(picture("red"))["top"]) == 3
    assert [one["label"] for one in model.predict(picture("red"), top=1)["top"]] == ["red"]
    assert len(model.predict(picture("red"), top=99)["top"]) == 3


def test_it_says_what_it_is(model):
    assert model.labels == LABELS
    assert model.card.startswith("---\n")
    assert model.requirement.name == "colours"
    assert model.run.decision.status == "met"
    assert "onnxruntime" in repr(model)


def test_many_threads_get_their_own_answers(model):
    wrong = []

    def ask(label):
        raw = picture(label)
        wrong.extend(label for _ in range(30) if model.predict(raw)["label"] != label)

    threads = [threading.Thread(target=ask, args=(LABELS[number % 3],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------------------- documents with a sound manifest


def edited(package: Path, name: str, change) -> Path:
    """Change a document and make the manifest fit, as somebody with intent would."""
    body = json.loads((package / name).read_text())
    (package / name).write_text(json.dumps(change(body) or body))
    (package / "MANIFEST.json").unlink()
    manifests.write_manifest(package, "0.1.0")
    return package


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(model="../model.onnx"),
        lambda body: body.update(model="/etc/passwd"),
        lambda body: body.update(model="README.md"),
        lambda body: body.update(auto_map="code"),
        lambda body: body.update(runtime="torch.load"),
        lambda body: body.update(task="../tasks"),
        lambda body: body.update(threads=-1),
        lambda body: body.update(threads="8"),
        lambda body: body.update(batch=0),
        lambda body: body.update(input_size=[1, -1]),
        lambda body: body.pop("runtime") and None,
        lambda body: [body],
    ],
)
def test_a_pipeline_with_intent_is_refused_in_one_sentence(package, change):
    edited(package, "pipeline.json", change)
    with pytest.raises(sartor.errors.SartorError) as caught:
        sartor.load(package)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["decision.json", "requirement.json", "labels.json"])
@pytest.mark.parametrize("content", ["{}", "[1]", "null", "{", '{"code": "import os"}', "[" * 100_000])
def test_documents_that_hold_something_else_are_refused(package, name, content):
    (package / name).write_text(content)
    (package / "MANIFEST.json").unlink()
    manifests.write_manifest(package, "0.1.0")
    contents = sartor.stages.package.open_package(package)
    attribute = {"decision.json": "run", "requirement.json": "requirement", "labels.json": "labels"}[name]
    with pytest.raises(Refused, match=name):
        print(getattr(contents, attribute))


def test_an_unsafe_model_in_a_sound_package_is_refused(package):
    import onnx

    model = onnx.load(package / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    (package / "model.onnx").write_bytes(model.SerializeToString())
    (package / "MANIFEST.json").unlink()
    manifests.write_manifest(package, "0.1.0")
    with pytest.raises(Refused, match=r"\.\./\.\./secret"):
        sartor.load(package)


# ------------------------------------------------------------------------------------------------ golden pairs


class Fixed:
    def __init__(self, *rows):
        self.rows = np.array(rows, np.float32)

    def outputs(self, raws):
        return self.rows


def compared(row, then=(0.7, 0.2, 0.1), precision="fp32"):
    task = registry.get("tasks", "image-classification")
    return compare([Pair("a.png", {"label": "red"})], np.array([then], np.float32), [b"x"], Fixed(row), task, precision)


def test_golden_pairs_match_within_the_tolerance_of_the_precision():
    for precision, off in (("fp32", 5e-4), ("bf16", 1e-2), ("int8", 1e-2)):
        assert compared((0.7 - off, 0.2 + off, 0.1), precision=precision).matched == 1
        far = 1.5 * tolerance(precision)
        result = compared((0.7 - far, 0.2 + far, 0.1), precision=precision)
        assert result.matched == 0
        assert "a.png: expected red; the output differs by" in result.mismatches[0]


def test_a_tie_may_fall_either_way_but_nothing_else():
    assert compared((0.4, 0.4001, 0.1999), (0.4001, 0.4, 0.1999)).matched == 1
    assert compared((0.39, 0.41, 0.2), (0.43, 0.37, 0.2), "int8").matched == 0


@pytest.mark.parametrize("row", [(float("nan"),) * 3, (0.7, 0.3), (float("inf"), 0.2, 0.1)])
def test_garbage_is_never_a_match(row):
    assert compared(row, precision="int8").matched == 0


def test_outputs_of_another_type_are_no_match(made):
    contents = sartor.stages.package.open_package(made / "package")
    whole = type("Whole", (), {"outputs": lambda self, raws: np.zeros((6, 3), np.int64)})()
    task = registry.get("tasks", "image-classification")
    found = compare(contents.golden, contents.golden_outputs, contents.golden_inputs(), whole, task, "fp32")
    assert found.matched == 0
    assert "int64 (3,) instead of float32 (3,)" in found.mismatches[0]


def test_golden_outputs_that_are_none_are_refused(package):
    whole = (package / "golden/outputs.npy").read_bytes()
    for content in (b"", b"text", whole[:-1], whole.replace(b"(6, 3)", b"(5, 3)"), whole.replace(b"<f4", b"|O8")):
        (package / "golden/outputs.npy").write_bytes(content)
        (package / "MANIFEST.json").unlink()
        manifests.write_manifest(package, "0.1.0")
        with pytest.raises(Refused, match=r"outputs\.npy"):
            _ = sartor.stages.package.open_package(package).golden_outputs


# ------------------------------------------------------------------------------------------------ base install

NO_TRAINER = """
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "transformers", "datasets", "sklearn", "pyarrow", "openvino",
                                  "safetensors", "onnxscript", "scipy", "pandas"}:
            raise ImportError(f"{name} is not in the base install")

sys.meta_path.insert(0, Forbid())
"""


def test_loading_and_predicting_need_the_base_install_only(made, tmp_path):
    (tmp_path / "red.png").write_bytes(picture("red"))
    code = NO_TRAINER + (
        "import sartor\n"
        f"model = sartor.load({str(made / 'package')!r})\n"
        f"print(model.predict({str(tmp_path / 'red.png')!r})['label'])\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("red\n", "")


def test_importing_sartor_loads_nothing_heavy():
    heavy = ("numpy", "torch", "onnx", "onnxruntime", "PIL", "pydantic", "typer")
    code = f"import sys, sartor; print([name for name in {heavy} if name in sys.modules], sartor.load.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[] sartor.stages.package.model\n"


def test_the_facade_names_what_it_has_and_nothing_else():
    assert "load" in dir(sartor)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sartor.nonsense


def test_a_replaced_pipeline_is_a_different_package(package):
    before = manifests.check_manifest(package).digest
    edited(package, "pipeline.json", lambda body: body.update(threads=2))
    assert manifests.check_manifest(package).digest != before
    assert canonical_json(replace(sartor.load(package).pipeline, threads=1))
