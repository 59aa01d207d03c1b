"""What each peer makes of a trained network, with its defaults, in whichever environment it has.

Run as ``python makers.py JSON``, an object with ``maker``, ``folder`` (of the subject), ``kind`` and ``target`` (a
folder to write into). The last line printed is an object with the ``file`` made and a ``note``. At import nothing but
NumPy is needed; torch's peers need Sartor's sources too, which rebuild the network.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PRUNED = 0.5  # of the channels
TUNED = 1.0  # of the training time is what a pruned network may learn for: as long as our pupils
TUNING_RATE, TUNING_BATCH = 1e-3, 64
Array = np.ndarray[Any, np.dtype[Any]]


def rows_of(folder: Path) -> Iterator[dict[str, Array]]:
    """Calibration samples as the graph takes them, one by one."""
    for row in np.load(folder / "calibration.npy"):
        yield {"input": np.ascontiguousarray(row[None])}


class Reader:
    """Calibration samples as ONNX Runtime and Intel Neural Compressor ask for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rewind()

    def get_next(self) -> dict[str, Array] | None:
        """The next, None at the end."""
        return next(self._rows, None)

    def rewind(self) -> None:
        """From the start again."""
        self._rows = rows_of(self._folder)


# ---------------------------------------------------------------------------------------------- ONNX Runtime


def _preprocessed(folder: Path, target: Path) -> str:
    """The graph as ONNX Runtime's guide wants it before quantisation, made once for both ways.

    Symbolic shapes are left out where they fail, as the guide says.
    """
    kept = target.parent / "preprocessed.onnx"
    if not kept.is_file():
        from onnxruntime.quantization.shape_inference import quant_pre_process

        source, part = str(folder / "fp32.onnx"), target / kept.name
        try:
            quant_pre_process(source, str(part))
        except Exception:  # whatever its symbolic shape inference raises
            quant_pre_process(source, str(part), skip_symbolic_shape=True)
        part.replace(kept)
    return str(kept)


def ort_static(folder: Path, target: Path, kind: str) -> tuple[str, str]:
    """``quantize_static`` with what it takes by default: QDQ, int8 both, per tensor, extremes."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Own(Reader, CalibrationDataReader):
        pass

    quantize_static(_preprocessed(folder, target), str(target / "model.onnx"), Own(folder))
    return "model.onnx", ""


def ort_dynamic(folder: Path, target: Path, kind: str) -> tuple[str, str]:
    """``quantize_dynamic`` with what it takes by default."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(_preprocessed(folder, target), str(target / "model.onnx"))
    return "model.onnx", ""


# ---------------------------------------------------------------------------------------------- NNCF


def nncf_quantize(folder: Path, target: Path, kind: str) -> tuple[str, str]:
    """``nncf.quantize`` of the ONNX file; transformers are named as such, as its guide asks for."""
    import nncf
    import onnx

    more = {"model_type": nncf.ModelType.TRANSFORMER} if kind == "BERT-class" else {}
    made = nncf.quantize(onnx.load(str(folder / "fp32.onnx")), nncf.Dataset(list(rows_of(folder))), **more)
    onnx.save(made, str(target / "model.onnx"))
    return "model.onnx", "model_type=TRANSFORMER" if more else ""


# ---------------------------------------------------------------------------------------------- Neural Compressor


def inc_static(folder: Path, target: Path, kind: str) -> tuple[str, str]:
    """``StaticQuantConfig`` with its defaults."""
    from onnx_neural_compressor import data_reader
    from onnx_neural_compressor.quantization import config, quantize

    class Own(Reader, data_reader.CalibrationDataReader):
        pass

    asked = config.StaticQuantConfig(calibration_data_reader=Own(folder))
    quantize(str(folder / "fp32.onnx"), str(target / "model.onnx"), asked)
    return "model.onnx", ""


def inc_dynamic(folder: Path, target: Path, kind: str) -> tuple[str, str]:
    """``DynamicQuantConfig`` with its defaults."""
    from onnx_neural_compressor.quantization import config, quantize

    quantize(str(folder / "fp32.onnx"), str(target / "model.onnx"), config.DynamicQuantConfig())
    return "model.onnx", ""


# ---------------------------------------------------------------------------------------------- torch's own


def torchao_module(folder: Path, config: str) -> Any:
    """The parent's module after ``quantize_`` with a configuration's defaults; made anew by each process that runs it.

    ``quantize_`` takes the linear layers and leaves convolutions and tables as they are.
    """
    import torchao.quantization

    from sartor.catalog.runtimes.torch import _rebuild  # the reference runtime's own way from a file to a module

    module = _rebuild(folder / "parent.safetensors")
    torchao.quantization.quantize_(module, getattr(torchao.quantization, config)())
    return module


def _torchao(config: str) -> Callable[[Path, Path, str], tuple[str, str]]:
    def maker(folder: Path, target: Path, kind: str) -> tuple[str, str]:
        import torch

        module = torchao_module(folder, config)
        torch.save(module.state_dict(), target / "model.pt")  # its bytes are what has to be kept
        kinds = [type(part).__name__ for part in module.modules()]
        (target / "config").write_text(config, encoding="utf-8")
        return "model.pt", f"{kinds.count('Linear')} linear layers, {kinds.count('Conv2d')} convolutions left alone"

    return maker


