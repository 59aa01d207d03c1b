"""Claim: at equal training time the chosen package is more accurate, faster and smaller than the tutorials' ResNet-50.

The recipe: ResNet-50 with the stem for ImageNet on the pictures as they are, Adam at a constant 1e-3, batch 32, fp32,
no augmentation, then dynamic quantisation of the linear layers. It trains on the same training split, with the same
number of threads, for as long as the run trained its chosen network (all its trainings, process starts included);
scoring is not on its clock. Then both answer the same samples of the test split one by one and are timed in turn.

    python benchmarks/against_classic_recipe.py runs/cifar10-1a2b3c
    python benchmarks/against_classic_recipe.py runs/cifar10-1a2b3c --seconds 600 --seeds 3
"""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _protocol import Row, Side, alternate, busyness, compare, conditions_line, plain, table, write_rows
from _subject import Quality, Skipped, Subject, few, main, package_label, parser, score

from sartor import registry
from sartor.prepared import open_data

try:
    import _classic
except ImportError as error:  # torch is not in the base install
    raise SystemExit(f"SKIPPED, NOTHING WAS MEASURED: {error}. Run: pip install 'sartor[train]'") from None

VALIDATION = 2000  # samples the recipe is scored on while it trains
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94)


def work(asked: Namespace, subject: Subject) -> None:
    """Train the recipe, measure both, print, keep."""
    seconds = (5.0 if asked.smoke else asked.seconds) or subject.training_seconds
    if not seconds:
        raise Skipped("the run's evidence holds no training of the chosen network; give --seconds")
    threads = subject.trainings[-1].job.threads if subject.trainings else os.cpu_count() or 1
    print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
    print(f"MACHINE {conditions_line()}")
    print(f"TRAINS  {seconds:.0f} s on {threads} threads (the run: {subject.training_seconds:.0f} s)")
    trained = train_recipes(asked, subject, seconds, threads)
    with tempfile.TemporaryDirectory(dir=subject.workspace.root) as folder, _classic.on_the_path(Path(folder)):
        sides = [recipe_side(subject, one, Path(folder)) for one in trained]
        size_mb = _classic.saved_bytes(trained[0].module, Path(folder) / "saved") / 1e6
        blocks = alternate(
            subject.side,
            sides[0],
            data=subject.data,
            workspace=subject.workspace,
            blocks=asked.blocks,
            seconds=asked.timed,
            say=lambda line: print(f"… {line}", flush=True),
        )
        mine = score(subject, subject.side, asked.samples)
        theirs = [score(subject, side, asked.samples) for side in sides]
        for side in sides:  # 94 MB each, and no evidence names them
            subject.workspace.objects.path(side.artifact).unlink(missing_ok=True)
    package_mb = subject.workspace.objects.path(subject.side.artifact).stat().st_size / 1e6
    rows = [
        *quality_rows(mine, theirs),
        Row("training time", "s", subject.training_seconds, trained[0].seconds, n=1),
        compare(blocks, "latency_p50_ms", "latency p50", "ms"),
        compare(blocks, "latency_p95_ms", "latency p95", "ms"),
        plain("model file", "MB", package_mb, size_mb),
        compare(blocks, "memory_peak_mb", "peak memory", "MB"),
        compare(blocks, "cold_start_ms", "cold start", "ms"),
        *time_to_accuracy(subject, trained),
    ]
    print(table(rows, "package", "classic recipe"))
    print(f"SEEDS   the recipe {len(trained)}, the package 1: accuracy at equal training time varies between seeds")
    print(verdict(rows))
    stem = f"against_classic_recipe-{subject.conditions}-{seconds:.0f}s-{len(trained)}seeds-{asked.blocks}blocks"
    facts = {**busyness(blocks), "recipe_steps": trained[0].steps, "recipe_epochs": trained[0].curve[-1].epoch}
    print(f"WRITTEN {write_rows(asked.results, stem, rows, facts)}")


