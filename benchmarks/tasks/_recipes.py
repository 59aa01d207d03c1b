"""Usual recipes for pictures against a run's package: trained as long, shipped alike, scored and timed in turn."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _entry
from _protocol import (
    CONFIDENCE,
    Block,
    Row,
    Side,
    alternate,
    busyness,
    compare,
    conditions_line,
    plain,
    table,
    write_rows,
)
from _subject import Subject, package_label
from _verdict import difference, verdict

from sartor import registry
from sartor.catalog.contracts import Scores
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


@dataclass(frozen=True)
class Judged:
    """How a side did on the test split: measurements by name, and what differences are made of."""

    values: Mapping[str, Measurement]
    scores: Scores


def judge(subject: Subject, side: Side) -> Judged:
    """Quality of a side on all of the test split, which was used up by the decision: nothing is chosen by it here."""
    job = EvaluateJob(side.artifact, side.pipeline, subject.data, "test", identify().id, CONFIDENCE, "", 0)
    result = evaluate(job, subject.workspace)
    outputs = np.load(subject.workspace.objects.path(result.outputs), allow_pickle=False)
    test = open_data(subject.data, subject.workspace).split("test")
    task = registry.get("tasks", side.pipeline.task)
    scores = task.score(outputs, test.truths, side.pipeline.labels, CONFIDENCE)
    return Judged({one.metric.name: one for one in result.measurements}, scores)


def run(
    document: str, task: str, example: str, quality: Sequence[str], recipes: Sequence[Recipe],
    words: Sequence[str] | None = None,
) -> int:  # fmt: skip
    """The whole benchmark; ``quality`` names metrics, the first decides. ``document``: claim and protocol."""
    asked = _entry.parser(document, example).parse_args(words)

    def work(asked: Namespace, entry: _entry.Entry, folder: Path) -> None:
        subject = entry.subject
        threads = subject.trainings[-1].job.threads if subject.trainings else os.cpu_count() or 1
        print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
        print(f"MACHINE {conditions_line()}")
        print(f"LEARNS  {entry.seconds:.0f} s each on {threads} threads, as the package's run", flush=True)
        mine = judge(subject, subject.side)
        found = [
            _against(recipe, asked, subject, quality, mine, entry.seconds, threads)
            for recipe in (recipes[:1] if asked.smoke else recipes)
            if _entry.wanted(recipe.name, asked)
        ]
        if not found:
            print("OPEN    no recipe was asked for")
            return
        best = max(found, key=lambda one: one.value)
        word, why = verdict(best.rows)
        conditions = entry.conditions(len(mine.scores.correct))
        conditions |= {"verdict": f"{word} against {best.name}", **busyness([b for one in found for b in one.blocks])}
        stem = f"{task}-{subject.conditions}-{entry.seconds:.0f}s-{asked.blocks}blocks"
        rows = [row for one in found for row in one.rows]
        print(f"WRITTEN {write_rows(asked.results, stem, rows, conditions)}")
        print(f"{word:7} against {best.name}, the best recipe on test: {why}")

    return _entry.run(asked, document.splitlines()[0].removeprefix("Claim: "), (task,), work)


@dataclass(frozen=True)
class Outcome:
    """One recipe against the package; ``value`` is its primary metric."""

    name: str
    value: float
    rows: Sequence[Row]
    blocks: Sequence[Block]


def _against(
    recipe: Recipe,
    asked: Namespace,
    subject: Subject,
    quality: Sequence[str],
    mine: Judged,
    seconds: float,
    threads: int,
) -> Outcome:
    """Train one recipe, score and time it against the package."""
    module, steps = train(recipe, subject, seconds, threads)
    with tempfile.TemporaryDirectory(dir=subject.workspace.root) as folder:
        side = side_of(recipe, module, subject, Path(folder))
        theirs = judge(subject, side)
        blocks = alternate(
            subject.side, side, data=subject.data, workspace=subject.workspace,
            blocks=asked.blocks, seconds=asked.timed, say=lambda line: print(f"… {line}", flush=True),
        )  # fmt: skip
        sizes = [subject.workspace.objects.path(one.artifact).stat().st_size / 1e6 for one in (subject.side, side)]
        subject.workspace.objects.path(side.artifact).unlink(missing_ok=True)  # no evidence names it
    rows = [
        *(_quality_row(mine.values[name], theirs.values[name]) for name in quality),
        difference(mine.values[quality[0]].metric, mine.scores, theirs.scores),
        compare(blocks, "latency_p50_ms", "latency p50", "ms"),
        compare(blocks, "latency_p95_ms", "latency p95", "ms"),
        compare(blocks, "memory_peak_mb", "peak memory", "MB"),
        plain("size", "MB", *sizes),
    ]
    print(table(rows, "package", recipe.name))
    told = [replace(row, against=f"{recipe.name} ({steps} steps)") for row in rows]
    return Outcome(recipe.name, theirs.values[quality[0]].value, told, blocks)


def _quality_row(ours: Measurement, theirs: Measurement) -> Row:
    """Values side by side; the interval is ours."""
    return Row(ours.metric.title, ours.metric.unit, ours.value, theirs.value, low=ours.low, high=ours.high, n=ours.n)
