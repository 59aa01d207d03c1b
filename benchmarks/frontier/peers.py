"""Who else compresses: each with its defaults, in an environment of its own, and how what it made is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tasks"))
from _environments import CACHE, Environment  # noqa: E402

SOURCES = HERE.parents[1] / "src"
LONGEST_S = 400.0  # that making one form may take
NNCF = Environment("nncf", ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0", "openvino==2026.4.1"))
# Intel Neural Compressor 3 has handed its ONNX part to this package, which does not name all that it imports.
INC = Environment(
    "onnx-neural-compressor",
    ("onnx-neural-compressor==1.0", "onnxruntime==1.32.0", "onnx==1.23.2", "numpy==1.26.4", "scipy==1.11.4",
     "scikit-learn==1.5.2", "prettytable==3.12.0"),
)  # fmt: skip
TORCH = Environment(
    "torch-compressors",
    ("torch==2.13.0", "torchao==0.18.0", "torch-pruning==1.6.1", "numpy==2.4.6", "safetensors==0.8.0",
     "onnx==1.23.2", "onnxscript==0.7.2", "setuptools==84.2.1"),
)  # fmt: skip
ENVIRONMENTS = (NNCF, INC, TORCH)


@dataclass(frozen=True)
class Peer:
    """One way of a peer to compress.

    Args:
        maker: of ``makers.py``.
        environment: None for this one.
        runtimes: what runs what it makes; ``torch`` and ``torch-compile`` run in its own environment.
    """

    side: str
    name: str
    maker: str
    environment: Environment | None
    runtimes: tuple[str, ...]

    @property
    def python(self) -> str:
        """The interpreter that makes it."""
        return self.environment.python if self.environment else sys.executable


PEERS = (
    Peer("ONNX Runtime", "quantize_static", "ort-static", None, ("onnxruntime",)),
    Peer("ONNX Runtime", "quantize_dynamic", "ort-dynamic", None, ("onnxruntime",)),
    Peer("NNCF", "quantize", "nncf", NNCF, ("openvino", "onnxruntime")),
    Peer("Intel Neural Compressor", "static", "inc-static", INC, ("onnxruntime",)),
    Peer("Intel Neural Compressor", "dynamic", "inc-dynamic", INC, ("onnxruntime",)),
    Peer("torchao", "int8 dynamic", "torchao-dynamic", TORCH, ("torch", "torch-compile")),
    Peer("torchao", "int8 weights", "torchao-weights", TORCH, ("torch", "torch-compile")),
    Peer("torch-pruning", "half of the channels", "pruned", TORCH, ("onnxruntime",)),
)
__all__ = ["CACHE", "ENVIRONMENTS", "PEERS", "SIDES", "Peer", "Theirs", "all_peers", "environment", "make"]
SIDES = tuple(dict.fromkeys(peer.side for peer in PEERS))


@dataclass(frozen=True)
class Theirs:
    """What a peer made; ``error`` where it did not. ``file`` is relative to the subject's folder."""

    maker: str
    file: str
    error: str = ""
    note: str = ""
    seconds: float = 0.0


def make(peer: Peer, folder: Path, kind: str, say: Callable[[str], None], *, again: bool = False) -> Theirs:
    """Let a peer compress a subject where it did not yet; its failure is kept too, until it is asked ``again``."""
    target = folder / "theirs" / peer.maker
    kept = target / "made.json"
    if kept.is_file():
        known = Theirs(**json.loads(kept.read_text(encoding="utf-8")))
        if not (known.error and again):
            return known
    if peer.environment is not None and not peer.environment.ready:
        return Theirs(peer.maker, "", f"its environment {peer.environment.name} was not made (--environments)")
    say(f"{folder.name}: {peer.side}, {peer.name}")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    asked = {"maker": peer.maker, "folder": str(folder), "target": str(target), "kind": kind}
    command = [peer.python, "-W", "ignore", str(HERE / "makers.py"), json.dumps(asked)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=target, env=environment(), timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        found = Theirs(peer.maker, "", f"it took more than {LONGEST_S:g} s")
    else:
        found = _answer(peer, done, target.relative_to(folder))
    kept.write_text(json.dumps(vars(found), indent=1), encoding="utf-8")
    return found


def _answer(peer: Peer, done: subprocess.CompletedProcess[str], place: Path) -> Theirs:
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        problem = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return Theirs(peer.maker, "", (problem[-1] if problem else f"it ended with {done.returncode}")[:300])
    told = json.loads(lines[-1])
    return Theirs(peer.maker, str(place / told["file"]), "", told["note"], round(told["seconds"], 2))


def environment() -> Mapping[str, str]:
    """Sartor's sources for those that rebuild the network; nothing of Python's or of hubs from outside."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCES), str(HERE.parent)]),
        "HF_HUB_OFFLINE": "1",
        "NNCF_CI": "1",  # no telemetry
    }


def all_peers(named: Sequence[str]) -> Iterator[Peer]:
    """Those of the sides named, or all."""
    for peer in PEERS:
        if not named or peer.side in named:
            yield peer
