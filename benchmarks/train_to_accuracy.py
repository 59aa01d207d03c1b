"""Claim: from cold data the trainer reaches what ten epochs of the tutorials' recipe do, in a twentieth of their time.

The recipe: ResNet-50 with the stem for ImageNet, Adam at a constant 1e-3, batch 32, fp32, no augmentation; its clock
runs during training steps only, and its pictures lie decoded in memory. Ours: a family's own recipe from the first
byte of the source (preparing the data and starting a process included), for a budget that doubles until the mean score
of all seeds on the same validation split is the recipe's, so no run is told the goal. ``--target`` sets another goal.

    python benchmarks/train_to_accuracy.py                        # 10,000 pictures of CIFAR-10; half an hour
    python benchmarks/train_to_accuracy.py --rows 0 --minutes 9   # all of them; the recipe in pieces, hours
    python benchmarks/train_to_accuracy.py --rows 0 --target 0.93 # the recipe's time is not asked then
    python benchmarks/train_to_accuracy.py --data train.parquet --model convnext-small-s
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from _protocol import RESULTS, conditions_line, slug, surroundings, write_table

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.errors import SartorError
from sartor.evidence import Workspace
from sartor.execute import Executor
from sartor.jobs import PrepareJob, ThroughputJob, TrainJob
from sartor.prepared import open_data
from sartor.stages.data import stamp
from sartor.types import DataCard, DataSource, Network

try:
    import _classic
    import torch
except ImportError as error:  # torch is not in the base install
    raise SystemExit(f"SKIPPED, NOTHING WAS MEASURED: {error}. Run: pip install 'sartor[train]'") from None

TASK = "image-classification"
CIFAR10 = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "cifar10"
KEPT = Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "sartor-benchmarks" / "train_to_accuracy"
EPOCHS = 10  # of the recipe
BAR = 20.0
ROWS, SEEDS, MODEL = 10_000, 3, "resnet9-m"
FIRST_S, LAST_S = 7.5, 960.0  # of the budgets tried
Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """What the tutorials' recipe came to: accuracy after its epochs, and the seconds of its steps."""

    accuracy: float
    seconds: float
    curve: tuple[tuple[float, float], ...]  # seconds, accuracy of each epoch


@dataclass(frozen=True)
class Ours:
    """One of our trainings: seconds of its process, start included, seconds on its own clock, and its score."""

    budget: float
    seed: int
    wall: float
    trained: float
    epochs: float
    score: float


class Bench:
    """One data set in a workspace of its own."""

    def __init__(self, source: DataSource, folder: Path, model: str) -> None:
        self.workspace = Workspace(folder)
        self._evidence = self.workspace.evidence()
        began = time.monotonic()
        self.card: DataCard = self._do("prepare", PrepareJob(source, TASK, 0, stamp(source))).card
        self.network = self._network(model)
        self._rate = self._tried()
        self.preparing = time.monotonic() - began

    def _do(self, stage: str, job: object) -> Any:
        """In a process that is started for it."""
        with Executor(self.workspace, self._evidence, "benchmark") as executor:
            outcome = executor.do(stage, job)
        if outcome.refusal is not None:
            raise SartorError(f"{outcome.refusal.code}: {outcome.refusal.detail}")
        return outcome.result

    def _network(self, model: str) -> Network:
        sizes = registry.get("tasks", TASK).input_sizes(self.card)
        for name in registry.names("models"):
            family = registry.get("models", name)
            if TASK in family.tasks and model.startswith(f"{name}-"):
                for one in family.variants(self.card, sizes, "thorough"):
                    made = Network(name, one.name, dict(one.options), tuple(one.input_size), len(self.card.labels))
                    if made.id == model:
                        return made
        raise SartorError(f"there is no network {model} for these pictures")

    def pictures(self, split: str) -> _classic.Pictures:
        """Decoded, in memory, at the size that our network takes."""
        samples = open_data(self.card.fingerprint, self.workspace).split(split)
        return _classic.Pictures(np.array(samples.prepared(self.network.input_size)), np.array(samples.truths))

    def train(self, budget: float, seed: int) -> Ours:
        """A family's recipe with its defaults, for so many seconds."""
        began = time.monotonic()
        result = self._do("train", self._job(max(1.0, self._rate * budget), seed, budget))
        wall = time.monotonic() - began
        self._rate = result.epochs / max(result.seconds, 1e-9)
        return Ours(budget, seed, wall, result.seconds, result.epochs, result.score)

    def _tried(self) -> float:
        """Epochs a second, from a few steps, as a run finds them out."""
        found = self._do("throughput", ThroughputJob(self._job(1.0, 0, 0.0)))
        return float(found.samples_per_s) / self.card.splits["train"].samples

    def _job(self, epochs: float, seed: int, seconds: float) -> TrainJob:
        """So many epochs by the family's recipe; cut short where they take longer than a budget."""
        family = registry.get("models", self.network.model)
        recipe = family.recipe(self.network, self.card.splits["train"].samples, epochs)
        threads = identify().cores
        return TrainJob(TASK, self.network, self.card.fingerprint, recipe, seed, threads, seconds=seconds)


