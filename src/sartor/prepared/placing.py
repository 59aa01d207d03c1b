"""Puts prepared data into a workspace so that it is whole or not there: a folder, renamed, then made current."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from sartor import codec
from sartor.errors import StorageError
from sartor.evidence import Workspace
from sartor.prepared.truths import Array
from sartor.storage import file_sha256, sync_folder, telling_disk_errors, write_text
from sartor.types import DataCard

FORMAT = 1


def put_in_place(folder: Path, card: DataCard, workspace: Workspace) -> None:
    """Put a finished index folder, with its packs, under the card's fingerprint and make it current.

    Raises:
        StorageError: full or read-only disk; prepared data that was there before still works.
    """
    with telling_disk_errors(folder):
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


def write_array(path: Path, values: Array) -> None:
    """An array as an npy file, durably."""
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _digest(folder: Path) -> str:
    """Names the index: everything but the packs, whose content the fingerprint already covers."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("pack-"):
            total.update(f"{path.name}\0{file_sha256(path)}\0".encode())
    return total.hexdigest()
