"""Claim: at equal training time the chosen detector is more accurate, faster and smaller than two usual recipes.

The recipes: FCOS (Tian et al. 2019, written here as a plain reference: ResNet-18 layout, three maps, shared heads of
two 3x3 convolutions, centre sampling, focal loss, IoU loss, centre-ness; Adam at 5e-4, batch 8, flips) and YOLOS-Ti of
transformers from random weights (Fang et al. 2021, AdamW at 1e-4, batch 4, flips), rates falling linearly. Both train
in fp32 on the run's training split at its most natural input size, on as many threads and for as long as the run
trained its chosen network. Their ONNX files hold the same pre- and post-processing as the package's and are run by
ONNX Runtime in fp32.

    python benchmarks/tasks/object_detection.py runs/blood-cells-1a2b3c
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

TASK = "object-detection"
QUALITY = ("map_50_95", "map_50", "recall_100")
STRIDES, REACH = (8, 16, 32), (0.0, 64.0, 128.0, 1e9)  # pixels: a box is learnt by the map of its largest side
CENTRE = 1.5  # strides around the middle of a box within which points learn it


def unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Basic(nn.Module):
    """The basic block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(inputs, outputs, stride), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        same = stride == 1 and inputs == outputs
        fit = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity() if same else fit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return functional.relu(self.body(x) + self.skip(x))


