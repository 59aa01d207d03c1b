"""A package as one ``.sartor`` file: a zip without compression, byte for byte the same for the same content.

The reader accepts exactly what the writer writes: stored entries side by side from the first byte to the last, so
there is no room for bombs, overlaps, hidden entries or a second file in the same bytes. Any zip tool can open it.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

from sartor.errors import Refused, SartorError
from sartor.stages.package import manifest as manifests
from sartor.storage import CHUNK, telling_disk_errors, write_atomically

SUFFIX = ".sartor"
MAX_BYTES = (1 << 32) - (1 << 20)  # beyond this a zip needs its 64-bit form
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = (stat.S_IFREG | 0o644) << 16
_LOCAL, _CENTRAL, _END = 30, 46, 22  # bytes of the zip's own records, without names


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
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in (manifests.NAME, *sorted(manifest.files)):
                info = zipfile.ZipInfo(name, _DATE)
                info.external_attr, info.create_system = _MODE, 3
                info.file_size = (folder / name).stat().st_size
                with (folder / name).open("rb") as source, archive.open(info, "w") as sink:
                    shutil.copyfileobj(source, sink, CHUNK)

    write_atomically(target, fill)


def unpack(archive_path: Path, folder: Path) -> None:
    """Extract into an empty folder what :func:`pack` wrote; the caller then checks the manifest.

    Raises:
        Refused: anything in the file differs from what the writer would write.
        StorageError: the disk does not take it.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            entries = archive.infolist()
            _check_layout(archive_path, archive, entries)
            for entry in entries:
                _extract(archive, entry, folder / entry.filename)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise Refused(f"{archive_path} is not a sound {SUFFIX} file ({error}); nothing was loaded") from None


def _check_layout(path: Path, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Names safe and single, entries plain, and every byte of the file accounted for."""
    if len(entries) > manifests.MAX_FILES + 1:
        raise Refused(f"{path} holds more than {manifests.MAX_FILES:,} files; nothing was loaded")
    names = [manifests.check_name(entry.filename, str(path)) for entry in entries]
    manifests.refuse_clashes(names, str(path))
    offset = 0
    for entry in entries:
        plain = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
        bare = not (entry.flag_bits or entry.extra or entry.comment) and entry.external_attr == _MODE
        if not plain or not bare or entry.header_offset != offset:
            raise Refused(f"{path}: {entry.filename} is not stored as sartor stores it; nothing was loaded")
        offset += _LOCAL + len(entry.filename) + entry.file_size
    end = offset + sum(_CENTRAL + len(name) for name in names) + _END
    if archive.comment or path.stat().st_size != end:
        raise Refused(f"{path} holds bytes that belong to no file of the package; nothing was loaded")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    with telling_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)
