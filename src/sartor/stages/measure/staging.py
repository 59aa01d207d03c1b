"""Lays out what a child process needs: the package as it would ship, and raw samples to time it on."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from sartor.errors import DataError, StorageError
from sartor.evidence import Workspace
from sartor.pipeline import ENCODER, write_pipeline
from sartor.prepared import SampleSet, open_data
from sartor.storage import file_sha256, telling_disk_errors
from sartor.types import Pipeline

MOST_SAMPLES = 256  # to rotate through while timing; fewer than 64 would stay in the processor's caches
MOST_SAMPLE_BYTES = 32_000_000
_TIMING_SPLITS = ("validation", "train", "test")  # test last: it is kept for the decision


def lay_out_package(folder: Path, artifact: str, pipeline: Pipeline, workspace: Workspace) -> int:
    """Put the model, its encoder and ``pipeline.json`` into ``folder`` as in a package; returns their bytes.

    Files are copied: a runtime must not be able to change the object, and linked files are not loaded.

    Raises:
        StorageError: an object is missing, its bytes have changed, or the disk is full.
    """
    contents = {pipeline.model: artifact, **({ENCODER: pipeline.learnt} if pipeline.learnt else {})}
    sources = {name: workspace.objects.path(sha256) for name, sha256 in contents.items()}
    shutil.rmtree(folder, ignore_errors=True)
    with telling_disk_errors(folder):
        folder.mkdir(parents=True)
        for name, source in sources.items():
            shutil.copyfile(source, folder / name)
    for name, sha256 in contents.items():
        if file_sha256(folder / name) != sha256:
            raise StorageError(f"{sources[name]} has changed since it was made; delete the workspace and run again")
    write_pipeline(folder, pipeline)
    return sum((folder / name).stat().st_size for name in (*contents, "pipeline.json"))


def pack_samples(path: Path, data: str, workspace: Workspace) -> list[tuple[int, int]]:
    """Write the raw bytes of a fixed choice of samples one after another; returns (offset, size) of each.

    Raises:
        DataError: the data holds no sample.
    """
    samples = _timing_samples(data, workspace)
    chosen = random.Random(0).sample(range(len(samples)), min(len(samples), MOST_SAMPLES))
    places: list[tuple[int, int]] = []
    offset = 0
    with telling_disk_errors(path), path.open("wb") as file:
        for index in chosen:
            raw = samples.raw(index)
            if places and offset + len(raw) > MOST_SAMPLE_BYTES:
                break
            file.write(raw)
            places.append((offset, len(raw)))
            offset += len(raw)
    return places


def _timing_samples(data: str, workspace: Workspace) -> SampleSet:
    prepared = open_data(data, workspace)
    for name in _TIMING_SPLITS:
        card = prepared.card.splits.get(name)
        if card is not None and card.samples > 0:
            return prepared.split(name)
    raise DataError("the prepared data holds no sample to time the model on; add samples to data.train")
