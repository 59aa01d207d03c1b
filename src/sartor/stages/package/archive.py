"""A package as one ``.sartor`` file: a zip without compression, byte for byte the same for the same content.

The reader accepts exactly what the writer writes, every byte of it: stored entries side by side, then the directory.
So there is no room for bombs, overlaps, links, hidden entries or a second file in the same bytes. Any zip tool can
open it.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory) and 4.3.16 (end).
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sartor.errors import Refused, SartorError, StorageError
from sartor.stages.package import manifest as manifests
from sartor.storage import CHUNK, telling_disk_errors, write_atomically

SUFFIX = ".sartor"
MAX_BYTES = (1 << 32) - (1 << 24)  # beyond this a zip needs its 64-bit form
_VERSION, _UNIX, _DATE = 20, 3, 0x21  # 2.0; made on Unix; 1980-01-01
_MODE = (stat.S_IFREG | 0o644) << 16
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")


@dataclass(frozen=True)
class _Entry:
    """One stored file: its name, CRC-32, bytes, and the offset of its local header."""

    name: str
    crc: int
    size: int
    offset: int

    def local(self) -> bytes:
        fixed = (_VERSION, 0, 0, 0, _DATE, self.crc, self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(b"PK\3\4", *fixed) + self.name.encode("ascii")

    def central(self) -> bytes:
        made_by = _UNIX << 8 | _VERSION
        sizes = (self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, _MODE, self.offset)
        return _CENTRAL.pack(b"PK\1\2", made_by, _VERSION, 0, 0, 0, _DATE, *sizes) + self.name.encode("ascii")

    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + _LOCAL.size + len(self.name) + self.size


def _directory(entries: list[_Entry]) -> bytes:
    """Everything after the stored files."""
    central = b"".join(entry.central() for entry in entries)
    offset = entries[-1].end() if entries else 0
    return central + _END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), len(central), offset, 0)


def pack(folder: Path, target: Path) -> None:
    """Write a checked package folder as one file, atomically.

    Raises:
        Refused: the folder is not a sound package.
        StorageError: the disk does not take it.
        SartorError: the package is too large for this form.
    """
    manifest = manifests.check_manifest(folder)
    if sum(entry.bytes for entry in manifest.files.values()) > MAX_BYTES:
        raise SartorError(f"{folder} is too large for one {SUFFIX} file (4 GB); keep it as a folder")

    def fill(temporary: Path) -> None:
        entries: list[_Entry] = []
        with temporary.open("wb") as sink:
            for name in (manifests.NAME, *sorted(manifest.files)):
                with (folder / name).open("rb") as source:
                    crc, size = 0, os.fstat(source.fileno()).st_size
                    for chunk in _chunks(source, size):
                        crc = zlib.crc32(chunk, crc)
                    entries.append(_Entry(name, crc, size, entries[-1].end() if entries else 0))
                    sink.write(entries[-1].local())
                    source.seek(0)
                    for chunk in _chunks(source, size):
                        sink.write(chunk)
            sink.write(_directory(entries))

    try:
        write_atomically(target, fill)
    except OSError as error:
        raise StorageError(f"{target} cannot be written ({error.strerror}); choose another place") from None


def unpack(archive_path: Path, folder: Path) -> None:
    """Extract into an empty folder what :func:`pack` wrote; the caller then checks the manifest.

    Raises:
        Refused: any byte differs from what the writer would write.
        StorageError: the disk does not take it.
    """
    try:
        file = archive_path.open("rb")
    except OSError as error:
        raise Refused(f"{archive_path} cannot be read ({error.strerror})") from None
    with file:
        for entry in _read_directory(archive_path, file):
            file.seek(entry.offset)
            if file.read(len(entry.local())) != entry.local():
                raise _damaged(archive_path, entry.name)
            _extract(archive_path, file, entry, folder / entry.name)


def _damaged(path: Path, where: str) -> Refused:
    return Refused(f"{path} is not a {SUFFIX} file as sartor writes it, or it is damaged ({where}); nothing was loaded")


def _read_directory(path: Path, file: BinaryIO) -> list[_Entry]:
    """The entries, once the directory is byte for byte what the writer makes of them."""
    facts = os.fstat(file.fileno())
    if not stat.S_ISREG(facts.st_mode) or not _END.size < facts.st_size <= MAX_BYTES + (1 << 24):
        raise _damaged(path, "its size")
    file.seek(facts.st_size - _END.size)
    magic, _, _, count, _, length, start, _ = _END.unpack(file.read(_END.size))
    if magic != b"PK\5\6" or start + length + _END.size != facts.st_size or count > manifests.MAX_FILES + 1:
        raise _damaged(path, "the end")
    file.seek(start)
    directory = file.read()
    entries: list[_Entry] = []
    position = 0
    for _ in range(count):
        if position + _CENTRAL.size > length:
            raise _damaged(path, "the directory")
        fields = _CENTRAL.unpack_from(directory, position)
        crc, size, name_length, offset = fields[7], fields[8], fields[10], fields[16]
        position += _CENTRAL.size + name_length
        name = manifests.check_name(directory[position - name_length : position].decode("latin-1"), str(path))
        if offset != (entries[-1].end() if entries else 0):
            raise _damaged(path, name)
        entries.append(_Entry(name, crc, size, offset))
    if not entries or _directory(entries) != directory:
        raise _damaged(path, "the directory")
    manifests.refuse_clashes([entry.name for entry in entries], str(path))
    return entries


def _chunks(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := source.read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _extract(path: Path, file: BinaryIO, entry: _Entry, target: Path) -> None:
    crc = 0
    with telling_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as sink:
            for chunk in _chunks(file, entry.size):
                crc = zlib.crc32(chunk, crc)
                sink.write(chunk)
    if crc != entry.crc:
        raise _damaged(path, entry.name)
