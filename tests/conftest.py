"""Tasks that are about anything but pictures, for tests that have to hold for all kinds of tasks."""

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sartor import registry

os.environ["SARTOR_LANGUAGE"] = "en"  # whoever runs them: tests read what is said
# Tests run on as many processes as there are cores: threads that wait for each other, spinning, take them from others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of some hundred processes compiles everything anew
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what runs in the background, and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent
WORDS = ("bread", "free", "money", "see", "tomorrow", "you")  # the middle ones speak for spam


def pytest_collection_modifyitems(items):
    """Files with slow tests first: two processes then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """Six hundred handwritten digits as PNG files in class folders, and a requirement beside them."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    for place, (pixels, label) in enumerate(zip(data.images[:600], data.target[:600], strict=True)):
        split = "test" if place % 4 == 0 else "train"
        path = folder / "data" / split / str(label) / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(path)
    (folder / "req.yaml").write_text(
        "task: image-classification\n"
        "data: {train: data/train, test: data/test}\n"
        "target: {threads: 1}\n"
        "limits: {accuracy: {min: 0.6}, latency_p95_ms: {max: 200}, size_mb: {max: 1}, memory_peak_mb: {max: 600}}\n"
    )
    return folder


@pytest.fixture(scope="session")
def fake_tasks_folder(tmp_path_factory):
    """A folder that, on the Python path, adds the tasks ``fake-words`` and ``fake-counts``."""
    folder = tmp_path_factory.mktemp("fake-tasks")
    shutil.copy(HERE / "fake_tasks" / "fake_tasks.py", folder)
    about = folder / "fake_tasks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-tasks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sartor.tasks]\nfake-words = fake_tasks\nfake-counts = fake_tasks\n")
    return folder


@pytest.fixture(scope="module")
def fake_tasks(fake_tasks_folder):
    """This process and its children know the fake tasks while a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(fake_tasks_folder)
        patch.setenv("PYTHONPATH", str(fake_tasks_folder))
        registry._modules.cache_clear()
        yield
    registry._modules.cache_clear()


@pytest.fixture(scope="session")
def word_files(tmp_path_factory):
    """(model, encoder, pipeline) of a file that tells spam from ham by counting words."""
    from onnx import TensorProto, helper, numpy_helper

    from sartor.types import Pipeline

    folder = tmp_path_factory.mktemp("word-files")
    weights = np.zeros((len(WORDS), 2), np.float32)
    weights[1:3, 1], weights[[0, 3, 4], 0] = 3, 1
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "w"], ["y"]), helper.make_node("Softmax", ["y"], ["output"], axis=1)],
        "words",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2, len(WORDS)])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = folder / "model.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.write_bytes(made.SerializeToString())
    encoder = folder / "encoder.bin"
    encoder.write_text(json.dumps(WORDS))
    pipeline = Pipeline(
        "fake-words", ("ham", "spam"), (len(WORDS),), "model.onnx", "onnxruntime", "fp32", 1, 2,
        encoding="words", learnt=hashlib.sha256(encoder.read_bytes()).hexdigest(),
    )  # fmt: skip
    return model, encoder, pipeline


@pytest.fixture(scope="module")
def word_package(fake_tasks, word_files, tmp_path_factory):
    """A package of the task ``fake-words``."""
    from sartor.stages.package import build_package
    from sartor.testing.tiny_package import tiny_run

    model, encoder, pipeline = word_files
    golden = [b"free money", b"see you tomorrow", "Brötchen bread".encode()]
    target = tmp_path_factory.mktemp("words") / "package"
    build_package(tiny_run(model, pipeline=pipeline), model, pipeline, golden, target, encoder=encoder)
    return target


@pytest.fixture(scope="session")
def count_files(tmp_path_factory):
    """(model, pipeline) of a file that answers with the numbers it is given, off by one in the last place."""
    from onnx import TensorProto, helper, numpy_helper

    from sartor.types import Pipeline

    path = tmp_path_factory.mktemp("count-files") / "model.onnx"
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "one"], ["output"])],
        "counts",
        [helper.make_tensor_value_info("input", TensorProto.INT64, [1, 3, 1])],
        [helper.make_tensor_value_info("output", TensorProto.INT64, [1, 3, 1])],
        [numpy_helper.from_array(np.array([[[0], [0], [1]]], np.int64), "one")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(made.SerializeToString())
    return path, Pipeline("fake-counts", ("cat", "dog", "owl"), (3, 1), "model.onnx", "onnxruntime", "fp32", 1, 1)


@pytest.fixture(scope="module")
def count_package(fake_tasks, count_files, tmp_path_factory):
    """A package of the task ``fake-counts``, whose metric is an error: lower is better."""
    from sartor.stages.package import build_package
    from sartor.testing.tiny_package import tiny_run
    from sartor.types import Limit

    model, pipeline = count_files
    limits = (Limit("count_error", "max", 1.0, "limits.count_error.max"),)
    run = tiny_run(model, pipeline=pipeline, limits=limits, quality=registry.get("tasks", "fake-counts").metrics[0])
    target = tmp_path_factory.mktemp("counts") / "package"
    build_package(run, model, pipeline, [b"[1, 2, 3]", b"[4, 5, 6]"], target)
    return target
