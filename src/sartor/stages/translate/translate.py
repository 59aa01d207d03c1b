"""One stage: a model of another format in, one ONNX file out, whose answers are those of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.codec import digest
from sartor.errors import Refused, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import TranslateJob, TranslateResult
from sartor.modelfile import check_model, read_regular
from sartor.progress import Tell, silent
from sartor.stages.translate import formats
from sartor.storage import file_sha256, write_bytes

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_CLOSE = 1e-3  # of the largest answer; quantised graphs, whose steps are rounded otherwise, may differ by …
_CLOSE_QUANTISED = 0.15
_NAMES = ("names", "labels", "classes", "class_names", "id2label")


def translate(job: TranslateJob, workspace: Workspace, tell: Tell = silent) -> TranslateResult:
    """Bring a model into ONNX, look at what came out, and compare its answers with the model's own on noise.

    Raises:
        Refused: the file is unsafe, damaged, or comes out with operators that are not standard.
        Unsupported: ``EXPORT_FAILED``: it cannot be expressed as ONNX; ``OTHER_ANSWERS``: ONNX answers otherwise.
    """
    path = Path(job.path)
    tell(f"{path.name}: bringing it into ONNX", 0.0)
    target = workspace.scratch(digest(job)) / "model.onnx"
    found = _found(job, path, target.parent)
    _put_names(found.model, path, found.texts)
    write_bytes(target, found.model.SerializeToString(deterministic=True))
    check_model(target)
    if found.asked:
        _compare(target, path.name, found)
    return TranslateResult(workspace.objects.take(target, format="onnx", parent=job.stamp, made_by=job.kind))


@dataclass(frozen=True)
class _Found:
    """A ModelProto, texts beside it, noise that the model was asked, what it answered, and how near that has to be."""

    model: Any
    texts: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Array] = field(default_factory=dict)
    answered: Sequence[Array] = ()
    close: float = _CLOSE


def _found(job: TranslateJob, path: Path, folder: Path) -> _Found:
    if job.kind == formats.SCATTERED:
        from sartor.stages.translate.scattered import with_weights_inside

        return _Found(with_weights_inside(path))
    if job.kind == formats.PROGRAM:
        return _of_program(path)
    from sartor.stages.translate.tensorflow_tool import convert

    found = convert(job, folder)
    return _Found(found.model, {}, found.asked, found.answered, _CLOSE_QUANTISED if found.quantised else _CLOSE)


def placed(result: TranslateResult, job: TranslateJob, workspace: Workspace) -> Path:
    """The translated file under the model's own name, which families show; copied, as links are not opened."""
    path = workspace.root / "given" / result.artifact.sha256[:16] / f"{Path(job.path).stem}.onnx"
    if not (path.is_file() and file_sha256(path) == result.artifact.sha256):
        write_bytes(path, workspace.objects.path(result.artifact.sha256).read_bytes())
    return path


def _of_program(path: Path) -> _Found:
    import io

    try:
        import torch
    except ImportError:
        from sartor.errors import MissingExtra

        raise MissingExtra(f"converting {path.name}", "train", "torch") from None
    from sartor.stages.translate.exported_program import read_program
    from sartor.torch_onnx import program_to_onnx, quiet

    archive, texts = read_program(read_regular(path), path.name)
    with quiet():
        try:
            program = torch.export.load(io.BytesIO(archive))
        except Exception as error:  # torch raises whatever its parts do; nothing of the file was run
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise Refused(f"{path.name} cannot be read by torch {torch.__version__}: {reason}") from None
    model = program_to_onnx(program, path.name)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        _noise(node.meta["val"], generator)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    with torch.no_grad(), quiet():
        try:
            found = program.module(check_guards=False)(*inputs)
        except Exception as error:  # e.g. inputs by name alone; then what came out is not compared
            raise Unsupported(
                "EXPORT_FAILED", f"{path.name} does not answer: {' '.join(str(error).split())[:160]}"
            ) from None
    flat = torch.utils._pytree.tree_leaves(found)
    asked = {value.name: tensor.numpy() for value, tensor in zip(model.graph.input, inputs, strict=True)}
    return _Found(model, texts, asked, [one.numpy() for one in flat if isinstance(one, torch.Tensor)])


def _noise(like: Any, generator: Any) -> Any:
    """Noise of a recorded input's kind; open sides have the size of the example it was exported with."""
    import torch

    sides = [side if isinstance(side, int) else int(side.node.hint or 2) for side in like.shape]
    if like.dtype.is_floating_point:
        return torch.rand(sides, generator=generator).to(like.dtype)
    return torch.randint(0, 2, sides, generator=generator).to(like.dtype)


def _put_names(model: Any, path: Path, texts: Mapping[str, str]) -> None:
    """Names of classes into the metadata: those beside the file, else those it carries."""
    from onnx import helper

    props = {entry.key: entry.value for entry in model.metadata_props if entry.key in _NAMES}
    props |= {key: text for key, text in texts.items() if key in _NAMES}
    beside = formats.names_beside(path)
    if beside.is_file():
        try:
            lines = beside.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{beside} cannot be read as UTF-8 text ({error}); it holds a class's name a line") from None
        props = {"names": json.dumps([line.strip() for line in lines if line.strip()], ensure_ascii=False)}
    del model.metadata_props[:]
    if props:
        helper.set_model_props(model, props)


def _compare(target: Path, name: str, own: _Found) -> None:
    """Raise ``Unsupported`` where ONNX Runtime answers otherwise than the model itself did."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(target.read_bytes(), options, providers=["CPUExecutionProvider"])
        found = session.run(None, dict(own.asked))
    except Exception as error:  # the runtime's own errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise Unsupported("CANNOT_RUN", f"ONNX Runtime does not run what became of {name}: {reason}") from None
    for place, (given, wanted) in enumerate(zip(found, own.answered, strict=False)):
        if np.shape(given) != np.shape(wanted):
            raise Unsupported("OTHER_ANSWERS", f"{name} gives {np.shape(wanted)}, as ONNX {np.shape(given)}")
        first, second = np.asarray(given, np.float64), np.asarray(wanted, np.float64)
        largest = float(np.abs(second[np.isfinite(second)]).max(initial=0.0))
        apart = float(np.abs(np.nan_to_num(first) - np.nan_to_num(second)).max(initial=0.0))
        if apart > own.close * max(largest, 1e-3):
            raise Unsupported(
                "OTHER_ANSWERS",
                f"as ONNX, output {place} of {name} differs by {apart:.2g} from its own answer ({largest:.2g} at most)",
            )