def tutorial(bench: Bench, folder: Path, epochs: int, threads: int, until: float, say: Say) -> Recipe | None:
    """The recipe's epochs, each kept when it is done; None where time was up before the last."""
    kept, state = folder / "recipe.json", folder / "recipe.pt"
    curve: list[tuple[float, float]] = json.loads(kept.read_text()) if kept.is_file() else []
    if len(curve) < epochs:
        train, validation = bench.pictures("train"), bench.pictures("validation")
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        module = _classic.resnet50(len(bench.card.labels))
        optimizer = torch.optim.Adam(module.parameters(), _classic.RATE)
        if curve:
            found = torch.load(state, weights_only=True)
            module.load_state_dict(found["module"])
            optimizer.load_state_dict(found["optimizer"])
        while len(curve) < epochs:
            if time.monotonic() > until:
                return None
            spent = _epoch(module, optimizer, train, len(curve))
            score = _classic.accuracy(module, validation)
            curve.append(((curve[-1][0] if curve else 0.0) + spent, score))
            torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict()}, state)
            kept.write_text(json.dumps(curve))
            say(f"the recipe, epoch {len(curve)} of {epochs}: {score:.4f} after {curve[-1][0]:.0f} s")
    state.unlink(missing_ok=True)
    return Recipe(curve[-1][1], curve[-1][0], tuple((seconds, score) for seconds, score in curve))


