"""TensorFlow's formats, converted by TensorFlow in an environment of its own: another process, JSON in and out.

TensorFlow with its converter weighs more than everything else here together, and pins other versions of onnx and numpy,
so nothing of it is imported: what is shared is a file and a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.errors import Refused, SartorError, Unsupported
from sartor.jobs import TranslateJob
from sartor.modelfile import read_regular
from sartor.stages.translate import formats
from sartor.stages.translate.keras_file import check_keras

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_CHILD = Path(__file__).with_name("tensorflow_child.py")
_DEADLINE_S = 900
_KINDS = {"refused": Refused, "problem": SartorError}


@dataclass(frozen=True)
class Converted:
    """A graph from TensorFlow, noise that it was asked, what the model itself answered, and whether it is quantised."""

    model: Any
    asked: Mapping[str, Array]
    answered: list[Array]
    quantised: bool


def convert(job: TranslateJob, folder: Path) -> Converted:
    """Let TensorFlow convert a model into ``folder``.

    Raises:
        Refused: it holds code, or operators that read or write files.
        Unsupported: ``EXPORT_FAILED``: the converter cannot express it.
        SartorError: the environment lacks TensorFlow or tf2onnx.
    """
    import numpy as np
    import onnx

    path = Path(job.path)
    if job.kind == formats.KERAS and not job.trusted:
        check_keras(read_regular(path), path.name, job.stamp)
    request = {
        "path": job.path, "kind": job.kind, "trusted": job.trusted, "stamp": job.stamp, "folder": str(folder),
        "trust": formats.TRUST,
    }  # fmt: skip
    reply = _asked(job.interpreter, request)
    if "error" in reply:
        if reply.get("kind") == "unsupported":
            raise Unsupported("EXPORT_FAILED", reply["error"])
        raise _KINDS.get(reply.get("kind", ""), SartorError)(reply["error"])
    model = onnx.load_model_from_string((folder / "converted.onnx").read_bytes())
    with np.load(folder / "answers.npz", allow_pickle=False) as kept:
        asked = {name: kept[f"asked_{place}"] for place, name in enumerate(reply["inputs"])}
        answered = [kept[f"answered_{place}"] for place in range(reply["outputs"])]
    for place, (scale, zero) in enumerate(reply["steps"]):
        if scale:
            answered[place] = ((answered[place].astype(np.float32) - zero) * scale).astype(np.float32)
            _give_numbers(model, place, scale, zero)
    return Converted(model, asked, answered, bool(reply["quantised"]))


def _give_numbers(model: Any, place: int, scale: float, zero: float) -> None:
    """Let an output give the numbers that its bytes stand for, in place."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    output = model.graph.output[place]
    name = output.name
    constants = {f"{name}/zero": zero, f"{name}/scale": scale}
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(value), key) for key, value in constants.items())
    model.graph.node.extend(
        [
            helper.make_node("Cast", [name], [f"{name}/float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [f"{name}/float", f"{name}/zero"], [f"{name}/steps"]),
            helper.make_node("Mul", [f"{name}/steps", f"{name}/scale"], [f"{name}/number"]),
        ]
    )
    output.name = f"{name}/number"
    output.type.tensor_type.elem_type = TensorProto.FLOAT


def _asked(interpreter: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the child answers on its last line."""
    name = Path(request["path"]).name
    command = [interpreter, "-I", "-X", "utf8", str(_CHILD)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_ENABLE_ONEDNN_OPTS": "0"}
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=_DEADLINE_S, env=environment,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unsupported("EXPORT_FAILED", f"TensorFlow did not convert {name} within {_DEADLINE_S} s") from None
    except OSError as error:
        raise SartorError(f"{formats.INTERPRETER}={interpreter} cannot be run ({error.strerror})") from None
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            try:
                reply: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return reply
    words = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "")
    raise Unsupported(
        "EXPORT_FAILED", f"TensorFlow ended with exit code {done.returncode} while converting {name}: {words[:200]}"
    )
