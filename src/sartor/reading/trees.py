"""A folder or a tar as one thing: paths of files, and their bytes by path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sartor.errors import DataError, nearest
from sartor.reading.archives import open_tar

BESIDE_PICTURES = ("annotations", "labels")  # a description in such a folder speaks of what lies beside the folder


@dataclass(frozen=True)
class Tree:
    """Files below one root.

    Args:
        title: its path, for people.
        root: the folder, or the folder the archive lies in.
        names: paths below the root with ``/``, in order; hidden ones are left out.
        read: bytes by path; raises ``DataError``.
        loose: whether files lie on the disk on their own, so that their bytes need not be carried along.
        chosen: the description (.json, .yaml) that the address named, as one of ``names``; empty for the whole.
    """

    title: str
    root: Path
    names: tuple[str, ...]
    read: Callable[[str], bytes]
    loose: bool
    chosen: str = ""

    def raw(self, name: str) -> bytes | None:
        """The bytes to carry along with a sample: None for a file of its own, which is read when needed."""
        return None if self.loose else self.read(name)


def open_tree(address: str, split: str) -> Tree:
    """A folder, a .tar file, or the folder that a .json or .yaml description belongs to.

    Raises:
        DataError: it does not exist, is none of these, cannot be read, or the archive is refused.
    """
    path = Path(address)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _folder(path, path, "")
    if path.is_file() and suffix == ".tar":
        archive = open_tar(path)
        return Tree(str(path), path.parent, tuple(sorted(archive.names)), archive.read, False)
    if path.is_file() and suffix in (".json", ".yaml", ".yml"):
        root = path.parent.parent if path.parent.name.lower() in BESIDE_PICTURES else path.parent
        return _folder(path, root, path.relative_to(root).as_posix())
    if path.exists():
        raise DataError(f"data.{split}: {path} is not a kind of data read here; give a folder, .tar, .json or .yaml")
    names = sorted(child.name for child in path.parent.iterdir()) if path.parent.is_dir() else []
    near = nearest(path.name, names)
    hint = (
        f"Did you mean {path.parent / near}?" if near else f"{path.parent} holds {', '.join(names[:8]) or 'nothing'}."
    )
    raise DataError(f"data.{split}: {path} does not exist. {hint}")


def _folder(path: Path, root: Path, chosen: str) -> Tree:
    names = sorted(found.relative_to(root).as_posix() for found in walk(root) if found.is_file())
    return Tree(str(path), root, tuple(names), lambda name: _read(root / name), True, chosen)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def walk(folder: Path) -> Iterator[Path]:
    """Files below a folder in the order of their names; links are followed, but no folder is entered twice.

    What begins with a dot, and folders that begin with two underscores, are left out.

    Raises:
        DataError: a folder cannot be read.
    """
    entered: set[tuple[int, int]] = set()
    for current, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        status = Path(current).stat()
        if (status.st_dev, status.st_ino) in entered:  # loops end
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield from (Path(current, name) for name in sorted(files) if not name.startswith("."))


def unreadable(error: OSError) -> NoReturn:
    """Say that a folder cannot be read; ``os.walk`` would pass over it in silence."""
    raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}); check its permissions") from error
