"""The data that requirements are drawn about: each set writes its files once and says cheap facts about them.

Sets that everybody can make come from scikit-learn or from a seed; sets that lie beside the repository are taken where
they are there, as parts where they are large. Wherever a set is cut here, a third part is kept back that no run ever
sees: ``fresh``, for the referee alone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from briefs import scenes
from briefs.facts import Array, Facts, least_megabytes
from briefs.references import of_classes, of_numbers, picture_models, pixels, row, row_models, text, text_models
from sartor.media.image import to_png

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Made:
    """``data`` is what a requirement says of it; ``fresh`` rows nobody has seen (empty: there are none)."""

    data: Mapping[str, Any]
    facts: Facts
    fresh: str = ""


@dataclass(frozen=True)
class Subject:
    """A set of data.

    Args:
        seconds: least and most of a budget about it.
        make: writes its files into a folder, from a generator.
        beside: a folder of real data that it needs; empty: none.
    """

    name: str
    task: str
    seconds: tuple[int, int]
    make: Callable[[Path, np.random.Generator], Made]
    beside: str = ""

    @property
    def there(self) -> bool:
        """What it needs lies beside the repository."""
        return not self.beside or (SHARED / self.beside).exists()


# ------------------------------------------------------------------------------------------------ pictures


def _pictures(
    folder: Path, images: Array, labels: Array, counts: tuple[int, int], names: Sequence[str] = ()
) -> tuple[Made, Array]:
    """Cut into train, test and fresh; the truths of test as well."""
    edges = (0, counts[0], counts[0] + counts[1], len(labels))
    parts = {}
    for name, start, end in zip(("train", "test", "fresh"), edges, edges[1:], strict=False):
        parts[name] = slice(start, end)
        np.savez(folder / f"{name}.npz", images=images[start:end], labels=labels[start:end])
    train, test = parts["train"], parts["test"]
    raws = [
        to_png(one if one.ndim == 3 else np.repeat(one[..., None], 3, 2)) for one in images[: counts[0] + counts[1]]
    ]
    facts = of_classes(pixels, (raws[train], raws[test]), (labels[train], labels[test]), picture_models())
    data = {"train": str(folder / "train.npz"), "test": str(folder / "test.npz")}
    return Made(data, facts, str(folder / "fresh.npz")), labels[test]


def _digits(folder: Path, chance: np.random.Generator, noise: float = 0.0) -> Made:
    from sklearn.datasets import load_digits

    read = load_digits()
    order = chance.permutation(len(read.target))
    images, labels = (read.images[order] * 15.9).astype(np.uint8), read.target[order].astype(np.int64)
    blurred = _flipped(labels, 10, noise, chance)
    made, test = _pictures(folder, images, blurred, (900, 500))
    if not noise:
        return made
    return replace(made, facts=replace(made.facts, ceiling=float((test == labels[900:1400]).mean())))


def _flipped(labels: Array, classes: int, share: float, chance: np.random.Generator, only: int | None = None) -> Array:
    """Some labels turned into another one, of any class or of one alone."""
    turned = chance.random(len(labels)) < share
    if only is not None:
        turned &= labels == only
    return np.where(turned, (labels + chance.integers(1, classes, len(labels))) % classes, labels)


def _cifar(folder: Path, chance: np.random.Generator) -> Made:
    import io

    from PIL import Image
    from pyarrow.parquet import read_table

    table = read_table(SHARED / "cifar10" / "train.parquet")
    order = chance.permutation(table.num_rows)[:6000]
    part = table.take(order)
    images = [Image.open(io.BytesIO(one["bytes"])).convert("RGB") for one in part["image"].to_pylist()]
    labels = np.array(part["label"].to_pylist(), np.int64)
    return _pictures(folder, np.stack([np.asarray(one) for one in images]), labels, (4000, 1000))[0]


# ------------------------------------------------------------------------------------------------ texts


def _texts(folder: Path, rows: Sequence[tuple[str, str]], counts: tuple[int, int], *, unspaced: bool = False) -> Made:
    _write(folder, ("text", "label"), rows, counts)
    train, test = rows[: counts[0]], rows[counts[0] : counts[0] + counts[1]]
    raws = [text.encode() for text, _ in train], [text.encode() for text, _ in test]
    truths = np.array([label for _, label in train]), np.array([label for _, label in test])
    return _table_made(folder, "", of_classes(text, raws, truths, text_models(unspaced=unspaced)))


def _write(folder: Path, head: Sequence[str], rows: Sequence[Sequence[object]], counts: tuple[int, int]) -> None:
    edges = (0, counts[0], counts[0] + counts[1], len(rows))
    for name, start, end in zip(("train", "test", "fresh"), edges, edges[1:], strict=False):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows[start:end]])


def _table_made(folder: Path, label: str, facts: Facts) -> Made:
    data = {"train": str(folder / "train.csv"), "test": str(folder / "test.csv")}
    return Made(data | ({"label": label} if label else {}), facts, str(folder / "fresh.csv"))


def _moods(folder: Path, chance: np.random.Generator) -> Made:
    """Made-up sentences of three moods, a fifth of them with another mood's label."""
    words = [
        f"{start}{end}" for start in ("bra", "cle", "dro", "fin", "gul", "hap", "jor") for end in ("n", "st", "vy")
    ]
    own, moods = np.array_split(np.array(words[:18]), 3), ("calm", "glad", "grim")
    clean = chance.integers(0, 3, 4000)
    labels = _flipped(clean, 3, 0.2, chance)
    rows = []
    for number, mood in enumerate(clean):
        said = [*chance.choice(own[mood], 4), *chance.choice(words, 5), f"nr{number}"]
        rows.append((" ".join(chance.permutation(said)), moods[labels[number]]))
    made = _texts(folder, rows, (2000, 1000))
    return replace(made, facts=replace(made.facts, ceiling=float((labels == clean)[2000:3000].mean())))


