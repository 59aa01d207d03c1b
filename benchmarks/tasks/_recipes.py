"""Usual recipes for pictures against a run's package: trained as long, shipped alike, scored and timed in turn."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
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
except ImportError as error:  # torch is not in the base install
    raise SystemExit(f"SKIPPED, NOTHING WAS MEASURED: {error}. Run: pip install 'sartor[train]'") from None


@dataclass(frozen=True)
class Recipe:
    """A network and how it is usually trained.

    Args:
        network: (number of classes, input size) to the module.
        loss: (module, outputs, targets, number of classes) to the mean loss.
        rate: share of the time that has gone to the factor on the learning rate.
        flip: mirrors targets as a picture is mirrored left to right; None where the recipe never flips.
    """

    name: str
    network: Callable[[int, tuple[int, ...]], nn.Module]
    loss: Callable[[nn.Module, Any, torch.Tensor, int], torch.Tensor]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    batch: int
    rate: Callable[[float], float]
    flip: Callable[[torch.Tensor], torch.Tensor] | None = None
    clip: float = 0.0


def falling(share: float) -> float:
    """Linearly to zero."""
    return max(0.0, 1 - share)


def train(recipe: Recipe, subject: Subject, seconds: float, threads: int) -> tuple[nn.Module, int]:
    """The network after so many seconds of training steps, and the number of steps."""
    data = open_data(subject.data, subject.workspace)
    task = registry.get("tasks", data.card.task)
    size, classes = task.input_sizes(data.card)[0], len(data.card.labels)
    pictures, truths = np.array(data.split("train").prepared(size)), np.array(data.split("train").targets(size))
    statistics = data.statistics(size)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    module = recipe.network(classes, tuple(size)).train()
    optimizer = recipe.optimizer(module.parameters())
    full = [group["lr"] for group in optimizer.param_groups]
    started = told = time.perf_counter()
    steps = 0
    while (spent := time.perf_counter() - started) < seconds:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * recipe.rate(spent / seconds)
        chosen = np.sort(chance.permutation(len(pictures))[: recipe.batch])
        batch = task.normalise(torch.from_numpy(pictures[chosen]), statistics)
        targets = torch.from_numpy(truths[chosen])
        if recipe.flip is not None and chance.random() < 0.5:
            batch, targets = batch.flip(3), recipe.flip(targets)
        loss = recipe.loss(module, module(batch), targets, classes)
        optimizer.zero_grad()
        loss.backward()
        if recipe.clip:
            nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
        optimizer.step()
        steps += 1
        if time.perf_counter() - told > 20:
            told = time.perf_counter()
            epochs = steps * recipe.batch / len(pictures)
            said = f"{spent:.0f} of {seconds:.0f} s, {epochs:.1f} epochs, loss {float(loss.detach()):.3f}"
            print(f"… {recipe.name}: {said}", flush=True)
    return module.eval().requires_grad_(False), steps


def side_of(recipe: Recipe, module: nn.Module, subject: Subject, folder: Path) -> Side:
    """The recipe's file in the workspace, run in fp32 at the package's threads and batch."""
    data = open_data(subject.data, subject.workspace)
    task = registry.get("tasks", data.card.task)
    size = task.input_sizes(data.card)[0]
    shipped = task.wrap(module, data.statistics(size)).eval()
    pipeline = subject.side.pipeline
    path = folder / "peer.onnx"
    _write_onnx(shipped, np.stack([task.example(size)] * pipeline.batch), recipe.name, path)
    artifact = subject.workspace.objects.take(path, format="onnx", made_by="benchmark")
    named = replace(pipeline, model="model.onnx", runtime="onnxruntime", precision="fp32", input_size=tuple(size))
    return Side(recipe.name, artifact.sha256, named)


def score(subject: Subject, side: Side, samples: int) -> dict[str, Measurement]:
    """Quality of a side on the test split, which was used up by the decision: nothing is chosen by it here."""
    job = EvaluateJob(side.artifact, side.pipeline, subject.data, "test", identify().id, CONFIDENCE, "", samples)
    return {one.metric.name: one for one in evaluate(job, subject.workspace).measurements}


def run(document: str, task: str, quality: Sequence[str], recipes: Sequence[Recipe]) -> int:
    """The whole benchmark; ``quality`` names metrics, the first decides. ``document``: claim and protocol."""
    made = parser(document)
    made.add_argument("--seconds", type=float, default=0.0, help="to train a recipe; default: as long as the run did")
    asked = made.parse_args()
    if asked.run is None or asked.smoke:
        made.error(f"name the folder of a run of {task}")

    def work(asked: Namespace, subject: Subject) -> None:
        if subject.side.pipeline.task != task:
            raise Skipped(f"{subject.folder} is a run of {subject.side.pipeline.task}; give one of {task}")
        seconds = asked.seconds or subject.training_seconds
        threads = subject.trainings[-1].job.threads if subject.trainings else os.cpu_count() or 1
        print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
        print(f"MACHINE {conditions_line()}")
        print(f"TRAINS  {seconds:.0f} s on {threads} threads (the run: {subject.training_seconds:.0f} s)")
        mine = score(subject, subject.side, asked.samples)
        outcomes = [_against(recipe, asked, subject, quality, mine, seconds, threads) for recipe in recipes]
        print("  ".join(f"{outcome} against {one.name}" for outcome, one in zip(outcomes, recipes, strict=True)))

    return main(work, asked, document.splitlines()[0].removeprefix("Claim: "))


def _against(
    recipe: Recipe,
    asked: Namespace,
    subject: Subject,
    quality: Sequence[str],
    mine: dict[str, Measurement],
    seconds: float,
    threads: int,
) -> str:
    """Train one recipe, score and time it against the package; HOLDS, FAILS or OPEN."""
    module, steps = train(recipe, subject, seconds, threads)
    with tempfile.TemporaryDirectory(dir=subject.workspace.root) as folder:
        side = side_of(recipe, module, subject, Path(folder))
        theirs = score(subject, side, asked.samples)
        blocks = alternate(
            subject.side, side, data=subject.data, workspace=subject.workspace,
            blocks=asked.blocks, seconds=asked.timed, say=lambda line: print(f"… {line}", flush=True),
        )  # fmt: skip
        sizes = [subject.workspace.objects.path(one.artifact).stat().st_size / 1e6 for one in (subject.side, side)]
        subject.workspace.objects.path(side.artifact).unlink(missing_ok=True)  # no evidence names it
    first = quality[0]
    p50 = compare(blocks, "latency_p50_ms", "latency p50", "ms")
    rows = [
        *(_quality_row(name, mine[name], theirs[name].value) for name in quality),
        _quality_row(f"recipe's {first} (first column)", theirs[first], None),
        p50,
        compare(blocks, "latency_p95_ms", "latency p95", "ms"),
        plain("model file", "MB", *sizes),
        compare(blocks, "memory_peak_mb", "peak memory", "MB"),
    ]
    print(table(rows, "package", recipe.name))
    name = subject.side.pipeline.task.replace("-", "_")
    stem = f"{name}-{subject.conditions}-{recipe.name}-{seconds:.0f}s-{asked.blocks}blocks"
    print(f"WRITTEN {write_rows(asked.results, stem, rows, {**busyness(blocks), 'recipe_steps': steps})}")
    better = mine[first].low > theirs[first].high
    faster = p50.low is not None and p50.low > 1
    if better and not p50.claimed.startswith("yes"):
        return "OPEN"
    return "HOLDS" if better and faster and sizes[0] < sizes[1] else "FAILS"


def _quality_row(quantity: str, found: Measurement, other: float | None) -> Row:
    """A side's value with its interval, the other's beside it."""
    return Row(quantity, "", found.value, other, low=found.low, high=found.high, n=found.n)
