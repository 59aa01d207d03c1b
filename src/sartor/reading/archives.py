"""Reads the members of a .tar file where they lie: nothing is unpacked, nothing outside the file is touched."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from sartor.errors import DataError

MOST_MEMBERS = 5_000_000
LARGEST_MEMBER = 1 << 31  # bytes

_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"\x28\xb5": "unzstd"}


class Archive:
    """The regular files of a tar by name; ``read`` may be called from several threads.

    Args:
        spans: name to (offset, length) in the file.
    """

    def __init__(self, path: Path, handle: int, spans: Mapping[str, tuple[int, int]]) -> None:
        self.path, self._handle, self._spans = path, handle, spans

    def __del__(self) -> None:
        os.close(self._handle)

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the files, as they stand in the archive, hidden ones left out."""
        return tuple(self._spans)

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            DataError: the archive ends before the file does.
        """
        offset, length = self._spans[name]
        content = os.pread(self._handle, length, offset)
        if len(content) != length:
            raise DataError(f"{self.path}: {name} is cut off; the archive is not whole")
        return content


def open_tar(path: Path) -> Archive:
    """List an archive once.

    Example:
        >>> archive = open_tar(Path("scenes.tar"))  # doctest: +SKIP
        >>> archive.read(archive.names[0])  # doctest: +SKIP

    Raises:
        DataError: it is not a plain tar, is compressed (members cannot be read out of order then), or has a member
            that no data set needs: a path that leads out of the archive, a link, a device, a name twice.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if start in _COMPRESSED:
            raise DataError(f"{path} is compressed; run {_COMPRESSED[start]} on it, plain .tar files are read in place")
        with tarfile.open(path, "r:") as archive:
            spans = _spans(path, archive)
            end = archive.offset
        with path.open("rb") as file:  # the library takes whatever it cannot read for the end
            file.seek(end)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(f"{path} is cut off or damaged: its end is not marked; make or fetch it again")
    except tarfile.TarError as error:
        raise DataError(f"{path} is not a tar file, or it is damaged ({error})") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    return Archive(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC), spans)


def _spans(path: Path, archive: tarfile.TarFile) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for member in archive:
        name = member.name.removeprefix("./")
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path}: the member {member.name!r} leads out of the archive; pack the folder again")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise DataError(f"{path}: the member {name!r} is a link or a special file; pack plain files only")
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            continue
        if name in spans:
            raise DataError(f"{path}: the member {name!r} is there twice; pack the folder again")
        if member.size > LARGEST_MEMBER or len(spans) >= MOST_MEMBERS:
            raise DataError(f"{path}: {name} has {member.size:,} bytes or is one of too many; split the archive")
        spans[name] = (member.offset_data, member.size)
    return spans
