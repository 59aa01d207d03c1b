"""Claim: a training that goes on from a short one of the same network errs no more than one from random weights.

Three networks: a small CNN, a text transformer, a perceptron. Each is trained for a few epochs, as on a rung of the
search; then for so many epochs again, once from those weights (with the whole schedule, as the search does it) and once
from random ones. Scores are of the validation split; the epochs of the short training are not counted, as the search
has spent them in either case.

    python benchmarks/warm_starts.py --seeds 3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from _protocol import RESULTS, conditions_line, slug, surroundings, write_table
from frontier import subjects

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.errors import SartorError
from sartor.evidence import Workspace
from sartor.execute import Executor
from sartor.jobs import PrepareJob, Start, TrainJob, TrainResult
from sartor.stages.data import stamp
from sartor.types import DataCard, Network

TRAININGS = (
    ("digits", "resnet9", "s", 2.0, (6.0, 12.0)),
    ("sms_spam", "text-transformer", "s", 1.0, (3.0, 6.0)),
    ("spambase", "tabular-mlp", "s", 2.0, (8.0, 16.0)),
)
SMOKE = (("two_sides", "tabular-mlp", "s", 1.0, (2.0,)),)
Do = Callable[[str, object], Any]


@dataclass(frozen=True)
class Pair:
    """Two trainings of as many epochs, from a short one's weights and from random ones."""

    data: str
    network: str
    seed: int
    epochs: float
    warm: float
    cold: float
    samples: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Train in pairs, judge; 1 where the claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of each network (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of a training (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS / "warm_starts", help="(%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="made-up points: no result")
    asked = parser.parse_args(arguments)
    print(f"CLAIM {(__doc__ or '').splitlines()[0].removeprefix('Claim: ')}", flush=True)
    pairs: list[Pair] = []
    for name, family, variant, short, lengths in SMOKE if asked.smoke else TRAININGS:
        subject = next(one for one in (*subjects.SUBJECTS, subjects.SMOKE) if one.name == name)
        try:
            pairs += _trained(subject, family, variant, short, lengths, asked)
        except (subjects.NoData, SartorError, ImportError) as why:
            print(f"SKIPPED {name}: {why}", file=sys.stderr)
    if not pairs:
        return 3
    gain = fmean(pair.warm - pair.cold for pair in pairs)
    noise = sqrt(fmean(pair.cold * (1 - pair.cold) / pair.samples for pair in pairs) / len(pairs))
    better = sum(pair.warm > pair.cold for pair in pairs)
    worse = sum(pair.warm < pair.cold for pair in pairs)
    verdict = "HOLDS" if gain >= 0 else "OPEN" if gain >= -noise else "FAILS"
    if not asked.smoke:
        rows = [{**vars(pair), "gain": pair.warm - pair.cold} for pair in pairs]
        stem = slug(f"warm_starts-{len(pairs)}pairs-{asked.threads}threads-{identify().name}")
        print("WRITTEN", write_table(asked.results / f"{stem}.csv", rows, surroundings()))
    print("MACHINE", conditions_line())
    print(
        f"{verdict}   {gain:+.4f} on average (noise {noise:.4f}), better in {better}, worse in {worse} of {len(pairs)}"
    )
    return int(verdict == "FAILS" and not asked.smoke)


def _trained(
    subject: subjects.Subject, family: str, variant: str, short: float, lengths: Sequence[float], asked: Any
) -> list[Pair]:
    """All pairs of one network."""
    pairs = []
    with TemporaryDirectory(prefix="sartor-warm-") as place:
        source, workspace = subject.source(Path(place)), Workspace(Path(place) / "workspace")
        evidence = workspace.evidence()
        with Executor(workspace, evidence, "warm-starts") as executor:
            do = subjects.doing(executor)
            card: DataCard = do("prepare", PrepareJob(source, subject.task, 0, stamp(source))).card
            network = subjects.network_of(subject, card, family, variant)
            for seed in range(1 if asked.smoke else asked.seeds):
                weights = _train(do, subject.task, card, network, short, seed, asked.threads).weights.sha256
                for epochs in lengths:
                    warm, cold = (
                        _train(do, subject.task, card, network, epochs, seed, asked.threads, start).score
                        for start in (Start(network, weights), None)
                    )
                    samples = card.splits["validation"].samples
                    pairs.append(Pair(subject.name, network.id, seed, epochs, warm, cold, samples))
                    told = f"{subject.name}  {network.id}  seed {seed}  {epochs:g} epochs"
                    print(f"{told}  from a short training {warm:.4f}  from nothing {cold:.4f}", flush=True)
        evidence.close()
    return pairs


def _train(
    do: Do, task: str, card: DataCard, network: Network, epochs: float, seed: int, threads: int,
    start: Start | None = None,
) -> TrainResult:  # fmt: skip
    recipe = registry.get("models", network.model).recipe(network, card.splits["train"].samples, epochs)
    result: TrainResult = do(
        "train", TrainJob(task, network, card.fingerprint, replace(recipe, start=start), seed, threads)
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
