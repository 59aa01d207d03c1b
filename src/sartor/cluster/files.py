"""Files of a workspace on their way to a machine that does not see it, and back: by path, checked by digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.errors import StorageError
from sartor.evidence import Objects, Workspace
from sartor.storage import file_sha256, write_atomically, write_bytes

CHUNK = 64 << 20  # bytes that are sent at once
_MUTABLE = "current.json"  # the one file of prepared data that may change
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sent:
    """One file: its path in the workspace, the digest of its content, and where the pieces of that can be had."""

    path: str
    sha256: str
    pieces: tuple[Any, ...]


def send(root: Path, paths: Iterable[str], put: Callable[[bytes], Any]) -> tuple[Sent, ...]:
    """Give files of a workspace to ``put``, which keeps bytes and says where."""
    return tuple(
        Sent(path, file_sha256(root / path), tuple(put(piece) for piece in _pieces(root / path))) for path in paths
    )


def place(files: Iterable[Sent], workspace: Workspace, get: Callable[[Any], bytes]) -> None:
    """Put files where they belong in a workspace; those that lie there already are not fetched.

    Raises:
        StorageError: one came otherwise than it was sent; it is not there then. Or the disk is full.
    """
    for file in sorted(files, key=lambda file: file.path.endswith(_MUTABLE)):  # what names others comes last
        target = workspace.root / file.path
        if target.is_file() and not file.path.endswith(_MUTABLE):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda temporary, file=file: _write(temporary, file, get))  # type: ignore[misc]


def bring(contents: Mapping[str, bytes], workspace: Workspace, scratch: Path) -> None:
    """Take files that another machine made into a workspace's objects, each under the digest it was promised under.

    Raises:
        StorageError: one is not what its digest says; or the disk is full.
    """
    for sha256, content in contents.items():
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StorageError(f"object {sha256[:12]}… did not come back as it was made; run the same again")
        path = scratch / f"brought-{sha256}"
        write_bytes(path, content)
        workspace.objects.take(path, format="")


def mentioned(value: object, objects: Objects) -> list[str]:
    """Digests anywhere in a plain value whose content is among the objects."""
    return sorted({word for word in _words(value) if _DIGEST.fullmatch(word) and objects.holds(word)})


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _words(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _words(item)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _write(path: Path, file: Sent, get: Callable[[Any], bytes]) -> None:
    total = hashlib.sha256()
    with path.open("wb") as target:
        for piece in file.pieces:
            content = get(piece)
            total.update(content)
            target.write(content)
    if total.hexdigest() != file.sha256:
        raise StorageError(f"{file.path} did not arrive as it was sent; run the same again")
