"""Claim: where the larger network is trained already, a pruned one needs fewer epochs than its shape does from nothing.

Handwritten digits, one thread: ``resnet9-m`` is trained, half of its channels are pruned, and it is trained on for a
few epochs; the same shape is trained from random weights for as many. Beside it stands what the larger network's
training would have bought else: the family's smaller size, and that shape from random weights, each for as many
processor seconds as both trainings took together. Scores are of 287 validation pictures; latencies are medians of ONNX
Runtime's calls on the exported files, in turn.

    python benchmarks/pruned_networks.py --seeds 3
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits

from sartor import pruning, registry
from sartor.evidence import Workspace
from sartor.jobs import ExportJob, PrepareJob, Start, TrainJob
from sartor.stages.compress import export
from sartor.stages.data import prepare, stamp
from sartor.stages.train import train
from sartor.types import DataCard, DataSource, Network

TASK, FAMILY = "image-classification", "resnet9"
EPOCHS, TUNED, SHARE = 6.0, 3.0, 0.5
TRIED = 2.0  # epochs that tell how fast the smaller one trains
ROUNDS, CALLS = 20, 50


@dataclass
class Bench:
    """Trains on one workspace; remembers scores by name and one file of each network."""

    workspace: Workspace
    card: DataCard
    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, Path] = field(default_factory=dict)

    def train(
        self, network: Network, epochs: float, seed: int, name: str, start: Start | None = None
    ) -> tuple[str, float]:
        """Weights, and the processor seconds that they took."""
        recipe = registry.get("models", FAMILY).recipe(network, self.card.splits["train"].samples, epochs)
        job = TrainJob(TASK, network, self.card.fingerprint, replace(recipe, start=start), seed, 1)
        began = time.process_time()
        result = train(job, self.workspace)
        took = time.process_time() - began
        print(f"seed {seed}  {name:38} {result.score:.4f}  {epochs:5.1f} epochs  {took:6.1f} s", flush=True)
        self.scores[name].append(result.score)
        if network.id not in self.files:
            made = export(
                ExportJob(TASK, network, self.card.fingerprint, result.weights.sha256, 1, seed), self.workspace
            )
            self.files[network.id] = self.workspace.objects.path(made.artifact.sha256)
        return result.weights.sha256, took

    def network(self, variant: str) -> Network:
        """A size of the family."""
        offered = registry.get("models", FAMILY).variants(self.card, [(8, 8)], "thorough")
        chosen = next(one for one in offered if one.name == variant)
        return Network(FAMILY, variant, dict(chosen.options), chosen.input_size, len(self.card.labels))


def main() -> int:
    """Train, time and judge; 0 unless the claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="the smallest size and a fraction of the epochs")
    asked = parser.parse_args()
    print((__doc__ or "").splitlines()[0])
    large, small, scale = ("s", "xs", 0.15) if asked.smoke else ("m", "s", 1.0)
    with tempfile.TemporaryDirectory() as place:
        bench = _prepared(Path(place))
        whole, smaller = bench.network(large), bench.network(small)
        half = pruning.pruned(whole, SHARE)
        for seed in range(1 if asked.smoke else asked.seeds):
            weights, first = bench.train(whole, scale * EPOCHS, seed, whole.id)
            _, second = bench.train(half, scale * TUNED, seed, half.id, Start(whole, weights))
            bench.train(half, scale * TUNED, seed, f"{half.id}, random start")
            _, short = bench.train(smaller, scale * TRIED, seed, f"{smaller.id}, to see how fast")
            as_long = (first + second) * scale
            bench.train(smaller, TRIED * as_long / short, seed, smaller.id)
            bench.train(half, TUNED * as_long / second, seed, f"{half.id}, random start, as long")
        for name, (median, size) in _timed(bench.files).items():
            print(f"{name:38} {median:.4f} ms  {size / 1e3:.0f} kB")
    ours, other = (statistics.mean(bench.scores[name]) for name in (half.id, f"{half.id}, random start"))
    noise = (ours * (1 - ours) / bench.card.splits["validation"].samples) ** 0.5
    verdict = "HOLDS" if ours > other + noise else "OPEN" if ours >= other else "FAILS"
    print(f"{half.id} {ours:.4f}, from random weights {other:.4f}, one standard error {noise:.4f}: {verdict}")
    return int(verdict == "FAILS" and not asked.smoke)


def _prepared(place: Path) -> Bench:
    images, labels = load_digits(return_X_y=True)
    pixels = np.clip(images * 16, 0, 255).astype(np.uint8).reshape(-1, 8, 8)
    np.savez(place / "digits.npz", images=pixels, labels=labels.astype(np.int64))
    source, workspace = DataSource(str(place / "digits.npz")), Workspace(place / "workspace")
    return Bench(workspace, prepare(PrepareJob(source, TASK, 0, stamp(source)), workspace).card)


def _timed(files: dict[str, Path]) -> dict[str, tuple[float, int]]:
    """Median milliseconds of a call and bytes of each file; rounds alternate, the quietest half of them counts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {n: onnxruntime.InferenceSession(str(p), options, ["CPUExecutionProvider"]) for n, p in files.items()}
    rounds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            given = session.get_inputs()[0]
            picture = {given.name: np.zeros(given.shape, np.uint8)}
            calls = []
            for _ in range(CALLS):
                began = time.perf_counter()
                session.run(None, picture)
                calls.append(1000 * (time.perf_counter() - began))
            rounds[name].append(statistics.median(calls))
    quiet = {name: statistics.median(sorted(medians)[: ROUNDS // 2]) for name, medians in rounds.items()}
    return {name: (median, files[name].stat().st_size) for name, median in quiet.items()}


if __name__ == "__main__":
    sys.exit(main())