def _codes(folder: Path, chance: np.random.Generator, words: int = 16000, labels: int = 64, floor: float = 0.9) -> Made:
    """Orders that name an article by its code. Each has a label of its own, drawn evenly: a model is a code book."""
    book = chance.integers(0, labels, words)
    codes = np.concatenate([chance.permutation(words), chance.permutation(words), chance.permutation(words)[:2000]])
    rows = [(f"order {number} of x{code:05d}", f"shelf {book[code]}") for number, code in enumerate(codes)]
    _write(folder, ("text", "label"), rows, (2 * words, 1000))
    bits = least_megabytes(words, labels, floor)
    raws = [said.encode() for said, _ in rows[-200:]]
    facts = Facts(
        "accuracy", False, 1 / labels, floor, floor, _fastest_text(raws), 0.5, code_mb=bits, code_floor=floor,
        told=f"a dictionary of {words:,} codes reaches 1; below {bits * 1e3:.1f} KB no model reaches {floor:g}",
    )  # fmt: skip
    return _table_made(folder, "", facts)


def _fastest_text(raws: list[bytes]) -> float:
    from briefs.facts import fastest_ms

    return fastest_ms(text, raws)


def _real_texts(folder: Path, chance: np.random.Generator, name: str, counts: tuple[int, int]) -> Made:
    from pyarrow.parquet import read_table

    rows: list[tuple[str, str]] = []
    for path in sorted((SHARED / name).glob("*.parquet")):
        table = read_table(path)
        rows += zip(table["text"].to_pylist(), (str(one) for one in table["label"].to_pylist()), strict=True)
    rows = list({said: label for said, label in rows if said.strip()}.items())
    order = chance.permutation(len(rows))[: sum(counts) + 1000]
    return _texts(folder, [rows[place] for place in order], counts, unspaced=name.startswith("chn"))


# ------------------------------------------------------------------------------------------------ tables