class Fcos(nn.Module):
    """FCOS on ResNet-18 with maps of 128 channels."""

    overlapping = True

    def __init__(self, classes: int, size: tuple[int, int], neck: int = 128) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.ModuleList(
            nn.Sequential(Basic(i, o, 1 if n == 0 else 2), Basic(o, o, 1))
            for n, (i, o) in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.across = nn.ModuleList(nn.Conv2d(w, neck, 1) for w in widths[2:])
        self.smooth = nn.ModuleList(nn.Conv2d(neck, neck, 3, 1, 1) for _ in STRIDES)
        self.naming = nn.Sequential(unit(neck, neck), unit(neck, neck), nn.Conv2d(neck, classes, 3, 1, 1))
        self.placing = nn.Sequential(unit(neck, neck), unit(neck, neck), nn.Conv2d(neck, 5, 3, 1, 1))
        nn.init.constant_(self.naming[2].bias, -4.6)
        self.size = size
        points = []
        for stride in STRIDES:
            rows, columns = (torch.arange(side // stride) * stride + stride / 2 for side in size)
            grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).view(-1, 2)
            points.append(torch.cat([grid, torch.full((len(grid), 1), float(stride))], dim=1))
        self.register_buffer("points", torch.cat(points), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Class logits (n, points, classes), distances in pixels (n, points, 4), centre-ness logits (n, points)."""
        x, maps = self.stem(x), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number:
                maps.append(self.across[number - 1](x))
        for level in (1, 0):
            maps[level] = maps[level] + functional.interpolate(maps[level + 1], scale_factor=2.0)
        maps = [smooth(level) for smooth, level in zip(self.smooth, maps, strict=True)]
        names = torch.cat([self.naming(level).flatten(2) for level in maps], dim=2).transpose(1, 2)
        places = torch.cat([self.placing(level).flatten(2) for level in maps], dim=2).transpose(1, 2)
        return names, places[..., :4].clamp(max=6).exp() * self.points[:, 2:], places[..., 4]

    def boxes(self, distances: torch.Tensor) -> torch.Tensor:
        """Corners in pixels."""
        middle = self.points[:, :2]
        return torch.cat([middle - distances[..., :2], middle + distances[..., 2:]], dim=-1)

    def candidates(self, outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the task thins out."""
        names, distances, centred = outputs
        sides = torch.tensor([*self.size, *self.size], dtype=torch.float32)
        scores = (names.sigmoid() * centred.sigmoid()[..., None]).clamp(min=1e-12).sqrt()
        return (self.boxes(distances) / sides).clamp(0, 1), scores


def fcos_loss(module: Fcos, outputs: Any, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Focal loss, IoU loss weighted by centre-ness, and the loss of centre-ness, as in the paper."""
    names, distances, centred = outputs
    sides = torch.tensor([*module.size, *module.size], dtype=torch.float32)
    middle, stride = module.points[:, :2], module.points[:, 2]
    level = stride.log2().long() - 3
    low, high = torch.tensor(REACH)[level], torch.tensor(REACH)[level + 1]
    wanted = torch.zeros_like(names)
    losses, count, mass = [], 0, torch.tensor(0.0)
    for number, rows in enumerate(targets):
        rows = rows[rows[:, 0] >= 0]
        if not len(rows):
            continue
        boxes = rows[:, 1:] * sides
        reach = torch.cat([middle[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - middle[:, None]], dim=2)
        near = ((middle[:, None] - (boxes[:, :2] + boxes[:, 2:]) / 2).abs() < CENTRE * stride[:, None, None]).all(2)
        largest = reach.amax(dim=2)
        fits = near & (reach.amin(dim=2) > 0) & (largest > low[:, None]) & (largest <= high[:, None])
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).expand(len(middle), -1)
        least, owner = torch.where(fits, area, torch.inf).min(dim=1)
        chosen = torch.nonzero(least.isfinite())[:, 0]
        if not len(chosen):
            continue
        owner = owner[chosen]
        wanted[number, chosen, rows[owner, 0].long()] = 1
        true, found = reach[chosen, owner], distances[number, chosen]
        shared = torch.minimum(true, found)
        both = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
        union = sum((d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) for d in (true, found)) - both
        pairs = torch.stack([true[:, [0, 2]], true[:, [1, 3]]], dim=1)
        centre = (pairs.amin(dim=2) / pairs.amax(dim=2)).prod(dim=1).sqrt()
        losses.append(-((both + 1) / (union + 1)).log() * centre)
        mass = mass + functional.binary_cross_entropy_with_logits(centred[number, chosen], centre, reduction="sum")
        count += len(chosen)
    entropy = functional.binary_cross_entropy_with_logits(names, wanted, reduction="none")
    missed = (wanted - names.sigmoid()).abs().square()
    focal = (entropy * missed * torch.where(wanted > 0, 0.25, 0.75)).sum()
    overlap = torch.cat(losses).sum() if losses else 0.0 * distances.sum()
    return (focal + overlap + mass) / max(1, count)


def yolos(classes: int, size: tuple[int, int]) -> nn.Module:
    """YOLOS-Ti as transformers builds it, with random weights."""
    from sartor.types import Network

    config = {
        **{"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
        **{"image_size": list(size), "use_mid_position_embeddings": False},
    }
    family = registry.get("models", "transformers-detection")
    return family.build(Network("transformers-detection", "yolos", {"type": "yolos", "config": config}, size, classes))


def yolos_loss(module: nn.Module, outputs: Any, targets: torch.Tensor, classes: int) -> torch.Tensor:
    """The set loss of DETR."""
    return registry.get("models", "transformers-detection").loss(outputs, targets, 0.0)


@dataclass(frozen=True)
class Peer:
    """A recipe: its network, its loss, its optimizer, its batch."""

    name: str
    network: Callable[[int, tuple[int, int]], nn.Module]
    loss: Callable[..., torch.Tensor]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    batch: int


PEERS = (
    Peer("FCOS ResNet-18, own reference", Fcos, fcos_loss, lambda p: torch.optim.Adam(p, 5e-4), 8),
    Peer("YOLOS-Ti, scratch", yolos, yolos_loss, lambda p: torch.optim.AdamW(p, 1e-4, weight_decay=1e-4), 4),
)


def train(peer: Peer, subject: Subject, seconds: float, threads: int) -> tuple[nn.Module, int]:
    """The network after so many seconds of training steps, and the number of steps."""
    data = open_data(subject.data, subject.workspace)
    task = registry.get("tasks", TASK)
    size, classes = task.input_sizes(data.card)[0], len(data.card.labels)
    pictures, boxes = np.array(data.split("train").prepared(size)), np.array(data.split("train").targets(size))
    statistics = data.statistics(size)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    module = peer.network(classes, size).train()
    optimizer = peer.optimizer(module.parameters())
    full = [group["lr"] for group in optimizer.param_groups]
    started = told = time.perf_counter()
    steps = 0
    while (spent := time.perf_counter() - started) < seconds:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * max(0.0, 1 - spent / seconds)
        chosen = np.sort(chance.permutation(len(pictures))[: peer.batch])
        batch = task.normalise(torch.from_numpy(pictures[chosen]), statistics)
        targets = torch.from_numpy(boxes[chosen])
        if chance.random() < 0.5:
            batch, mirrored = batch.flip(3), targets.clone()
            mirrored[..., 2], mirrored[..., 4] = 1 - targets[..., 4], 1 - targets[..., 2]
            targets = mirrored
        loss = peer.loss(module, module(batch), targets, classes)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
        steps += 1
        if time.perf_counter() - told > 20:
            told = time.perf_counter()
            epochs = steps * peer.batch / len(pictures)
            said = f"{spent:.0f} of {seconds:.0f} s, {epochs:.1f} epochs, loss {float(loss.detach()):.3f}"
            print(f"… {peer.name}: {said}", flush=True)
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


def score(subject: Subject, side: Side, samples: int) -> dict[str, Measurement]:
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
        p50 = compare(blocks, "latency_p50_ms", "latency p50", "ms")
        rows = [
            *(quality_row(name, mine[name], theirs[name].value) for name in QUALITY),
            quality_row("recipe's map_50_95 (first column)", theirs["map_50_95"], None),
            p50,
            compare(blocks, "latency_p95_ms", "latency p95", "ms"),
            plain("model file", "MB", *sizes),
            compare(blocks, "memory_peak_mb", "peak memory", "MB"),
        ]
        print(table(rows, "package", peer.name))
        stem = f"object_detection-{subject.conditions}-{peer.name}-{seconds:.0f}s-{asked.blocks}blocks"
        print(f"WRITTEN {write_rows(asked.results, stem, rows, {**busyness(blocks), 'recipe_steps': steps})}")
        better = mine["map_50_95"].low > theirs["map_50_95"].high
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
        made.error("name the folder of a run of object-detection")
    sys.exit(main(work, asked, __doc__.splitlines()[0].removeprefix("Claim: ")))