def train_recipes(asked: Namespace, subject: Subject, seconds: float, threads: int) -> list[_classic.Trained]:
    """One training per seed, on the training split at the data's own size."""
    data = open_data(subject.data, subject.workspace)
    size = registry.get("tasks", subject.file.requirement.task).input_sizes(data.card)[0]
    train, validation = data.split("train"), data.split("validation")
    kept = few(len(validation), VALIDATION, 0)
    return [
        _classic.train(
            # as an array of its own: the recipe is not to wait for a disk
            _classic.Pictures(np.array(train.prepared(size)), train.truths),
            _classic.Pictures(np.array(validation.prepared(size)[kept]), validation.truths[kept]),
            len(data.card.labels),
            seconds=seconds,
            threads=threads,
            seed=seed,
            say=lambda line: print(f"… {line}", flush=True),
        )
        for seed in range(asked.seeds)
    ]


def recipe_side(subject: Subject, trained: _classic.Trained, folder: Path) -> Side:
    """The recipe's model in the workspace, run as its plug-in runs it, at the package's threads and batch."""
    data = open_data(subject.data, subject.workspace)
    size = registry.get("tasks", subject.file.requirement.task).input_sizes(data.card)[0]
    path = folder / "classic.safetensors"
    _classic.write(trained.module, len(data.card.labels), path)
    artifact = subject.workspace.objects.take(path, format="safetensors", made_by="classic-recipe")
    pipeline = replace(
        subject.side.pipeline,
        model="model.safetensors",
        runtime=_classic.RUNTIME,
        precision=_classic.PRECISION,
        input_size=tuple(size),
    )
    return Side("classic recipe", artifact.sha256, pipeline)


def quality_rows(mine: Quality, theirs: Sequence[Quality]) -> list[Row]:
    """Accuracy of both on the same samples, and their errors: how many times as many the recipe makes."""
    values = [one.value for one in theirs]
    n = len(mine.correct)
    rows = [
        Row(
            f"{mine.name}, package's interval",
            "",
            mine.value,
            float(np.mean(values)),
            low=mine.low,
            high=mine.high,
            n=n,
        )
    ]
    if len(values) > 1:
        low, high = min(values), max(values)
        rows.append(
            Row(f"{mine.name}, recipe's seeds", "", mine.value, float(np.mean(values)), low=low, high=high, n=n)
        )
    wrong, wrongs = 1 - mine.value, float(np.mean([1 - value for value in values]))
    rows.append(Row("wrong answers", "", wrong, wrongs, wrongs / wrong if wrong else None, n=1))
    return rows


def time_to_accuracy(subject: Subject, trained: Sequence[_classic.Trained]) -> list[Row]:
    """Seconds of training after which validation accuracy first passed each level that one of them reached.

    The package's curve is that of its network's last training; the run's earlier, shorter ones are not in it. Its
    clock runs while it is scored, the recipe's does not.
    """
    curve = subject.file.curves.get(subject.network.id, ())
    mine = [(point.seconds, point.score) for point in curve if point.score is not None]
    theirs = [(point.seconds, point.accuracy) for point in trained[0].curve]
    rows = []
    for level in LEVELS:
        ours, other = passed(mine, level), passed(theirs, level)
        if ours is not None or other is not None:
            ratio = other / ours if ours and other else None
            rows.append(Row(f"trained to {level:g} on validation", "s", ours, other, ratio, n=1))
    return rows


def passed(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """Seconds of the first point at or above a level; None when none is."""
    return next((seconds for seconds, value in curve if value >= level), None)


def verdict(rows: Sequence[Row]) -> str:
    """Whether the claim holds here."""
    known = {row.quantity: row for row in rows}
    quality, p50, size = rows[0], known["latency p50"], known["model file"]
    if p50.claimed != "yes":
        return f"OPEN    no ratio is claimed: {p50.claimed.removeprefix('no, ') or p50.noisy}"
    better = quality.low is not None and quality.other is not None and quality.low > quality.other
    holds = better and p50.low is not None and p50.low > 1 and size.ratio is not None and size.ratio > 1
    return (
        f"{'HOLDS ' if holds else 'FAILS '}  {quality.ours:.3f} against {quality.other:.3f}, "
        f"p50 {p50.ratio:.1f} × as fast ({p50.low:.1f} … {p50.high:.1f}), file {size.ratio:.1f} × smaller"
    )


if __name__ == "__main__":
    made = parser(__doc__)
    made.add_argument("--seconds", type=float, default=0.0, help="to train the recipe; default: as long as the run did")
    made.add_argument("--seeds", type=int, default=1, help="trainings of the recipe (%(default)s)")
    sys.exit(main(work, made.parse_args(), __doc__.splitlines()[0].removeprefix("Claim: ")))
