"""Opens tables of text: finds out what they are written in, and unpacks them."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from sartor.errors import DataError
from sartor.media.text import ENCODINGS, guess_encoding


def text_encoding(path: Path) -> str:
    """What a table of text is written in, by its name in Python.

    Raises:
        DataError: it is neither UTF-8 nor UTF-16 nor GB 18030; the sentence names the first line that is not UTF-8.
    """
    state = path.stat()
    return _text_encoding(path, state.st_mtime_ns, state.st_size)


def written_in(path: Path) -> str:
    """The same by its name for people: UTF-8, UTF-16, GB 18030."""
    return ENCODINGS[text_encoding(path)]


@lru_cache(maxsize=64)
def _text_encoding(path: Path, changed_ns: int, size: int) -> str:
    found = guess_encoding(lambda: _bytes_of(path))
    if found:
        return found
    with _bytes_of(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                wrong = (
                    f"line {number} is not UTF-8 (byte 0x{line[error.start]:02X}), and the whole not GB 18030 or UTF-16"
                )
                raise DataError(f"{path}: {wrong}; save the table as UTF-8") from error
    raise DataError(f"{path}: it is damaged UTF-16; save the table as UTF-8")


def _bytes_of(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def open_text(path: Path) -> TextIO:
    """A file as text, whatever it is written in, unpacked where it is gzipped; line ends as they are.

    Raises:
        DataError: see :func:`text_encoding`.
    """
    encoding = text_encoding(path)
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", newline="", encoding=encoding)
    return path.open(newline="", encoding=encoding)
