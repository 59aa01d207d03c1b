"""The recipe of countless tutorials: ResNet-50 on small pictures, Adam, batch 32, fp32, then dynamic quantisation.

He et al. 2015, arXiv:1512.03385, in the form everybody uses (stride on the 3×3 convolution), written plainly. Written
with care to be fair: the pictures lie decoded in memory, nothing but training steps is on its clock, and what the
recipe leaves out (augmentation, a schedule, bf16, a stem for small pictures) is what the tutorials leave out.

This file is also a plug-in of the catalogue of runtimes (``classic-recipe``), so that the very processes that time and
score a package time and score the recipe's model; :func:`on_the_path` makes it known to them.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.registry import register

RUNTIME, PRECISION = "classic-recipe", "int8-dynamic"
BATCH, RATE = 32, 1e-3
MEAN, DEVIATION = 0.5, 0.5
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width, blocks
EXPANSION = 4
CHECKPOINTS = 8
Array = np.ndarray[Any, np.dtype[Any]]


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a shortcut; (n, c, h, w) to (n, 4 × width, h / stride, w / stride)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.body = nn.Sequential(
            *_convolution(inputs, width, 1),
            nn.ReLU(inplace=True),
            *_convolution(width, width, 3, stride),
            nn.ReLU(inplace=True),
            *_convolution(width, outputs, 1),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(inputs, outputs, 1, stride))

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return torch.relu(self.body(inputs) + self.shortcut(inputs))


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(outputs)


def resnet50(outputs: int) -> nn.Sequential:
    """ResNet-50 with the stem for ImageNet: (n, 3, h, w) to logits (n, outputs). 25,557,032 weights at 1,000."""
    layers: list[nn.Module] = [*_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, (width, blocks) in enumerate(STAGES):
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
            inputs = width * EXPANSION
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


def normalised(pixels: Array) -> Tensor:
    """(n, H, W, 3) uint8 to (n, 3, H, W) float32 around 0."""
    return (
        torch.from_numpy(np.ascontiguousarray(pixels))
        .permute(0, 3, 1, 2)
        .contiguous()
        .float()
        .div_(255 * DEVIATION)
        .sub_(MEAN / DEVIATION)
    )


# ---------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Pictures:
    """Prepared pictures (n, H, W, 3) uint8 with their class numbers (n,)."""

    pixels: Array
    truths: Array


@dataclass(frozen=True)
class Point:
    """Accuracy on validation after so many seconds of training."""

    seconds: float
    epoch: float
    accuracy: float


@dataclass(frozen=True)
class Trained:
    """The network as the clock left it, and its curve."""

    module: nn.Module
    seconds: float
    steps: int
    curve: tuple[Point, ...]


def train(
    train: Pictures,
    validation: Pictures,
    outputs: int,
    *,
    seconds: float,
    threads: int,
    seed: int,
    say: Callable[[str], None],
) -> Trained:
    """Train for so many seconds of wall time; scoring on validation, eight times, stops the clock."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    module = resnet50(outputs)
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    spent, steps = 0.0, 0
    curve: list[Point] = []
    for chosen in _batches(len(train.truths), seed):
        started = time.perf_counter()
        module.train()
        loss = nn.functional.cross_entropy(
            module(normalised(train.pixels[chosen])), torch.from_numpy(train.truths[chosen])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spent += time.perf_counter() - started
        steps += 1
        if spent >= seconds * (len(curve) + 1) / CHECKPOINTS or spent >= seconds:
            epoch = steps * BATCH / len(train.truths)
            curve.append(Point(spent, epoch, accuracy(module, validation)))
            say(f"recipe, seed {seed}: {spent:.0f} of {seconds:.0f} s, epoch {epoch:.1f}, {curve[-1].accuracy:.3f}")
        if spent >= seconds:
            break
    return Trained(module.eval(), spent, steps, tuple(curve))


def _batches(n: int, seed: int) -> Iterator[Array]:
    """Shuffled batches of 32, epoch after epoch, for ever; what does not fill a batch is left out."""
    chance = np.random.default_rng(seed)
    while True:
        order = chance.permutation(n)
        for start in range(0, max(1, n - BATCH + 1), BATCH):
            yield np.sort(order[start : start + BATCH])  # sorted within the batch: a map on disk is read in order


def accuracy(module: nn.Module, pictures: Pictures) -> float:
    """Share of right answers, in fp32."""
    module.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(pictures.truths), 256):
            part = slice(start, start + 256)
            answers = module(normalised(pictures.pixels[part])).argmax(dim=1).numpy()
            right += int((answers == pictures.truths[part]).sum())
    return right / len(pictures.truths)


# ---------------------------------------------------------------------------------------------- deployment


def quantised(module: nn.Module) -> nn.Module:
    """Linear layers to int8 with ranges taken at run time, as the tutorials end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that this way will go
        made: nn.Module = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
    return made


def saved_bytes(module: nn.Module, scratch: Path) -> int:
    """Bytes of what the tutorials save: ``torch.save`` of the quantised model's state."""
    torch.save(quantised(module).state_dict(), scratch)
    size = scratch.stat().st_size
    scratch.unlink()
    return size


def write(module: nn.Module, outputs: int, path: Path) -> None:
    """Weights before quantisation as safetensors; loading quantises them again, to the same numbers."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, path, metadata={"outputs": json.dumps(outputs)})


@register("runtimes", RUNTIME)
class ClassicRecipe:
    """Torch eager with dynamically quantised linear layers."""

    name: str
    title = "the recipe of the tutorials"
    accepts = frozenset({"safetensors"})
    extra = "train"
    reference = True

    def version(self) -> str:
        return str(torch.__version__)

    def precisions(self, device: object) -> Mapping[str, str]:
        return {}

    def load(self, path: Path, precision: str, threads: int) -> ClassicSession:
        return ClassicSession(path, threads)


class ClassicSession:
    """One loaded model."""

    effective_precision = PRECISION

    def __init__(self, path: Path, threads: int) -> None:
        from safetensors import safe_open

        self.version = str(torch.__version__)
        torch.set_num_threads(threads)
        with suppress(RuntimeError):
            torch.set_num_interop_threads(1)
        with safe_open(str(path), framework="pt") as file:
            module = resnet50(json.loads(file.metadata()["outputs"]))
            module.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118  no mapping
        self._module = quantised(module.eval())

    def run(self, batch: Array) -> Array:
        """(batch, H, W, 3) uint8 to probabilities (batch, outputs) float32."""
        with torch.inference_mode():
            output: Array = torch.softmax(self._module(normalised(batch)), dim=1).numpy()
        return output


@contextmanager
def on_the_path(folder: Path) -> Iterator[None]:
    """Let processes started inside find this plug-in, by an entry point as any other package declares it."""
    about = folder / "classic_recipe-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: classic-recipe\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[sartor.runtimes]\n{RUNTIME} = _classic\n")
    before = os.environ.get("PYTHONPATH")
    parts: Sequence[str] = [str(folder), str(Path(__file__).resolve().parent), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(parts)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