def _epoch(module: Any, optimizer: Any, train: _classic.Pictures, number: int) -> float:
    """Seconds of an epoch's steps, in an order of its own."""
    order = np.random.default_rng(number).permutation(len(train.truths))
    module.train()
    spent = 0.0
    for start in range(0, max(1, len(order) - _classic.BATCH + 1), _classic.BATCH):
        chosen = np.sort(order[start : start + _classic.BATCH])
        began = time.perf_counter()
        inputs, wanted = _classic.normalised(train.pixels[chosen]), torch.from_numpy(train.truths[chosen])
        loss = torch.nn.functional.cross_entropy(module(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spent += time.perf_counter() - began
    return spent


def reach(bench: Bench, target: float, seeds: int, first: float, last: float, say: Say) -> list[Ours]:
    """Trainings of growing budgets, all seeds of each, until their mean reaches the target."""
    tried: list[Ours] = []
    budget = first
    while budget <= last:
        now = []
        for seed in range(seeds):
            now.append(bench.train(budget, seed))
            one = now[-1]
            told = f"{one.score:.4f} in {one.epochs:.1f} epochs, {one.wall:.1f} s in all"
            say(f"{bench.network.id}, {budget:g} s, seed {seed}: {told}")
        tried += now
        if fmean(one.score for one in now) >= target:
            break
        budget *= 2
    return tried


def source_of(asked: argparse.Namespace, folder: Path) -> DataSource:
    """The data asked for; of CIFAR-10 so many rows of train.

    Raises:
        SystemExit: CIFAR-10 is not there.
    """
    if asked.data:
        return DataSource(str(asked.data.resolve()))
    if asked.smoke:
        chance = np.random.default_rng(0)
        truths = np.arange(240) % 3
        pixels = chance.integers(0, 60, (240, 16, 16, 3)) + 60 * truths[:, None, None, None]
        np.savez(folder / "pictures.npz", images=pixels.astype(np.uint8), labels=truths.astype(np.int64))
        return DataSource(str(folder / "pictures.npz"))
    if not CIFAR10.is_dir():
        raise SystemExit("SKIPPED, NOTHING WAS MEASURED: cifar10 is not in the folder shared beside the repository")
    path = CIFAR10 / "train.parquet"
    if asked.rows:
        import pyarrow.parquet

        path = folder / f"train-{asked.rows}.parquet"
        if not path.is_file():
            whole = pyarrow.parquet.read_table(CIFAR10 / "train.parquet")
            pyarrow.parquet.write_table(whole.slice(0, asked.rows), path)
    return DataSource(str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train both, print, keep; 3 where a further piece is needed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="of pictures, with labels (CIFAR-10)")
    parser.add_argument("--rows", type=int, default=ROWS, help="of CIFAR-10's pictures; 0 for all (%(default)s)")
    parser.add_argument("--model", default=MODEL, help="network of the catalogue (%(default)s)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each budget (%(default)s)")
    parser.add_argument("--target", type=float, default=0.0, help="accuracy to reach, in place of the recipe's")
    parser.add_argument("--longest", type=float, default=LAST_S, help="seconds of the longest budget (%(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="the recipe begins no epoch after so long")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where the recipe's epochs lie (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS / "train_to_accuracy")
    parser.add_argument("--smoke", action="store_true", help="made-up pictures, one epoch: no result")
    asked = parser.parse_args(arguments)
    print(f"CLAIM {(__doc__ or '').splitlines()[0].removeprefix('Claim: ')}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sartor-train-") as passing:
        try:
            return _work(asked, Path(passing))
        except SartorError as problem:
            print(f"SKIPPED, NOTHING WAS MEASURED: {problem}", file=sys.stderr)
            return 1


def _work(asked: argparse.Namespace, passing: Path) -> int:
    until = time.monotonic() + 60 * asked.minutes
    keep = passing / "kept" if asked.smoke else asked.keep
    if asked.smoke:
        asked.model, asked.seeds, asked.longest = "resnet9-xs", 1, FIRST_S
        if asked.results == RESULTS / "train_to_accuracy":
            asked.results = passing / "results"
    keep.mkdir(parents=True, exist_ok=True)
    bench = Bench(source_of(asked, keep), passing / ".sartor", asked.model)
    say = _say
    say(f"{bench.card.splits['train'].samples} pictures prepared and a few steps tried in {bench.preparing:.1f} s")
    recipe = None
    if not asked.target:
        folder = keep / f"{bench.card.fingerprint[:12]}-{identify().cores}cores"
        folder.mkdir(exist_ok=True)
        recipe = tutorial(bench, folder, 1 if asked.smoke else EPOCHS, identify().cores, until, say)
        if recipe is None:
            print("the recipe is not done; call again to go on")
            return 3
    target = recipe.accuracy if recipe else asked.target
    tried = reach(bench, target, asked.seeds, 1.0 if asked.smoke else FIRST_S, asked.longest, say)
    return _conclude(asked, bench, recipe, target, tried)


def _conclude(
    asked: argparse.Namespace, bench: Bench, recipe: Recipe | None, target: float, tried: Sequence[Ours]
) -> int:
    print(f"MACHINE {conditions_line()}")
    last = [one for one in tried if one.budget == tried[-1].budget]
    mean = fmean(one.score for one in last)
    took = [bench.preparing + one.wall for one in last]
    scores = sorted(one.score for one in last)
    words = f"{bench.network.id} has {mean:.4f} ({scores[0]:.4f} … {scores[-1]:.4f}, {len(last)} seeds) "
    words += f"{fmean(took):.0f} s after cold data"
    ratio = recipe.seconds / fmean(took) if recipe else None
    if recipe and ratio:
        words += f", the recipe {target:.4f} after {recipe.seconds:.0f} s: {ratio:.1f} × "
        words += f"({recipe.seconds / max(took):.1f} … {recipe.seconds / min(took):.1f}), bar {BAR:g} ×"
        word = "HOLDS" if mean >= target and ratio >= BAR else "FAILS"
    else:
        words += f", goal {target:g}"
        word = "HOLDS" if mean >= target else "FAILS"
    print(f"{word:<7} {words}")
    samples = bench.card.splits["train"].samples
    stem = f"train_to_accuracy-{samples}pictures-{bench.network.id}-{asked.seeds}seeds-{identify().cores}threads"
    path = asked.results / f"{stem}-{slug(identify().name)}.csv"
    print(f"WRITTEN {write(path, bench, recipe, target, tried, (word, words))}")
    return 0


def write(
    path: Path, bench: Bench, recipe: Recipe | None, target: float, tried: Sequence[Ours], verdict: tuple[str, str]
) -> Path:
    """A row per training, one per epoch of the recipe, and the verdict; conditions in each."""
    rows: list[dict[str, Any]] = [
        {"row": "ours", **vars(one), "prepared_s": bench.preparing, "target": target} for one in tried
    ]
    for number, (seconds, score) in enumerate(recipe.curve if recipe else (), start=1):
        rows.append({"row": "recipe", "epochs": number, "trained": seconds, "score": score, "target": target})
    rows.append({"row": "verdict", "verdict": verdict[0], "note": verdict[1]})
    return write_table(path, rows, surroundings())


def _say(line: str) -> None:
    print(f"… {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
