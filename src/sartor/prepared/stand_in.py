"""Prepared data made of raw inputs alone, so that a model can be timed and calibrated where no data is at hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sartor import codec, registry
from sartor.evidence import Workspace
from sartor.prepared.placing import FORMAT, put_in_place, write_array
from sartor.prepared.streams import alone
from sartor.prepared.truths import TYPES, Kind, kind_of
from sartor.storage import telling_disk_errors, write_bytes, write_text
from sartor.types import DataCard, Split, SplitCard

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def write_stand_in(task_name: str, raws: Sequence[bytes], labels: Sequence[str], workspace: Workspace) -> str:
    """Write the same inputs as train, validation and test, with made-up truths: zeros, or no bytes for structures.

    Args:
        task_name: whose inputs these are.
        raws: the inputs as found in files or requests; at least one.
        labels: of the model that is to be run on them.
        workspace: takes the prepared data.

    Returns:
        Its fingerprint, for ``open_data``.

    Raises:
        StorageError: the disk is full or read-only.
    """
    digests = [hashlib.sha256(raw).hexdigest() for raw in raws]
    mark = codec.digest([FORMAT, "stand-in", task_name, list(labels), digests])
    with alone(workspace.root / "data" / f"stand-in-{mark[:16]}"):
        if not (workspace.data_folder(mark) / "current.json").is_file():
            folder = workspace.scratch(mark) / "index"
            try:
                _write(folder, raws, kind_of(registry.get("tasks", task_name)))
                splits: dict[str, SplitCard] = {split: SplitCard(len(raws), {}, mark) for split in SPLITS}
                facts = {"split": dict.fromkeys(SPLITS, "made up")}
                put_in_place(folder, DataCard(task_name, mark, tuple(labels), splits, (), facts), workspace)
            finally:
                workspace.clear_scratch(mark)
    return mark


def _write(folder: Path, raws: Sequence[bytes], kind: Kind) -> None:
    lengths = np.array([len(raw) for raw in raws], np.int64)
    spans = np.c_[np.zeros_like(lengths), np.cumsum(lengths) - lengths, lengths]
    places = [f"stand-in {number}".encode() for number in range(1, len(raws) + 1)]
    with telling_disk_errors(folder):
        folder.mkdir(exist_ok=True)
        write_bytes(folder / "pack-0.bin", b"".join(raws))
        write_text(folder / "sources.json", json.dumps([{"root": "", "pack": "pack-0.bin"}]))
        for split in SPLITS:
            write_array(folder / f"{split}-spans.npy", spans)
            write_array(folder / f"{split}-ends.npy", np.cumsum([len(place) for place in places], dtype=np.int64))
            write_bytes(folder / f"{split}-places.bin", b"".join(places))
            if kind == "structure":
                write_array(folder / f"{split}-truth-ends.npy", np.zeros(len(raws), np.int64))
                write_bytes(folder / f"{split}-truths.bin", b"")
            else:
                write_array(folder / f"{split}-truths.npy", np.zeros(len(raws), TYPES[kind]))
