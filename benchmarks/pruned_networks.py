"""Claim: see docs/benchmarks.md. A larger network, pruned and trained on, against a smaller one trained as long.

Handwritten digits, one thread: ``resnet9-m`` is trained, half of its channels are pruned, and it is trained on. The
other networks are trained from random weights for as many processor seconds as both trainings took together: the
family's own smaller size, and the pruned shape itself. Scores are on validation; latencies are medians of ONNX
Runtime's calls on the exported file, alternating between files.

Run: python benchmarks/pruned_networks.py [seeds]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
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


def main(seeds: Sequence[int]) -> None:
    """Print a row per network and seed, then latencies."""
    with tempfile.TemporaryDirectory() as place:
        workspace, card = _prepared(Path(place))
        whole, smaller = _network(card, "m"), _network(card, "s")
        half = pruning.pruned(whole, SHARE)
        files: dict[str, Path] = {}

        def trained(
            network: Network, epochs: float, seed: int, name: str, start: Start | None = None
        ) -> tuple[str, float]:
            recipe = registry.get("models", FAMILY).recipe(network, card.splits["train"].samples, epochs)
            job = TrainJob(TASK, network, card.fingerprint, replace(recipe, start=start), seed, 1)
            began = time.process_time()
            result = train(job, workspace)
            took = time.process_time() - began
            print(f"seed {seed}  {name:38} {result.score:.4f}  {epochs:5.1f} epochs  {took:6.1f} s", flush=True)
            if network.id not in files:
                job = ExportJob(TASK, network, card.fingerprint, result.weights.sha256, 1, seed)
                files[network.id] = workspace.objects.path(export(job, workspace).artifact.sha256)
            return result.weights.sha256, took

        for seed in seeds:
            weights, first = trained(whole, EPOCHS, seed, whole.id)
            _, second = trained(half, TUNED, seed, half.id, Start(whole, weights))
            _, short = trained(smaller, TRIED, seed, f"{smaller.id} (to see how fast)")
            longer = round(TRIED * (first + second) / short)
            trained(smaller, longer, seed, smaller.id)
            trained(half, round(TUNED * (first + second) / second), seed, f"{half.id} from random weights")
        for name, (median, size) in _timed(files).items():
            print(f"{name:38} {median:.4f} ms  {size / 1e3:.0f} kB")


def _prepared(place: Path) -> tuple[Workspace, DataCard]:
    images, labels = load_digits(return_X_y=True)
    pixels = np.clip(images * 16, 0, 255).astype(np.uint8).reshape(-1, 8, 8)
    np.savez(place / "digits.npz", images=pixels, labels=labels.astype(np.int64))
    source, workspace = DataSource(str(place / "digits.npz")), Workspace(place / "workspace")
    return workspace, prepare(PrepareJob(source, TASK, 0, stamp(source)), workspace).card


def _network(card: DataCard, variant: str) -> Network:
    offered = registry.get("models", FAMILY).variants(card, [(8, 8)], "thorough")
    chosen = next(one for one in offered if one.name == variant)
    return Network(FAMILY, variant, dict(chosen.options), chosen.input_size, len(card.labels))


def _timed(files: dict[str, Path]) -> dict[str, tuple[float, int]]:
    """Median milliseconds of a call and bytes of each file; rounds alternate, the quietest half of them counts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {n: onnxruntime.InferenceSession(str(p), options, ["CPUExecutionProvider"]) for n, p in files.items()}
    rounds: dict[str, list[float]] = {name: [] for name in files}
    picture = {"input": np.zeros((1, 8, 8, 3), np.uint8)}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            calls = []
            for _ in range(CALLS):
                began = time.perf_counter()
                session.run(None, picture)
                calls.append(1000 * (time.perf_counter() - began))
            rounds[name].append(statistics.median(calls))
    return {
        name: (statistics.median(sorted(r)[: ROUNDS // 2]), files[name].stat().st_size) for name, r in rounds.items()
    }


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0])
