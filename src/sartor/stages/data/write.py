"""Writes prepared data so that it is whole or not there: an index folder, renamed into place, then made current."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sartor import codec
from sartor.errors import StorageError
from sartor.evidence import Workspace
from sartor.prepared import FORMAT
from sartor.stages.data.whole import SPLITS, Whole
from sartor.storage import sync_folder, telling_disk_errors, write_text
from sartor.types import DataCard, SplitCard


def split_cards(whole: Whole) -> Mapping[str, SplitCard]:
    """Counts and fingerprint of every split. The order of the samples is part of it, their names are not."""
    cards: dict[str, SplitCard] = {}
    for number, name in enumerate(SPLITS):
        members = np.flatnonzero(whole.splits == number)
        counts = np.bincount(whole.labels[members], minlength=len(whole.words))
        total = hashlib.sha256(whole.labels[members].astype("<i8").tobytes())
        total.update(whole.raw[members].tobytes())
        classes = {word: int(count) for word, count in zip(whole.words, counts, strict=True)}
        cards[name] = SplitCard(len(members), classes, total.hexdigest())
    return cards


def fingerprint(task: str, words: tuple[str, ...], splits: Mapping[str, SplitCard]) -> str:
    """SHA-256 over task, class names and splits: everything a model could learn from or be judged by."""
    return codec.digest([FORMAT, task, words, {name: card.fingerprint for name, card in splits.items()}])


def write_index(whole: Whole, card: DataCard, folder: Path, workspace: Workspace) -> None:
    """Write the index into ``folder``, where the packs already are, then put it into the workspace and make it current.

    Raises:
        StorageError: full or read-only disk; prepared data that was there before still works.
    """
    with telling_disk_errors(folder):
        for number, name in enumerate(SPLITS):
            _write_split(whole, number, name, folder)
        sources = []
        for seen in whole.parts:
            seen.places.unlink()
            packed = seen.pack.stat().st_size > 0
            if not packed:
                seen.pack.unlink()
            sources.append({"root": str(seen.part.root.resolve()), "pack": seen.pack.name if packed else ""})
        write_text(folder / "sources.json", json.dumps(sources))
        write_text(folder / "card.json", codec.canonical_json(card))
    target = workspace.data_folder(card.fingerprint)
    index = f"index-{_digest(folder)[:16]}"
    with telling_disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        if not (target / index).is_dir():
            sync_folder(folder)
            try:
                folder.rename(target / index)
            except OSError as error:
                if not (target / index).is_dir():  # another process may just have put the same there
                    raise StorageError(f"{target / index} cannot be put in place ({error.strerror})") from error
            sync_folder(target)
    write_text(target / "current.json", json.dumps({"index": index}))


def _write_split(whole: Whole, number: int, name: str, folder: Path) -> None:
    members = np.flatnonzero(whole.splits == number)
    spans = np.zeros((len(members), 3), np.int64)
    ends = np.zeros(len(members), np.int64)
    written = 0
    handles = [seen.places.open("rb") for seen in whole.parts]
    try:
        with (folder / f"{name}-places.bin").open("wb") as places:
            for row, index in enumerate(members):
                part, inner = whole.at(int(index))
                seen = whole.parts[part]
                handles[part].seek(seen.ends[inner])
                written += places.write(handles[part].read(seen.ends[inner + 1] - seen.ends[inner]))
                ends[row] = written
                spans[row] = part, seen.spans[2 * inner], seen.spans[2 * inner + 1]
            places.flush()
            os.fsync(places.fileno())
    finally:
        for handle in handles:
            handle.close()
    for kind, values in (("truths", whole.labels[members]), ("spans", spans), ("ends", ends)):
        with (folder / f"{name}-{kind}.npy").open("wb") as file:
            np.save(file, values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())


def _digest(folder: Path) -> str:
    """Names the index: everything but the packs, whose content the fingerprint already covers."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("pack-"):
            total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()
