"""Writes prepared data so that it is whole or not there: an index folder, renamed into place, then made current."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from sartor import codec
from sartor.evidence import Workspace
from sartor.prepared import FORMAT, Array, put_in_place, write_array
from sartor.stages.data.whole import SPLITS, Whole
from sartor.storage import telling_disk_errors, write_text
from sartor.types import DataCard, SplitCard


def split_cards(whole: Whole, *, only_held: bool) -> Mapping[str, SplitCard]:
    """Counts and fingerprint of every split. The order of the samples is part of it, their names are not.

    Args:
        whole: the samples.
        only_held: leave out the labels that a split has no samples of; they are counted with 0 else.
    """
    cards: dict[str, SplitCard] = {}
    for number, name in enumerate(SPLITS):
        members = np.flatnonzero(whole.splits == number)
        counted = whole.kind == "class" or any(len(seen.classes) for seen in whole.parts)
        counts = whole.instances(number) if counted else np.zeros(len(whole.words), np.int64)
        classes = {word: int(count) for word, count in zip(whole.words, counts, strict=True)} if counted else {}
        if only_held:
            classes = {word: count for word, count in classes.items() if count}
        total = hashlib.sha256(_truth_bytes(whole, members))
        total.update(whole.raw[members].tobytes())
        cards[name] = SplitCard(len(members), classes, total.hexdigest())
    return cards


def _truth_bytes(whole: Whole, members: Array) -> bytes:
    """Truths as they count for the fingerprint; structures by their digests."""
    if whole.kind == "class":
        return whole.labels[members].astype("<i8").tobytes()
    if whole.kind == "number":
        return whole.numbers[members].astype("<f8").tobytes()
    return b"".join(hashlib.sha256(whole.truth(int(index))).digest() for index in members)


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
            seen.truths.unlink()
            packed = seen.pack.stat().st_size > 0
            if not packed:
                seen.pack.unlink()
            sources.append({"root": str(seen.part.root.resolve()), "pack": seen.pack.name if packed else ""})
        write_text(folder / "sources.json", json.dumps(sources))
    put_in_place(folder, card, workspace)


def _write_split(whole: Whole, number: int, name: str, folder: Path) -> None:
    members = np.flatnonzero(whole.splits == number)
    spans = np.zeros((len(members), 3), np.int64)
    for row, index in enumerate(members):
        part, inner = whole.at(int(index))
        seen = whole.parts[part]
        spans[row] = part, seen.spans[2 * inner], seen.spans[2 * inner + 1]
    write_array(folder / f"{name}-spans.npy", spans)
    places = [(seen.places, seen.ends) for seen in whole.parts]
    write_array(folder / f"{name}-ends.npy", _gather(whole, members, places, folder / f"{name}-places.bin"))
    if whole.kind == "structure":
        truths = [(seen.truths, seen.truth_ends) for seen in whole.parts]
        write_array(folder / f"{name}-truth-ends.npy", _gather(whole, members, truths, folder / f"{name}-truths.bin"))
    else:
        write_array(folder / f"{name}-truths.npy", np.asarray(whole.truths(members)))


def _gather(whole: Whole, members: Array, pieces: list[tuple[Path, array[int]]], target: Path) -> Array:
    """Copy what belongs to some samples from the files of the parts into one; returns where each ends there."""
    ends = np.zeros(len(members), np.int64)
    written = 0
    with ExitStack() as stack:
        handles = [stack.enter_context(path.open("rb")) for path, _ in pieces]
        file = stack.enter_context(target.open("wb"))
        for row, index in enumerate(members):
            part, inner = whole.at(int(index))
            start, end = pieces[part][1][inner], pieces[part][1][inner + 1]
            handles[part].seek(start)
            written += file.write(handles[part].read(end - start))
            ends[row] = written
        file.flush()
        os.fsync(file.fileno())
    return ends