def _rows(
    folder: Path, columns: Mapping[str, Sequence[Any]], label: str, counts: tuple[int, int], *, classes: bool
) -> Made:
    """A table of which one column is asked for."""
    names = [*(name for name in columns if name != label), label]
    _write(folder, names, list(zip(*(columns[name] for name in names), strict=True)), counts)
    inputs = [_object(names[:-1], cells) for cells in zip(*(columns[name] for name in names[:-1]), strict=True)]
    train, test = slice(0, counts[0]), slice(counts[0], counts[0] + counts[1])
    truths = np.array(columns[label]) if classes else np.array(columns[label], np.float64)
    judge = of_classes if classes else of_numbers
    raws = inputs[train], inputs[test]
    return _table_made(folder, label, judge(row, raws, (truths[train], truths[test]), row_models(classes=classes)))


def _object(names: Sequence[str], cells: Sequence[Any]) -> bytes:
    values = [cell.item() if isinstance(cell, np.generic) else cell for cell in cells]
    return json.dumps(dict(zip(names, values, strict=True))).encode()


def _of_sklearn(folder: Path, chance: np.random.Generator, name: str, counts: tuple[int, int], classes: bool) -> Made:
    from sklearn import datasets

    read = getattr(datasets, f"load_{name}")()
    order = chance.permutation(len(read.target))
    columns = {str(title).replace(" ", "_"): read.data[order, place] for place, title in enumerate(read.feature_names)}
    target = [f"kind {one}" for one in read.target[order]] if classes else read.target[order]
    return _rows(folder, {**columns, "answer": target}, "answer", counts, classes=classes)


def _patients(folder: Path, chance: np.random.Generator, moved: float = 0.15) -> Made:
    """Made-up rows of four classes; so many rows of three classes bear the label of the fourth.

    Rows that look like class a are then a or the fourth. Who names the fourth for a share f of them finds
    (1 + k f) / (1 + k) of the fourth, k = 3 ``moved``, and 1 - f of the others: the worst is best where they meet.
    """
    inputs = chance.normal(size=(5000, 8)).round(3)
    weights = np.array([[2, 0, -1, 0], [0, 2, 0, -1], [-1, 0, 2, 0], [0.5, 0, 0, 2], [0, -1, 0, 1], [0, 1, -0.5, 0],
                        [1, 0, 0, 0], [0, 0, 1, -0.5]])  # fmt: skip
    clean = (inputs @ weights).argmax(1)
    labels = np.where((clean != 3) & (chance.random(5000) < moved), 3, clean)
    columns: dict[str, Any] = {f"value_{place}": inputs[:, place] for place in range(8)}
    columns["group"] = [f"group {'abcd'[one]}" for one in labels]
    made = _rows(folder, columns, "group", (2500, 1500), classes=True)
    k, right = 3 * moved, float((labels == clean)[2500:4000].mean())
    return replace(made, facts=replace(made.facts, ceiling=right, worst_class=1 - k / (1 + 2 * k)))


def _yields(folder: Path, chance: np.random.Generator) -> Made:
    """Made-up numbers with normal noise of deviation 1, on a curve of deviation 2."""
    inputs = chance.uniform(-1, 1, size=(5000, 6)).round(4)
    curve = 3 * np.sin(2 * inputs[:, 0]) + 2 * inputs[:, 1] * inputs[:, 2] + inputs[:, 3]
    noise = chance.normal(size=5000)
    columns: dict[str, Any] = {f"value_{place}": inputs[:, place] for place in range(6)}
    made = _rows(folder, {**columns, "yield": (curve + noise).round(4)}, "yield", (2500, 1500), classes=False)
    return replace(made, facts=replace(made.facts, ceiling=float(np.sqrt(np.square(noise[2500:4000]).mean()))))


