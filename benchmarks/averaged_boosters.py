"""Claim: an average of two boosters errs no more than one booster on any table, by cross-validation.

Of every table the train split alone is used, prepared as a run prepares it: folds of it are held out in turn, one
booster and averages grow on the rest, and the root mean squared error, or the log-loss and the share of wrong answers,
are those of the rows held out.

    python benchmarks/averaged_boosters.py                 # of ../shared/data/tabular, of scikit-learn, made-up ones
    python benchmarks/averaged_boosters.py prices.csv:price --folds 10
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sartor import registry
from sartor.catalog.models.parts import boosting
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob
from sartor.prepared import open_data
from sartor.stages.data import prepare, stamp
from sartor.types import DataCard, DataSource, Network

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "tabular"
LABELS = {"heart_failure": "DEATH_EVENT", "spambase": "type", "coil2000_ticdata": "", "diamonds": "price"}
CLASSES = frozenset(("spambase", "coil2000_ticdata", "heart_failure", "breast_cancer", "wine", "digits"))
FOLDS = 3
SLACK = 1.005  # in the noise of a few folds
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Table:
    """A file, and what its label is: ``classes`` or numbers."""

    name: str
    path: Path
    label: str
    classes: bool


@dataclass(frozen=True)
class Side:
    """A way to grow. ``logarithms``: skewed numbers may be fitted to one."""

    name: str
    boosters: int
    logarithms: bool


SIDES = (Side("one", 1, False), Side("two alike", 2, False), Side("two", 2, True))


def main() -> int:
    """Compare, print a line per table, write them on request, and end with the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE[:LABEL]", help="CSV or Parquet; the label is else guessed")
    parser.add_argument("--classes", action="store_true", help="labels of the tables named are classes")
    parser.add_argument("--folds", type=int, default=FOLDS, help="(%(default)s)")
    parser.add_argument("--size", default="m", help="m or l, as the family calls one (%(default)s)")
    parser.add_argument("--csv", type=Path, help="write the lines here")
    parser.add_argument("--smoke", action="store_true", help="on one small made-up table; proves nothing")
    asked = parser.parse_args()
    print((__doc__ or "").split("\n", 1)[0].replace("Claim:", "CLAIM"))
    print("".join([f"{'table':18}{'train':>7}  {'score':8}", *(f"{side.name:>11}" for side in SIDES)]), flush=True)
    lines: list[list[Any]] = []
    with tempfile.TemporaryDirectory(prefix="sartor-boosters-") as scratch:
        for table in tables(asked, Path(scratch)):
            for row in compared(table, Path(scratch), asked.size, asked.folds):
                one, *others = row[3:]
                cells = [f"{one:11.5g}", *(f"{100 * (other / one - 1):+10.2f}%" for other in others)]
                print(f"{row[0]:18}{row[1]:7}  {row[2]:8}{''.join(cells)}", flush=True)
                lines.append(row)
    if asked.csv:
        with asked.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["table", "train_rows", "score", *(side.name.replace(" ", "_") for side in SIDES)])
            writer.writerows(lines)
    worse = [f"{row[0]} ({row[2]})" for row in lines if row[2] != "wrong" and row[5] > SLACK * row[3]]
    print(f"FAILS   worse on {', '.join(worse)}" if worse else "HOLDS")
    return 1 if worse else 0


def compared(table: Table, scratch: Path, size: str, folds: int) -> Iterator[list[Any]]:
    """Name, rows, score, and its value of every side; a line per score."""
    task = "tabular-classification" if table.classes else "tabular-regression"
    source, workspace = DataSource(str(table.path.resolve()), label=table.label), Workspace(scratch / "workspace")
    card = prepare(PrepareJob(source, task, 0, stamp(source)), workspace).card
    train = open_data(card.fingerprint, workspace).split("train")
    width = (int(card.facts["inputs"]),)
    rows, truths = np.array(train.prepared(width)), np.array(train.targets(width))
    place = np.random.default_rng(0).permutation(len(truths)) % folds
    found: dict[str, list[Array]] = {side.name: [] for side in SIDES}
    for number in range(folds):
        for side in SIDES[:2] if table.classes else SIDES:
            outputs = answers(side, card, size, rows[place != number], truths[place != number], rows[place == number])
            found[side.name].append(errors(outputs, truths[place == number], table.classes))
    if table.classes:  # they have no logarithms
        found[SIDES[2].name] = found[SIDES[1].name]
    pooled = [np.concatenate(found[side.name]).mean(axis=0) for side in SIDES]
    scores = ("log-loss", "wrong") if table.classes else ("RMSE",)
    for column, score in enumerate(scores):
        values = [float(value[column]) for value in pooled]
        yield [table.name, len(truths), score, *(values if table.classes else np.sqrt(values).tolist())]


