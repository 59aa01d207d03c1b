"""Claim: at equal training time the chosen segmenter is more accurate, faster and smaller than two usual recipes.

The recipes: a plain U-Net (Ronneberger et al. 2015, half of the paper's widths, batch norm, Adam at a constant 1e-3,
batch 8, no augmentation) and SegFormer-B0 from transformers, from random weights (Xie et al. 2021, AdamW at 6e-4 with a
linear decay, batch 8, flips). Both train in fp32 with cross entropy on the run's training split at its most natural
input size, on as many threads and for as long as the run trained its chosen network. Their ONNX files hold the same
pre- and post-processing as the package's and are run by ONNX Runtime in fp32.

    python benchmarks/tasks/image_segmentation.py runs/street-scenes-1a2b3c
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _protocol import CONFIDENCE, Row, Side, alternate, busyness, compare, conditions_line, plain, table, write_rows
from _subject import Skipped, Subject, main, package_label, parser

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.jobs import EvaluateJob
from sartor.prepared import open_data
from sartor.stages.compress.convert import _write_onnx
from sartor.stages.measure import evaluate
from sartor.types import Measurement

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:  # torch is not in the base install
    raise SystemExit(f"SKIPPED, NOTHING WAS MEASURED: {error}. Run: pip install 'sartor[train]'") from None

TASK, BATCH, IGNORED = "image-segmentation", 8, 255
WIDTHS = (32, 64, 128, 256, 512)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for first in (inputs, outputs):
        layers += [nn.Conv2d(first, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """The U-Net of the paper with padded convolutions; logits (n, classes, H, W)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        pairs = list(zip((3, *WIDTHS[:-1]), WIDTHS, strict=True))
        self.down = nn.ModuleList(double(inputs, outputs) for inputs, outputs in pairs)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, stride=2) for w in WIDTHS[:0:-1])
        self.up = nn.ModuleList(double(w, w // 2) for w in WIDTHS[:0:-1])
        self.head = nn.Conv2d(WIDTHS[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        maps = []
        for place, stage in enumerate(self.down):
            x = stage(functional.max_pool2d(x, 2) if place else x)
            maps.append(x)
        for grow, stage, skip in zip(self.grow, self.up, maps[-2::-1], strict=True):
            x = stage(torch.cat([grow(x), skip], dim=1))
        return self.head(x)


class SegFormer(nn.Module):
    """SegFormer-B0 of transformers with random weights; logits at a quarter of a side."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        config = SegformerConfig(num_labels=classes)  # its defaults are B0
        config._attn_implementation = "eager"
        self.model = SegformerForSemanticSegmentation(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.model(pixel_values=x).logits


@dataclass(frozen=True)
class Peer:
    """A recipe: its network, its optimizer, and its rate as a share of time."""

    name: str
    network: Callable[[int], nn.Module]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    rate: Callable[[float], float]
    flips: bool


PEERS = (
    Peer("plain U-Net", UNet, lambda p: torch.optim.Adam(p, 1e-3), lambda share: 1.0, flips=False),
    Peer(
        "SegFormer-B0, scratch",
        SegFormer,
        lambda p: torch.optim.AdamW(p, 6e-4, weight_decay=0.01),
        lambda share: max(0.0, 1 - share),
        flips=True,
    ),
)


def train(peer: Peer, subject: Subject, seconds: float, threads: int) -> tuple[nn.Module, int]:
    """The network after so many seconds of training steps, and the number of steps."""
    data = open_data(subject.data, subject.workspace)
    task = registry.get("tasks", TASK)
    size = task.input_sizes(data.card)[0]
    pictures, masks = np.array(data.split("train").prepared(size)), np.array(data.split("train").targets(size))
    statistics = data.statistics(size)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    module = peer.network(len(data.card.labels)).train()
    optimizer = peer.optimizer(module.parameters())
    started = told = time.perf_counter()
    full = [group["lr"] for group in optimizer.param_groups]
    steps = 0
    while (spent := time.perf_counter() - started) < seconds:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * peer.rate(spent / seconds)
        chosen = np.sort(chance.permutation(len(pictures))[:BATCH])
        batch = task.normalise(torch.from_numpy(pictures[chosen]), statistics)
        targets = torch.from_numpy(masks[chosen]).long()
        if peer.flips and chance.random() < 0.5:
            batch, targets = batch.flip(3), targets.flip(2)
        logits = functional.interpolate(module(batch), size=targets.shape[1:], mode="bilinear", align_corners=False)
        loss = functional.cross_entropy(logits, targets, ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if time.perf_counter() - told > 20:
            told = time.perf_counter()
            epochs = steps * BATCH / len(pictures)
            print(
                f"… {peer.name}: {spent:.0f} of {seconds:.0f} s, {epochs:.1f} epochs, loss {float(loss.detach()):.3f}"
            )
    return module.eval().requires_grad_(False), steps


def side_of(peer: Peer, module: nn.Module, subject: Subject, folder: Path) -> Side:
    """The recipe's file in the workspace, run in fp32 at the package's threads and batch."""
    data = open_data(subject.data, subject.workspace)
    task = registry.get("tasks", TASK)
    size = task.input_sizes(data.card)[0]
    shipped = task.wrap(module, data.statistics(size)).eval()
    pipeline = subject.side.pipeline
    path = folder / "peer.onnx"
    _write_onnx(shipped, np.stack([task.example(size)] * pipeline.batch), peer.name, path)
    artifact = subject.workspace.objects.take(path, format="onnx", made_by="benchmark")
    named = replace(pipeline, model="model.onnx", runtime="onnxruntime", precision="fp32", input_size=tuple(size))
    return Side(peer.name, artifact.sha256, named)


def score(subject: Subject, side: Side, samples: int) -> dict[str, Any]:
    """Quality of a side on the test split, which was used up by the decision: nothing is chosen by it here."""
    job = EvaluateJob(side.artifact, side.pipeline, subject.data, "test", identify().id, CONFIDENCE, "", samples)
    return {one.metric.name: one for one in evaluate(job, subject.workspace).measurements}


def quality_row(quantity: str, found: Measurement, other: float | None) -> Row:
    """A side's value with its interval, the other's beside it."""
    return Row(quantity, "", found.value, other, low=found.low, high=found.high, n=found.n)


def work(asked: Namespace, subject: Subject) -> None:
    """Train the recipes, measure all, print, keep."""
    if subject.side.pipeline.task != TASK:
        raise Skipped(f"{subject.folder} is a run of {subject.side.pipeline.task}; give one of {TASK}")
    seconds = asked.seconds or subject.training_seconds
    threads = subject.trainings[-1].job.threads if subject.trainings else os.cpu_count() or 1
    print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
    print(f"MACHINE {conditions_line()}")
    print(f"TRAINS  {seconds:.0f} s on {threads} threads (the run: {subject.training_seconds:.0f} s)")
    mine = score(subject, subject.side, asked.samples)
    outcomes = []
    for peer in PEERS:
        module, steps = train(peer, subject, seconds, threads)
        with tempfile.TemporaryDirectory(dir=subject.workspace.root) as folder:
            side = side_of(peer, module, subject, Path(folder))
            theirs = score(subject, side, asked.samples)
            blocks = alternate(
                subject.side, side, data=subject.data, workspace=subject.workspace,
                blocks=asked.blocks, seconds=asked.timed, say=lambda line: print(f"… {line}", flush=True),
            )  # fmt: skip
            sizes = [subject.workspace.objects.path(one.artifact).stat().st_size / 1e6 for one in (subject.side, side)]
            subject.workspace.objects.path(side.artifact).unlink(missing_ok=True)  # no evidence names it
        quality = ("mean_iou", "pixel_accuracy", "boundary_f1")
        rows = [
            *(quality_row(name, mine[name], theirs[name].value) for name in quality),
            quality_row("recipe's mean_iou (first column)", theirs["mean_iou"], None),
            compare(blocks, "latency_p50_ms", "latency p50", "ms"),
            compare(blocks, "latency_p95_ms", "latency p95", "ms"),
            plain("model file", "MB", *sizes),
            compare(blocks, "memory_peak_mb", "peak memory", "MB"),
        ]
        print(table(rows, "package", peer.name))
        stem = f"image_segmentation-{subject.conditions}-{peer.name}-{seconds:.0f}s-{asked.blocks}blocks"
        print(f"WRITTEN {write_rows(asked.results, stem, rows, {**busyness(blocks), 'recipe_steps': steps})}")
        p50 = rows[4]
        better = mine["mean_iou"].low > theirs["mean_iou"].high
        faster = p50.low is not None and p50.low > 1
        open_ = not p50.claimed.startswith("yes")
        outcomes.append(
            "OPEN" if better and open_ else "HOLDS" if better and faster and sizes[0] < sizes[1] else "FAILS"
        )
    print("  ".join(f"{outcome} against {peer.name}" for outcome, peer in zip(outcomes, PEERS, strict=True)))


if __name__ == "__main__":
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=0.0, help="to train a recipe; default: as long as the run did")
    asked = made.parse_args()
    if asked.run is None or asked.smoke:
        made.error("name the folder of a run of image-segmentation")
    sys.exit(main(work, asked, __doc__.splitlines()[0].removeprefix("Claim: ")))
