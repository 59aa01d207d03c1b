"""TensorFlow's formats: what is refused before TensorFlow sees it, and the way through an environment that has it."""

import io
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sartor.errors import Refused, Unsupported
from sartor.evidence import Workspace
from sartor.stages.translate import formats, job_of, placed, translate
from sartor.stages.translate.keras_file import check_keras
from sartor.stages.translate.tensorflow_child import _in_order
from sartor.stages.translate.tensorflow_tool import _give_numbers

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "tell"}, "registered_name": None}


def keras_file(*layers, **members):
    """A ``.keras`` file of these layers, without weights."""
    config = {
        "module": "keras", "class_name": "Sequential", "registered_name": None,
        "config": {"name": "sequential", "layers": list(layers)},
        "compile_config": {"loss": {"module": "builtins", "class_name": "function", "config": "mine"}},
    }  # fmt: skip
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        parts = {"config.json": json.dumps(config).encode(), "metadata.json": b"{}", "model.weights.h5": b""}
        for name, content in {**parts, **members}.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_layers_of_keras_pass_however_the_model_was_trained():
    check_keras(keras_file(DENSE), "mine.keras", "0" * 64)


HOSTILE = {
    "layer 'doubled' is a Lambda, which is code": {
        "module": "keras.layers", "class_name": "Lambda", "config": {"name": "doubled", "function": {}},
    },
    "layer '__lambda__' is a __lambda__": {**DENSE, "config": {"activation": {"class_name": "__lambda__"}}},
    "uses 'mine>Scale' of 'elsewhere'": {"module": None, "class_name": "Scale", "registered_name": "mine>Scale"},
    "uses 'system' of 'os'": {"module": "os", "class_name": "system", "config": {}, "registered_name": "system"},
    "uses 'Model' of 'keras.src.utils'": {"module": "keras.src.utils", "class_name": "Model", "config": {}},
}  # fmt: skip


@pytest.mark.parametrize("sentence", HOSTILE)
def test_code_and_foreign_classes_are_refused_with_how_to_trust_them(sentence):
    with pytest.raises(Refused) as refused:
        check_keras(keras_file(DENSE, HOSTILE[sentence]), "mine.keras", "ab" * 32)
    assert sentence in str(refused.value)
    assert "if you trust this file, set SARTOR_TRUSTED_MODEL=" + "ab" * 8 in str(refused.value)


def test_damaged_and_stuffed_files_are_refused():
    content = keras_file(DENSE)
    with pytest.raises(Refused, match="is not a model of Keras 3, or it is cut off"):
        check_keras(content[:-30], "mine.keras", "")
    with pytest.raises(Refused, match="holds '../x'"):
        check_keras(keras_file(**{"../x": b""}), "mine.keras", "")
    with pytest.raises(Refused, match="config.json is no JSON object"):
        check_keras(keras_file(**{"config.json": b"[]"}), "mine.keras", "")


