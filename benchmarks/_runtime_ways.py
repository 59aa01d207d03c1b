"""The ways to run a model that ``runtimes.py`` compares, the processes that run them, and the files they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import numpy as np

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.errors import Unsupported
from sartor.thread_counts import counts

sys.path.insert(0, str(Path(__file__).resolve().parent / "tasks"))
from _environments import CACHE, Environment  # noqa: E402

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parent / "src"
OPENVINO_BUILD = Environment("onnxruntime-openvino", ("onnxruntime-openvino==1.24.1", "numpy==2.4.6"))
KEPT = CACHE / "runtimes"  # files and measurements, unless another folder is named
EAGER, COMPILED = "torch", "torch-compile"
CALIBRATION = 4  # batches of eight
_LOADING_S = 300.0  # torch.compile on a busy machine


@dataclass(frozen=True)
class Case:
    """A network at a batch size, as files in a folder."""

    model: str
    batch: int

    @property
    def name(self) -> str:
        """E.g. ``resnet-18-8``."""
        return f"{self.model}-{self.batch}"


@dataclass(frozen=True)
class Way:
    """A runtime at a precision with a number of threads."""

    runtime: str
    precision: str
    threads: int

    @property
    def name(self) -> str:
        """E.g. ``openvino int8 2``."""
        return f"{self.runtime} {self.precision} {self.threads}"


def ways(most: int, *, foreign: bool) -> list[Way]:
    """All ways of this machine; ``foreign``: those in another environment too."""
    device = identify()
    runtimes = ["onnxruntime", "openvino", *(["onnxruntime-openvino"] if foreign else [])]
    found = [
        Way(name, precision, threads)
        for name in runtimes
        for precision, compressor in registry.get("runtimes", name).precisions(device).items()
        if compressor in ("none", "int8-static")  # weights in 8 bits alone make a file smaller, not faster
        for threads in counts(most)
    ]
    found += [Way(EAGER, "fp32", threads) for threads in counts(most)]
    return [*found, Way(COMPILED, "fp32", most)]


# ------------------------------------------------------------------------------------------------- files


def make_files(cases: Sequence[Case], folder: Path, say: Callable[[str], None]) -> None:
    """What each case is run from: ``input.npy``, ``fp32.onnx``, ``int8.onnx``, and a network's ``weights.pt``.

    A network without a product that may be quantised has no ``int8.onnx``.
    """
    import torch
    from _runtime_models import MODELS, build

    from sartor.stages.compress.convert import _write_onnx  # the exporter itself, which takes any module

    device = identify()
    for case in cases:
        place = folder / case.name
        if (place / "made").is_file():
            continue
        say(f"making {case.name}")
        place.mkdir(parents=True, exist_ok=True)
        module, chance = build(case.model), np.random.default_rng(2)
        torch.save(module.state_dict(), folder / f"{case.model}.pt")
        draw = MODELS[case.model].draw
        np.save(place / "input.npy", draw(chance, case.batch))
        _write_onnx(module, draw(chance, case.batch), case.name, place / "fp32.onnx")
        compressor = registry.get("compressors", "int8-static")
        samples = draw(chance, max(case.batch, 8 * CALIBRATION))
        try:
            compressor.apply(place / "fp32.onnx", place / "int8.onnx", samples, compressor.options(device), 0)
        except Unsupported as refusal:
            say(f"{case.name}: {refusal}")
            (place / "int8.onnx").unlink(missing_ok=True)
        (place / "made").touch()


# ------------------------------------------------------------------------------------------------- processes


class Refused(Exception):
    """A way cannot run a case; why."""


@dataclass
class Worker:
    """One process with one model in one runtime."""

    connection: Connection

    def ask(self, *order: Any) -> Any:
        """Its answer to an order of ``_runtime_child``."""
        self.connection.send(order)
        return self.connection.recv()

    def end(self) -> None:
        """Let it go."""
        self.connection.close()


@dataclass
class Processes:
    """Starts workers: in this environment, and in the one that holds the other build of ONNX Runtime."""

    folder: Path
    _stems: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _started: int = 0

    def __enter__(self) -> Self:
        self._home = TemporaryDirectory(prefix="runtimes-")
        self._address = str(Path(self._home.name) / "socket")
        self._listener = Listener(self._address, "AF_UNIX", backlog=64)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stem in self._stems.values():
            assert stem.stdin is not None
            stem.stdin.close()
            stem.wait(30)
        self._listener.close()
        self._home.cleanup()

    def start(self, case: Case, way: Way) -> Worker:
        """A fresh process that has loaded a case and answered once.

        Raises:
            Refused: it could not.
        """
        self._started += 1
        job = {
            "id": self._started, "folder": str(self.folder / case.name), "model": case.model, "runtime": way.runtime,
            "precision": way.precision, "threads": way.threads, "weights": str(self.folder / f"{case.model}.pt"),
        }  # fmt: skip
        stem = self._stem(way.runtime)
        assert stem.stdin is not None
        stem.stdin.write(json.dumps(job) + "\n")
        stem.stdin.flush()
        connection = self._listener.accept()
        if connection.recv() != job["id"]:
            raise RuntimeError("a process of another call has answered")
        try:
            problem = connection.recv() if connection.poll(_LOADING_S) else f"not loaded within {_LOADING_S:g} s"
        except EOFError:
            problem = "its process crashed"
        if problem:
            connection.close()
            raise Refused(problem)
        return Worker(connection)

    def _stem(self, runtime: str) -> subprocess.Popen[str]:
        """The process that is copied for a runtime; begun when it is first asked for."""
        kind = "torch" if runtime in (EAGER, COMPILED) else runtime
        if kind not in self._stems:
            python = OPENVINO_BUILD.python if runtime == "onnxruntime-openvino" else sys.executable
            modules = {"onnxruntime-openvino": "onnxruntime", "torch": "_runtime_models"}.get(kind, kind)
            loaded = [modules, *(["transformers.models.auto"] if kind == "torch" else [])]
            command = [python, "-W", "ignore", str(HERE / "_runtime_child.py"), self._address, *loaded]
            self._stems[kind] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=_environment(self.folder)
            )
        return self._stems[kind]


def _environment(folder: Path) -> Mapping[str, str]:
    """One thread for what is not asked; what torch compiles is kept beside the files."""
    own = {
        "PYTHONPATH": os.pathsep.join([str(SOURCES), str(HERE)]),
        "OPENBLAS_NUM_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return {**os.environ, **own}