def pruned(folder: Path, target: Path, kind: str) -> tuple[str, str]:
    """Half of the channels gone by group magnitude, fine-tuned for as long as the training took, exported to ONNX."""
    import torch

    from sartor import registry
    from sartor.stages.compress.onnx_file import write_onnx
    from sartor.torch_onnx import torch_to_onnx

    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    module, task, statistics, family = _parts(folder)
    plugin = registry.get("tasks", task)
    inputs = np.load(folder / "train.npy", mmap_mode="r")
    example = torch.from_numpy(np.array(inputs[:1]))
    before = sum(weight.numel() for weight in module.parameters())
    module, note = _smaller(folder, module, plugin.normalise(example, statistics))
    after = sum(weight.numel() for weight in module.parameters())
    steps = _tune(module, plugin, family, statistics, folder, TUNED * facts["train_seconds"])
    shipped = plugin.wrap(module.eval(), statistics).eval()
    write_onnx(torch_to_onnx(shipped, [example], "pruned", input_names=["input"]), target / "model.onnx")
    return "model.onnx", f"{after / before:.0%} of the weights left{note}, {steps} steps of fine-tuning"


def _parts(folder: Path) -> tuple[Any, str, Any, Any]:
    """The module before its task wraps it, the task, what normalises, and the family."""
    from safetensors import safe_open

    from sartor import registry
    from sartor.codec import from_plain
    from sartor.types import Network

    with safe_open(str(folder / "parent.safetensors"), framework="pt") as file:
        about = json.loads(file.metadata()["sartor"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a mapping
    network = from_plain(Network, about["network"])
    family = registry.get("models", network.model)
    module = family.build(network)
    module.load_state_dict(weights)
    return module, about["task"], about["statistics"], family


def _smaller(folder: Path, module: Any, example: Any) -> tuple[Any, str]:
    """By default; where the network does not run any more, with the inside of its attention left alone.

    Such layers cut their own output into heads by numbers that pruning does not know of.
    """
    import torch

    def prune(module: Any, kept: list[Any]) -> None:
        import torch_pruning

        last = [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1]
        pruner = torch_pruning.pruner.BasePruner(
            module,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(),
            pruning_ratio=PRUNED,
            ignored_layers=[last, *kept],
        )
        pruner.step()
        with torch.no_grad():
            module.eval()(example)

    module.eval()
    try:
        prune(module, [])
    except Exception as error:  # what torch says of shapes that do not fit, or the pruner of what it cannot trace
        first = f"{type(error).__name__}: {(str(error) or '?').splitlines()[0][:120]}"
        module = _parts(folder)[0].eval()
        attention = [part for name, part in module.named_modules() if name.rsplit(".")[-1] in ("asking", "out")]
        if not attention:
            raise
        prune(module, attention)
        return module, f", attention left alone ({first})"
    return module, ""


def _tune(module: Any, task: Any, family: Any, statistics: Any, folder: Path, seconds: float) -> int:
    """AdamW on the labels, its rate falling to zero over the time; steps taken."""
    import torch

    inputs, truths = np.load(folder / "train.npy", mmap_mode="r"), np.load(folder / "train-truths.npy")
    loss = getattr(family, "loss", task.loss)
    optimizer = torch.optim.AdamW(module.parameters(), lr=TUNING_RATE)
    chance, began, steps = np.random.default_rng(0), time.monotonic(), 0
    module.train()
    while (passed := time.monotonic() - began) < seconds:
        places = np.sort(chance.choice(len(truths), min(TUNING_BATCH, len(truths)), replace=False))
        batch = task.normalise(torch.from_numpy(np.ascontiguousarray(inputs[places])), statistics)
        optimizer.param_groups[0]["lr"] = TUNING_RATE * (1 - passed / seconds)
        optimizer.zero_grad()
        loss(module(batch), torch.from_numpy(truths[places]), 0.0).backward()
        optimizer.step()
        steps += 1
    return steps


MAKERS: Mapping[str, Callable[[Path, Path, str], tuple[str, str]]] = {
    "ort-static": ort_static,
    "ort-dynamic": ort_dynamic,
    "nncf": nncf_quantize,
    "inc-static": inc_static,
    "inc-dynamic": inc_dynamic,
    "torchao-dynamic": _torchao("Int8DynamicActivationInt8WeightConfig"),
    "torchao-weights": _torchao("Int8WeightOnlyConfig"),
    "pruned": pruned,
}


def main() -> None:
    """Make what is asked for."""
    asked = json.loads(sys.argv[1])
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    began = time.monotonic()
    file, note = MAKERS[asked["maker"]](Path(asked["folder"]), Path(asked["target"]), asked["kind"])
    told.write(json.dumps({"file": file, "note": note, "seconds": time.monotonic() - began}) + "\n")
    told.flush()


if __name__ == "__main__":
    main()
