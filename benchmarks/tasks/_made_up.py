"""Runs on made-up data for smoke tests of the contests: seconds, no files from elsewhere, nothing that means anything.

Data are written and read as a user's would be, then prepared, learnt from in closed form, exported and packaged by the
real stages, in this process. Nothing is measured or judged on the way.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _protocol import Side
from _subject import Subject

from sartor import registry
from sartor.catalog.devices.local import identify
from sartor.evidence import Workspace
from sartor.jobs import ExportJob, PrepareJob, TrainJob
from sartor.media.image import to_png
from sartor.prepared import open_data
from sartor.stages.compress import export
from sartor.stages.data import prepare, stamp
from sartor.stages.package import build_package
from sartor.stages.train import train
from sartor.testing.tiny_package import tiny_run
from sartor.types import Candidate, DataSource, Limit, Network, Pipeline

PEOPLE, EACH, SIDE = 8, 6, 40


@dataclass(frozen=True)
class MadeUp:
    """Data, and a family that learns from them at once."""

    family: str
    write: Callable[[Path], DataSource]


def make_subject(folder: Path, task: str) -> Subject:
    """A package of a task with everything around it."""
    made_up = MADE_UP[task]
    folder.mkdir(parents=True, exist_ok=True)
    source, workspace = made_up.write(folder), Workspace(folder / ".sartor")
    card = prepare(PrepareJob(source, task, 0, stamp(source)), workspace).card
    judge, family = registry.get("tasks", task), registry.get("models", made_up.family)
    variant = next(iter(family.variants(card, judge.input_sizes(card), "quick")))
    outputs = 1 if judge.truth == "number" else len(card.labels)
    network = Network(
        made_up.family, variant.name, dict(variant.options), tuple(variant.input_size), outputs, variant.encoding
    )
    recipe = family.recipe(network, card.splits["train"].samples, 1.0)
    trained = train(TrainJob(task, network, card.fingerprint, recipe, 0, 1), workspace)
    artifact = export(ExportJob(task, network, card.fingerprint, trained.weights.sha256, 1, 0), workspace).artifact
    pipeline = Pipeline(
        task, card.labels, network.input_size, "model.onnx", "onnxruntime", "fp32", 1, 1,
        encoding=network.encoding, learnt=artifact.learnt,
    )  # fmt: skip
    path = workspace.objects.path(artifact.sha256)
    limits = (Limit("size_mb", "max", 10.0, "limits.size_mb.max"),)
    file = tiny_run(path, pipeline=pipeline, quality=judge.metrics[0], limits=limits)
    candidate = Candidate(network, "none", "onnxruntime", "fp32", 1)
    fate = replace(file.decision.fates[0], candidate=candidate.id)
    file = replace(
        file,
        requirement=replace(file.requirement, data=source),
        card=card,
        device=identify(),
        records=(replace(file.records[0], candidate=candidate),),
        decision=replace(file.decision, chosen=candidate.id, fates=(fate,), front=(candidate.id,)),
    )
    test = open_data(card.fingerprint, workspace).split("test")
    run = folder / "runs" / "smoke-000000"
    encoder = workspace.objects.path(artifact.learnt) if artifact.learnt else None
    build_package(file, path, pipeline, [test.raw(0)], run / "package", encoder=encoder)
    return Subject(run, file, workspace, Side("package", artifact.sha256, pipeline), trained.weights.sha256, ())


# ---------------------------------------------------------------------------------------------- data


def _rows(folder: Path, *, classes: bool) -> DataSource:
    chance = np.random.default_rng(0)
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "width", "colour", "truth"])
        for number in range(300):
            length, width = chance.normal(size=2).round(3)
            colour = ("red", "green", "blue")[number % 3]
            value = length - width + (colour == "red")
            writer.writerow([length, width, colour, ("no", "yes")[int(value > 0)] if classes else round(value, 4)])
    return DataSource(str(path), label="truth")


def _texts(folder: Path) -> DataSource:
    chance = np.random.default_rng(0)
    path = folder / "texts.csv"
    words = {
        "spam": ["win", "cash", "prize", "free", "now", "call"],
        "ham": ["see", "you", "later", "at", "home", "tonight"],
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(200):
            label = ("ham", "spam")[number % 2]
            writer.writerow([f"{' '.join(chance.choice(words[label], 6))} {number}", label])
    return DataSource(str(path))


def _ratings(folder: Path) -> DataSource:
    chance = np.random.default_rng(0)
    path = folder / "ratings.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating", "timestamp"])
        for user in range(30):
            for moment, item in enumerate(chance.permutation(60)[:12] + 60 * (user % 2)):
                writer.writerow([f"u{user}", f"i{item}", 5, moment])
    return DataSource(str(path))


def _faces(folder: Path) -> DataSource:
    chance = np.random.default_rng(0)
    for person in range(PEOPLE):
        own = chance.integers(0, 200, (5, 5, 1))
        place = folder / "faces" / f"person{person}"
        place.mkdir(parents=True)
        for number in range(EACH):
            coarse = np.kron(own, np.ones((SIDE // 5, SIDE // 5, 3)))
            picture = np.clip(coarse + chance.integers(0, 50, coarse.shape), 0, 255).astype(np.uint8)
            (place / f"{number}.png").write_bytes(to_png(picture))
    return DataSource(str(folder / "faces"))


def _scene(chance: np.random.Generator, side: int = 64) -> tuple[Any, tuple[int, int, int, int]]:
    """Noise with one bright square: the picture, and left, top, width, height."""
    picture = chance.integers(0, 90, (side, side, 3), dtype=np.uint8)
    wide = int(chance.integers(side // 4, side // 2))
    left, top = (int(edge) for edge in chance.integers(0, side - wide, 2))
    picture[top : top + wide, left : left + wide] += 150
    return picture, (left, top, wide, wide)


def _boxes(folder: Path) -> DataSource:
    chance = np.random.default_rng(0)
    place = folder / "boxes"
    place.mkdir()
    images, boxes = [], []
    for number in range(40):
        picture, box = _scene(chance)
        (place / f"{number}.png").write_bytes(to_png(picture))
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        area = box[2] * box[3]
        boxes.append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": area, "iscrowd": 0})
    found = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "square"}]}
    (place / "annotations.json").write_text(json.dumps(found))
    return DataSource(str(place))


def _masks(folder: Path) -> DataSource:
    chance = np.random.default_rng(0)
    place = folder / "scenes"
    for name in ("images", "masks"):
        (place / name).mkdir(parents=True)
    for number in range(40):
        picture, (left, top, wide, high) = _scene(chance)
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[top : top + high, left : left + wide] = 1
        (place / "images" / f"{number}.png").write_bytes(to_png(picture))
        (place / "masks" / f"{number}.png").write_bytes(_png_of_numbers(mask))
    (place / "classes.txt").write_text("ground\nsquare\n")
    return DataSource(str(place))


def _png_of_numbers(mask: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


MADE_UP: Mapping[str, MadeUp] = {
    "tabular-classification": MadeUp("tabular-linear", lambda folder: _rows(folder, classes=True)),
    "tabular-regression": MadeUp("tabular-linear", lambda folder: _rows(folder, classes=False)),
    "text-classification": MadeUp("text-linear", _texts),
    "recommendation": MadeUp("item-neighbours", _ratings),
    "face-recognition": MadeUp("eigenfaces", _faces),
    "object-detection": MadeUp("box-prior", _boxes),
    "image-segmentation": MadeUp("position-prior", _masks),
}
