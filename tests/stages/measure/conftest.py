"""A workspace with prepared pictures and known models: what the measuring stages are asked about."""

import io
import random
from dataclasses import replace

import pytest

from sartor.evidence import Workspace
from sartor.jobs import EvaluateJob, MeasureJob, PrepareJob
from sartor.testing.runtimes import write_example_onnx
from sartor.types import DataSource, Pipeline

LABELS = ("a", "b", "c", "d")


def picture(seed):
    """A small PNG of random pixels."""
    from PIL import Image

    pixels = random.Random(seed).randbytes(8 * 8 * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (8, 8), pixels).save(file, "PNG")
    return file.getvalue()


def prepare_pictures(root, counts):
    """(workspace, fingerprint) of folders with so many pictures per class in each split."""
    from sartor.stages.data import prepare, stamp

    seed = 0
    for split, each in counts.items():
        for label in LABELS:
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(each):
                seed += 1
                (folder / f"{number:03}.png").write_bytes(picture(seed))
    source = DataSource(*(str(root / split) for split in ("train", "validation", "test")))
    workspace = Workspace(root / "workspace")
    card = prepare(PrepareJob(source, "image-classification", 0, stamp(source)), workspace).card
    return workspace, card.fingerprint


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """80 pictures in train, 100 in validation and 60 in test."""
    return prepare_pictures(tmp_path_factory.mktemp("measured"), {"train": 20, "validation": 25, "test": 15})


@pytest.fixture
def own_prepared(tmp_path):
    """The same, smaller, in ``tmp_path`` and for one test alone, which may break it."""
    return prepare_pictures(tmp_path, {"train": 5, "validation": 5, "test": 5})


@pytest.fixture
def model(prepared, tmp_path):
    """Makes and stores an example model: ``model(quantised=True)`` gives its sha256."""

    def make(content=None, **options):
        path = tmp_path / "made.onnx"
        if content is None:
            write_example_onnx(path, **options)
        else:
            path.write_bytes(content)
        return prepared[0].objects.take(path, format="onnx").sha256

    return make


@pytest.fixture
def pipeline():
    """The pipeline of the example model, whose batch is 2."""
    return Pipeline("image-classification", LABELS, (8, 8), "model.onnx", "onnxruntime", "fp32", 1, 2)


@pytest.fixture
def measure_job(prepared, model, pipeline):
    def make(artifact=None, seconds=0.1, **changes):
        run = {key: changes.pop(key) for key in ("runtime", "precision", "threads", "batch") if key in changes}
        job = MeasureJob(artifact or model(), replace(pipeline, **run), prepared[1], "device", 0.95, seconds)
        return replace(job, **changes)

    return make


@pytest.fixture
def evaluate_job(prepared, model, pipeline):
    def make(artifact=None, split="validation", **changes):
        run = {key: changes.pop(key) for key in ("runtime", "precision", "threads", "batch") if key in changes}
        job = EvaluateJob(artifact or model(), replace(pipeline, **run), prepared[1], split, "device", 0.95)
        return replace(job, **changes)

    return make


FAKES = '''
import os, resource, signal, sys, time
import numpy as np
from sartor.errors import Unsupported
from sartor.registry import register


class Fake:
    """Right answers unless a subclass says otherwise."""

    title, accepts, extra, reference = "Fake", frozenset({"onnx"}), "", False
    effective_precision, version = "fp32", "0"

    def load(self, path, precision, threads):
        return self

    def run(self, batch):
        time.sleep(0.0005)
        output = np.zeros((len(batch), 4), np.float32)
        output[:, 1] = 1.0
        return output


def fake(name):
    def enter(kind):
        return register("runtimes", name)(kind)
    return enter


@fake("steady")
class Steady(Fake): pass


@fake("crashes")
class Crashes(Fake):
    def run(self, batch):
        print("bad kernel 17", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)


@fake("raises")
class Raises(Fake):
    def run(self, batch):
        raise RuntimeError("kernel not found")


@fake("exits")
class Exits(Fake):
    def run(self, batch):
        os._exit(0)


@fake("hangs")
class Hangs(Fake):
    def run(self, batch):
        while os.path.exists(os.environ.get("FAKE_HANG", "/")):
            time.sleep(0.02)
        return super().run(batch)


@fake("greedy")
class Greedy(Fake):
    def load(self, path, precision, threads):
        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        assert limit > 0, "no limit was set"
        np.empty(limit, np.uint8)  # not touched: costs nothing, but is more than may be had


@fake("greedy-native")
class GreedyNative(Fake):
    def run(self, batch):
        print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr, flush=True)
        os.abort()


@fake("killed")
class Killed(Fake):
    def run(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)


@fake("declines")
class Declines(Fake):
    def load(self, path, precision, threads):
        raise Unsupported("NO_BF16", "this machine has no bf16")


@fake("pretends")
class Pretends(Fake):
    effective_precision = "fp32"


@fake("nan")
class NotFinite(Fake):
    def run(self, batch):
        return np.full((len(batch), 4), np.nan, np.float32)


@fake("chatty")
class Chatty(Fake):
    def run(self, batch):
        print("x" * 3000)
        print("y" * 3000, file=sys.stderr)
        return super().run(batch)


@fake("crashes-at-exit")
class CrashesAtExit(Fake):
    def load(self, path, precision, threads):
        import atexit
        atexit.register(lambda: os.kill(os.getpid(), signal.SIGSEGV))
        return self
'''


@pytest.fixture(scope="session")
def fakes_folder(tmp_path_factory):
    """A folder that, on the Python path of a child, adds runtimes that misbehave."""
    folder = tmp_path_factory.mktemp("fakes")
    (folder / "fake_runtimes.py").write_text(FAKES)
    names = [line.split('"')[1] for line in FAKES.splitlines() if line.startswith('@fake("')]
    about = folder / "fake_runtimes-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-runtimes\nVersion: 1.0\n")
    points = "".join(f"{name} = fake_runtimes\n" for name in names)
    (about / "entry_points.txt").write_text(f"[sartor.runtimes]\n{points}")
    return folder


@pytest.fixture
def fakes(fakes_folder, monkeypatch):
    """Child processes of this test know the misbehaving runtimes."""
    monkeypatch.setenv("PYTHONPATH", str(fakes_folder))