def _real_rows(
    folder: Path, chance: np.random.Generator, name: str, label: str, counts: tuple[int, int], *, classes: bool
) -> Made:
    from pyarrow.parquet import read_table

    table = read_table(SHARED / "tabular" / f"{name}.parquet")
    part = table.take(chance.permutation(table.num_rows)[: sum(counts) + 1000])
    columns = {title: part[title].to_pylist() for title in part.column_names}
    if classes:
        columns[label] = [f"kind {one}" for one in columns[label]]
    return _rows(folder, columns, label, counts, classes=classes)


# ------------------------------------------------------------------------------------------------ all of them

_MADE_HERE = (
    Subject("digits", "image-classification", (40, 50), _digits),
    Subject("digits-noisy", "image-classification", (40, 50), lambda folder, chance: _digits(folder, chance, 0.2)),
    Subject("moods", "text-classification", (30, 40), _moods),
    Subject("codes", "text-classification", (35, 45), _codes),
    Subject("wine", "tabular-classification", (30, 40),
            lambda folder, chance: _of_sklearn(folder, chance, "wine", (80, 60), True)),
    Subject("breast-cancer", "tabular-classification", (30, 40),
            lambda folder, chance: _of_sklearn(folder, chance, "breast_cancer", (270, 180), True)),
    Subject("patients", "tabular-classification", (30, 40), _patients),
    Subject("diabetes", "tabular-regression", (30, 40),
            lambda folder, chance: _of_sklearn(folder, chance, "diabetes", (200, 140), False)),
    Subject("yields", "tabular-regression", (30, 40), _yields),
    Subject("squares", "object-detection", (50, 60), scenes.boxes),
    Subject("squares-shifted", "object-detection", (50, 60), lambda folder, chance: scenes.boxes(folder, chance, 0.3)),
    Subject("fields", "image-segmentation", (50, 60), scenes.masks),
    Subject("fields-mislabelled", "image-segmentation", (50, 60),
            lambda folder, chance: scenes.masks(folder, chance, mislabelled=True)),
    Subject("people", "face-recognition", (35, 45), scenes.faces),
    Subject("twins", "face-recognition", (35, 45), lambda folder, chance: scenes.faces(folder, chance, twins=True)),
    Subject("baskets", "recommendation", (30, 40), scenes.baskets),
    Subject("opinions", "rating-prediction", (30, 40), scenes.opinions),
)  # fmt: skip
_BESIDE = (
    Subject("cifar10-part", "image-classification", (55, 60), _cifar, "cifar10"),
    Subject("sms-spam", "text-classification", (35, 45),
            lambda folder, chance: _real_texts(folder, chance, "sms_spam", (3000, 1100)), "sms_spam"),
    Subject("hotel-zh", "text-classification", (35, 45),
            lambda folder, chance: _real_texts(folder, chance, "chnsenticorp_hotel", (4500, 1500)),
            "chnsenticorp_hotel"),
    Subject("spambase", "tabular-classification", (30, 40),
            lambda folder, chance: _real_rows(folder, chance, "spambase", "type", (2400, 1200), classes=True),
            "tabular"),
    Subject("diamonds-part", "tabular-regression", (30, 40),
            lambda folder, chance: _real_rows(folder, chance, "diamonds", "price", (5000, 2000), classes=False),
            "tabular"),
    Subject("blood-cells", "object-detection", (60, 60), scenes.blood_cells, "bccd_voc"),
    Subject("street-scenes", "image-segmentation", (60, 60), scenes.street_scenes, "camvid_320"),
    Subject("orl-faces", "face-recognition", (40, 50), scenes.orl_faces, "orl_faces"),
    Subject("movielens", "recommendation", (35, 45), scenes.movielens, "movielens_latest_small"),
    Subject("movie-ratings", "rating-prediction", (30, 40), scenes.movie_ratings, "movielens_latest_small"),
)  # fmt: skip


def subjects(*, real: bool) -> tuple[Subject, ...]:
    """Those that can be made here."""
    return (*_MADE_HERE, *(one for one in _BESIDE if real and one.there))