def errors(outputs: Array, truths: Array, classes: bool) -> Array:
    """Per row: log-loss and whether it is wrong; or the squared error. (n, scores)."""
    if not classes:
        return np.square(outputs[:, :1].astype(np.float64) - truths[:, None])
    chosen = np.clip(outputs[np.arange(len(truths)), truths].astype(np.float64), 1e-7, 1)
    return np.stack([-np.log(chosen), outputs.argmax(axis=1) != truths], axis=1)


def answers(side: Side, card: DataCard, size: str, rows: Array, truths: Array, asked: Array) -> Array:
    """What the shipped module answers to rows it has not seen."""
    family, task = registry.get("models", "gradient-boosting"), registry.get("tasks", card.task)
    variants = {one.name: one.options for one in family.variants(card, [(rows.shape[1],)], "thorough")}
    options = variants[size if side.boosters == 1 else f"{size}-of-{side.boosters}"]
    statistics, targets = dict(task.statistics(rows)), torch.from_numpy(truths)
    if not card.labels:
        statistics |= task.truth_statistics(truths)
        targets = task.scale(targets, statistics)
    torch.manual_seed(0)
    module = family.build(Network(family.name, size, options, (rows.shape[1],), max(1, len(card.labels))))
    encoded = task.normalise(torch.from_numpy(rows), statistics)
    least = boosting.SKEWED
    try:
        boosting.SKEWED = least if side.logarithms else float("inf")
        with torch.no_grad():
            family.fit(module, lambda: iter([(encoded, targets)]))
    finally:
        boosting.SKEWED = least
    shipped = task.wrap(module.eval(), statistics).eval()
    with torch.no_grad():
        return np.concatenate([shipped(part).numpy() for part in torch.from_numpy(asked).split(1024)])


def tables(asked: argparse.Namespace, scratch: Path) -> Iterator[Table]:
    """Those asked for, or all there are."""
    for text in asked.tables:
        path, _, label = text.partition(":")
        yield Table(Path(path).stem, Path(path), label, asked.classes)
    if asked.tables:
        return
    if not SHARED.is_dir():
        print(f"SKIPPED {SHARED} is not there", file=sys.stderr)
    for name, label in LABELS.items() if SHARED.is_dir() and not asked.smoke else ():
        yield Table(name, SHARED / f"{name}.parquet", label, name in CLASSES)
    for name, make in made(asked.smoke).items():
        make().to_parquet(scratch / f"{name}.parquet", index=False)
        yield Table(name, scratch / f"{name}.parquet", "target", name in CLASSES)


def made(smoke: bool) -> dict[str, Callable[[], Any]]:
    """Tables that scikit-learn holds or makes: Friedman's, the last with noise by a factor."""
    import pandas
    from sklearn import datasets

    def of(columns: Array, target: Array) -> Any:
        frame = pandas.DataFrame(columns, columns=[f"x{number}" for number in range(columns.shape[1])])
        return frame.assign(target=target)

    def factors() -> Any:
        columns, target = datasets.make_friedman1(400 if smoke else 4000, random_state=0)
        return of(columns, np.exp(target / 6 + 0.2 * np.random.default_rng(0).normal(size=len(target))))

    if smoke:
        return {"factors": factors}
    packaged = {name: getattr(datasets, f"load_{name}") for name in ("breast_cancer", "wine", "digits", "diabetes")}
    return {
        **{name: lambda load=load: of(*load(return_X_y=True)) for name, load in packaged.items()},
        "friedman1": lambda: of(*datasets.make_friedman1(3000, noise=1.0, random_state=0)),
        "friedman2": lambda: of(*datasets.make_friedman2(3000, noise=100.0, random_state=0)),
        "friedman3": lambda: of(*datasets.make_friedman3(3000, noise=0.1, random_state=0)),
        "factors": factors,
    }


if __name__ == "__main__":
    sys.exit(main())
