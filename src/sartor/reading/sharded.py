"""Reads the rows of large files that hold many samples each: Parquet, Arrow IPC (Feather), and tar shards.

Never more than a few megabytes of a file are in memory, however large it is.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sartor.errors import DataError, MissingExtra
from sartor.media.image import SUFFIXES
from sartor.reading.archives import open_tar

PARQUET, ARROW, TAR = (".parquet",), (".arrow", ".feather", ".ipc"), (".tar",)
BATCH_ROWS, BATCH_BYTES = 64, 8 << 20
WORDS = ("cls", "cls2", "txt", "text", "json", "index", "id", "caption", "transcript")
"""Members of a tar that are text, by what is behind the first point of their names; others are bytes."""

PICTURE = "image"  # column of the picture of a sample in a tar, whatever its format

Row = Mapping[str, Any]


# ---------------------------------------------------------------------------------------------- Parquet


def parquet_schema(path: Path) -> Any:
    """Columns and types of a Parquet file, from its end.

    Raises:
        DataError: it is not readable; see :func:`parquet_rows` too.
    """
    return _parquet(path).schema_arrow


def parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of a Parquet file, page by page.

    Raises:
        DataError: it is damaged.
    """
    file = _parquet(path)
    import pyarrow

    metadata = file.metadata
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    rows = batch_rows(int(metadata.num_rows), int(size))
    try:
        for batch in file.iter_batches(rows, columns=list(columns) if columns else None, use_threads=False):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is damaged and cannot be read to its end ({_short(error)})") from error


def _parquet(path: Path) -> Any:
    pyarrow = _pyarrow("reading Parquet")
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # else whole column chunks are read
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is not a readable Parquet file ({_short(error)})") from error


def batch_rows(rows: int, size: int) -> int:
    """Rows that hold about 8 MB together, by the average row."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(size, 1)))


# ---------------------------------------------------------------------------------------------- Arrow


def arrow_schema(path: Path) -> Any:
    """Columns and types of an Arrow IPC file or stream.

    Raises:
        DataError: it is neither.
    """
    with path.open("rb") as file:
        return _arrow(path, file).schema


def arrow_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of an Arrow IPC file (Feather) or stream, a few at a time, whatever its record batches hold.

    The file is mapped and what was read is let go; compressed record batches are unpacked one at a time.

    Raises:
        DataError: it is damaged.
    """
    pyarrow = _pyarrow("reading Arrow")
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise DataError(f"{path}: it is not a readable Arrow file (it is empty)")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = _arrow(path, pyarrow.py_buffer(mapped))
        try:
            for batch in _record_batches(reader):
                chosen = batch.select(list(columns)) if columns else batch
                rows = batch_rows(batch.num_rows, batch.nbytes)
                for start in range(0, batch.num_rows, rows):
                    part = chosen.slice(start, rows)
                    part.validate(full=True)  # a damaged file would lead outside of it
                    yield from part.to_pylist()
                    mapped.madvise(mmap.MADV_DONTNEED)  # else its pages count as this process's memory
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            raise DataError(f"{path}: it is damaged and cannot be read to its end ({_short(error)})") from error


def _arrow(path: Path, source: Any) -> Any:
    """A reader of either form: files of ``datasets`` are streams, those of others have an index at their end."""
    pyarrow = _pyarrow("reading Arrow")
    from pyarrow import ipc

    with path.open("rb") as file:
        indexed = file.read(6) == b"ARROW1"
    try:
        return (ipc.open_file if indexed else ipc.open_stream)(source)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: it is not a readable Arrow file ({_short(error)})") from error


def _record_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(what, "parquet", "pyarrow") from None
    return pyarrow


def _short(error: Exception) -> str:
    return str(error).split("\n")[0][:100]


# ---------------------------------------------------------------------------------------------- tar


def tar_rows(path: Path) -> Iterator[Row]:
    """The samples of a tar shard (WebDataset's convention): members of one name up to its first point are one row.

    ``a/0001.seg.png`` and ``a/0001.cls`` give the columns ``seg.png`` and ``cls``. The only plain picture of a sample,
    whatever its format, is the column ``image``. An object in a ``json`` gives a column for each of its names.

    Raises:
        DataError: it is no plain tar, leads outside, or is cut short (see :func:`sartor.reading.archives.open_tar`).
    """
    archive = open_tar(path)
    row: dict[str, Any] = {}
    current: str | None = None
    for name in archive.names:
        key, kind = _key(name)
        if key != current and row:
            yield _with_picture(row)
            row = {}
        current = key
        if not kind:
            continue
        content = archive.read(name)
        if kind not in WORDS:
            row[kind] = content
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{path}: the member {name!r} is not UTF-8; write it as UTF-8") from None
        if kind == "json":
            row |= _fields(path, name, text)
        else:
            row[kind] = text.strip() if kind.startswith("cls") else text
    if row:
        yield _with_picture(row)


def _key(name: str) -> tuple[str, str]:
    place = PurePosixPath(name)
    stem, _, kind = place.name.partition(".")
    return str(place.with_name(stem)), kind.lower()


def _fields(path: Path, name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: the member {name!r} is not JSON ({error})") from error
    return found if isinstance(found, dict) else {"json": found}


def _with_picture(row: dict[str, Any]) -> Row:
    pictures = [kind for kind in row if f".{kind}" in SUFFIXES and isinstance(row[kind], bytes)]
    if len(pictures) == 1 and PICTURE not in row:
        row[PICTURE] = row.pop(pictures[0])
    return row