def twice(path, kind):
    """A graph that doubles ``x``, into ``y``."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "twice",
        [helper.make_tensor_value_info("x", kind, [1, 2])], [helper.make_tensor_value_info("y", kind, [1, 2])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return str(path)


def test_bytes_are_asked_and_answered_as_what_they_stand_for(tmp_path):
    asked, answered = {"in:0": np.array([[1, 3]], np.uint8)}, {"out:0": np.array([[2, 6]], np.uint8)}
    steps = {"in:0": (0.5, 1), "out:0": (0.25, 2)}
    floats = _in_order(twice(tmp_path / "floats.onnx", TensorProto.FLOAT), asked, answered, steps)
    assert floats[0]["x"].tolist() == [[0.0, 1.0]]
    assert floats[1][0].tolist() == [[0.0, 1.0]]
    assert floats[2] == [[0.0, 0]]
    path = twice(tmp_path / "bytes.onnx", TensorProto.UINT8)
    given, told, left = _in_order(path, asked, answered, steps)
    assert (given["x"].dtype, told[0].dtype, left) == (np.uint8, np.uint8, [[0.25, 2]])
    model = onnx.load(path)
    _give_numbers(model, 0, *left[0])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert session.run(None, given)[0].tolist() == [[0.0, 1.0]]
    assert json.loads(json.dumps(left)) == [[0.25, 2]]


# ------------------------------------------------------------------------------------------- with TensorFlow itself

MAKE = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf, keras
keras.utils.set_random_seed(0)
layers, folder = keras.layers, sys.argv[1]
picture = layers.Input((16, 16, 3))
seen = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(picture)))
told = layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(seen))
model = keras.Model(picture, told)
model.save(f"{folder}/mine.keras")
model.export(f"{folder}/mine_saved", verbose=False)
lite = tf.lite.TFLiteConverter.from_saved_model(f"{folder}/mine_saved")
open(f"{folder}/mine.tflite", "wb").write(lite.convert())
lite = tf.lite.TFLiteConverter.from_saved_model(f"{folder}/mine_saved")
lite.optimizations = [tf.lite.Optimize.DEFAULT]
lite.representative_dataset = lambda: ([np.random.rand(1, 16, 16, 3).astype("float32")] for _ in range(50))
lite.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
lite.inference_input_type = lite.inference_output_type = tf.uint8
open(f"{folder}/mine_int8.tflite", "wb").write(lite.convert())
keras.Model(picture, layers.Dense(4)(layers.Flatten()(layers.Lambda(lambda t: t * 2, name="doubled")(picture)))).save(
    f"{folder}/lambda.keras")
rows = [tf.TensorSpec((None, 4), tf.float32, name="x")]
class Beta(tf.Module):
    @tf.function(input_signature=rows)
    def give(self, x):
        return {"y": tf.math.betainc(tf.abs(x) + 1.0, tf.abs(x) + 1.0, tf.clip_by_value(x, 0.0, 1.0))}
class Reads(tf.Module):
    @tf.function(input_signature=rows)
    def give(self, x):
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)}
for name, odd in (("beta", Beta()), ("reads", Reads())):
    tf.saved_model.save(odd, f"{folder}/{name}", signatures={"serving_default": odd.give})
np.save(f"{folder}/pictures.npy", pictures := np.random.default_rng(0).random((3, 16, 16, 3)).astype("float32"))
np.save(f"{folder}/answers.npy", model(pictures).numpy())
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of models that TensorFlow wrote, or a loud skip."""
    interpreter = os.environ.get(formats.INTERPRETER, "")
    if not Path(interpreter).is_file():
        pytest.skip("no TensorFlow: python -m venv tf && tf/bin/pip install tensorflow-cpu tf2onnx, and set "
                    f"{formats.INTERPRETER}=tf/bin/python")  # fmt: skip
    folder = tmp_path_factory.mktemp("tensorflow")
    done = subprocess.run([interpreter, "-c", MAKE, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def run(path, workspace):
    job = job_of(str(path))
    return onnxruntime.InferenceSession(placed(translate(job, workspace), job, workspace).read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mine.keras", "mine_saved", "mine.tflite", "mine_int8.tflite"])
def test_a_model_of_tensorflow_answers_as_onnx(made, tmp_path, name):
    session = run(made / name, Workspace(tmp_path))
    pictures, answers = np.load(made / "pictures.npy"), np.load(made / "answers.npy")
    whole = session.get_inputs()[0].type == "tensor(uint8)"
    given = np.round(pictures * 255).astype(np.uint8) if whole else pictures
    one_by_one = session.get_inputs()[0].shape[0] == 1
    parts = [given[place : place + 1] for place in range(3)] if one_by_one else [given]
    found = np.concatenate([session.run(None, {session.get_inputs()[0].name: part})[0] for part in parts])
    assert found == pytest.approx(answers, abs=0.02 if "int8" in name else 1e-4)


@pytest.mark.slow
def test_what_tensorflow_must_not_run_or_cannot_express_is_named(made, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    with pytest.raises(Refused, match="layer 'doubled' is a Lambda, which is code"):
        run(made / "lambda.keras", workspace)
    with pytest.raises(Refused, match=r"reads: node '\w+' is ReadFile, which reads or writes files or runs Python"):
        run(made / "reads", workspace)
    with pytest.raises((Unsupported, Refused), match="(?i)beta.*Betainc"):
        run(made / "beta", workspace)
    monkeypatch.setenv(formats.TRUST, job_of(str(made / "lambda.keras")).stamp[:16])
    assert run(made / "lambda.keras", workspace).get_outputs()[0].shape[1] == 4
    (made / "cut.tflite").write_bytes((made / "mine.tflite").read_bytes()[:200])
    with pytest.raises((Unsupported, Refused), match="cut.tflite"):
        run(made / "cut.tflite", workspace)
