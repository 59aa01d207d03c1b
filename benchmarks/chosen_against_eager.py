"""Claim: the package a run chose answers at least 3 × as fast as PyTorch eager, with the same answers.

The other side is the same network with the same trained weights in torch eager, fp32, the way it would have been
deployed without Sartor. Both answer one input at a time (the package's batch), with the same number of threads, from
the bytes of a picture to its label. Size, memory, cold start and accuracy of both stand beside. What is equal: 95 % of
the answers on the same samples of the test split.

    python benchmarks/chosen_against_eager.py runs/cifar10-1a2b3c
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace

import numpy as np
from _protocol import Row, Side, alternate, busyness, compare, conditions_line, plain, table, write_rows
from _subject import Quality, Skipped, Subject, main, package_label, parser, score

from sartor.errors import MissingExtra
from sartor.intervals import paired_drop, proportion
from sartor.jobs import ExportJob
from sartor.stages.compress import export

CLAIMED_RATIO = 3.0
LEAST_AGREEMENT = 0.95  # of answers; below it the two are not the same model any more


def work(asked: Namespace, subject: Subject) -> None:
    """Measure, print, keep."""
    eager = eager_side(subject)
    print(f"PACKAGE {package_label(subject.side.pipeline, subject.network)} of {subject.folder}")
    print(f"MACHINE {conditions_line()}")
    blocks = alternate(
        subject.side,
        eager,
        data=subject.data,
        workspace=subject.workspace,
        blocks=asked.blocks,
        seconds=asked.timed,
        say=lambda line: print(f"… {line}", flush=True),
    )
    mine, theirs = (score(subject, side, asked.samples) for side in (subject.side, eager))
    p50 = compare(blocks, "latency_p50_ms", "latency p50", "ms")
    rows = [
        p50,
        compare(blocks, "latency_p95_ms", "latency p95", "ms"),
        compare(blocks, "memory_peak_mb", "peak memory", "MB"),
        compare(blocks, "cold_start_ms", "cold start", "ms"),
        plain("model file", "MB", *(file_mb(subject, side) for side in (subject.side, eager))),
        *quality_rows(mine, theirs),
    ]
    print(table(rows, "package", "torch eager fp32"))
    agreement = next(row for row in rows if row.quantity == "equal answers")
    print(verdict(p50, agreement))
    stem = f"chosen_against_eager-{subject.conditions}-{asked.blocks}blocks"
    path = write_rows(asked.results, stem, rows, busyness(blocks))
    print(f"WRITTEN {path}")


def eager_side(subject: Subject) -> Side:
    """The chosen network with its weights, for the reference runtime."""
    pipeline = replace(subject.side.pipeline, model="model.safetensors", runtime="torch", precision="fp32")
    asked = subject.file.requirement
    job = ExportJob(
        asked.task, subject.network, subject.data, subject.weights, pipeline.batch, asked.seed, format="torch"
    )
    try:
        artifact = export(job, subject.workspace).artifact
    except MissingExtra as missing:
        raise Skipped(str(missing)) from None
    return Side("torch eager", artifact.sha256, pipeline)


def file_mb(subject: Subject, side: Side) -> float:
    """Size of a side's model file in 10^6 bytes."""
    return subject.workspace.objects.path(side.artifact).stat().st_size / 1e6


def quality_rows(mine: Quality, theirs: Quality) -> list[Row]:
    """Quality of both on the same samples, what was lost (paired), and how far the outputs agree."""
    n = len(mine.correct)
    lost, low, high = paired_drop(theirs.correct.tolist(), mine.correct.tolist(), 0.95)
    equal = int((mine.outputs.argmax(axis=1) == theirs.outputs.argmax(axis=1)).sum())
    apart = float(np.abs(mine.outputs - theirs.outputs).max())
    return [
        Row(mine.name, "", mine.value, theirs.value, low=mine.low, high=mine.high, n=n),
        Row(f"{mine.name} lost", "", lost, None, low=low, high=high, n=n),
        Row("equal answers", "", equal / n, None, None, *proportion(equal, n, 0.95), n=n),
        Row("largest difference of a probability", "", apart, None, n=n),
    ]


def verdict(p50: Row, agreement: Row) -> str:
    """Whether the claim holds here."""
    if agreement.ours is not None and agreement.ours < LEAST_AGREEMENT:
        return f"FAILS   only {agreement.ours:.1%} of the answers are equal: not the same model, no ratio is claimed"
    if p50.claimed != "yes" or p50.ratio is None or p50.low is None:
        return f"OPEN    no ratio is claimed: {p50.claimed.removeprefix('no, ') or p50.noisy}"
    word = "HOLDS " if p50.low >= CLAIMED_RATIO else "FAILS "
    return (
        f"{word}  p50 is {p50.ratio:.2f} × that of eager ({p50.low:.2f} … {p50.high:.2f}), claimed ≥ {CLAIMED_RATIO:g}"
    )


if __name__ == "__main__":
    arguments = parser(__doc__).parse_args()
    sys.exit(main(work, arguments, __doc__.splitlines()[0].removeprefix("Claim: ")))
