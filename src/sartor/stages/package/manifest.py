"""The manifest of a package: one line of truth per file, checked before any content is parsed.

It tells accidents and edits from the original. It is no signature: whoever can rewrite every file can rewrite it too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sartor.codec import canonical_json
from sartor.errors import Refused
from sartor.storage import CHUNK, write_text

NAME = "MANIFEST.json"
FORMAT = 2
MAX_FILES = 10_000
MAX_MANIFEST_BYTES = 4 << 20
MAX_DEPTH = 4
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Entry:
    """What one file must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The files of a package by relative name, without the manifest itself; ``digest`` names the whole content."""

    digest: str
    sartor: str
    files: Mapping[str, Entry]


def write_manifest(folder: Path, sartor: str) -> Manifest:
    """Describe every file under a folder and write the manifest beside them."""
    names = sorted(_names_found(folder) - {NAME})
    files = {name: Entry(*_sha256_and_size(folder, name)) for name in names}
    body = {"format": FORMAT, "sartor": sartor, "files": files}
    text = canonical_json(body)
    write_text(folder / NAME, text)
    return Manifest(hashlib.sha256(text.encode()).hexdigest(), sartor, files)


def check_manifest(folder: Path) -> Manifest:
    """Compare every byte under a folder with its manifest; nothing but the manifest is parsed.

    Raises:
        Refused: a file is changed, missing, extra or renamed, is a link, or the manifest is damaged; it names the file.
    """
    if not folder.is_dir():
        raise Refused(f"{folder} is not a package; give the folder or the .sartor file that sartor run made")
    found = _names_found(folder)
    if NAME not in found:
        raise Refused(f"{folder} is not a package: it has no {NAME}")
    manifest = parse_manifest(_read(folder, NAME, MAX_MANIFEST_BYTES), str(folder))
    for name in sorted(set(manifest.files) - found):
        raise Refused(f"{folder}: {name} is missing; nothing was loaded")
    for name in sorted(found - set(manifest.files) - {NAME}):
        raise Refused(f"{folder}: {name} does not belong to the package; nothing was loaded")
    for name, entry in manifest.files.items():
        sha256, size = _sha256_and_size(folder, name)
        if size != entry.bytes or not hmac.compare_digest(sha256, entry.sha256):
            raise Refused(f"{folder}: {name} was changed after the package was made; nothing was loaded")
    return manifest


def parse_manifest(content: bytes, place: str) -> Manifest:
    """Read a manifest strictly: canonical JSON, known keys, safe names, sensible sizes.

    Raises:
        Refused: it is anything else.
    """
    damaged = Refused(f"{place}: {NAME} is damaged or was changed; nothing was loaded")
    try:
        body = json.loads(content)
        if not isinstance(body, dict):
            raise damaged
        if isinstance(body.get("format"), int) and body["format"] > FORMAT:
            raise Refused(
                f"{place} was made by sartor {str(body.get('sartor'))[:20]!r}, in package format {body['format']}; "
                f"this version reads format {FORMAT}. Run: pip install --upgrade sartor"
            )
        # The one written form: a flipped byte anywhere, a space or a key given twice, shows here.
        if canonical_json(body).encode() != content or set(body) != {"format", "sartor", "files"}:
            raise damaged
        if type(body["format"]) is int and 1 <= body["format"] < FORMAT:
            raise Refused(
                f"{place} was made by sartor {str(body['sartor'])[:20]!r}, in package format {body['format']}; "
                f"this version reads format {FORMAT}. Run the requirement again, or use the sartor it was made with"
            )
        files = {check_name(name, place): _entry(entry) for name, entry in body["files"].items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    if (
        type(body["format"]) is not int
        or body["format"] != FORMAT
        or not isinstance(body["sartor"], str)
        or len(files) > MAX_FILES
        or NAME in files
    ):
        raise damaged
    refuse_clashes(files, place)
    return Manifest(hashlib.sha256(content).hexdigest(), body["sartor"], files)


def _entry(value: Any) -> Entry:
    entry = Entry(**value)
    size_right = type(entry.bytes) is int and entry.bytes >= 0
    if not size_right or not isinstance(entry.sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        raise ValueError("no such entry")
    return entry


def check_name(name: object, place: str) -> str:
    """A relative name of plain segments, safe on every file system.

    Raises:
        Refused: anything else (``..``, absolute, backslash, hidden, too deep …).
    """
    segments = name.split("/") if isinstance(name, str) else []
    if not 1 <= len(segments) <= MAX_DEPTH or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise Refused(f"{place}: {ascii(name)[:200]} is not a name that a package may hold; nothing was loaded")
    return str(name)


def refuse_clashes(names: Iterable[str], place: str) -> None:
    """Refuse names that are one file on a system that ignores case, and files that are also folders."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise Refused(f"{place}: {name} and {seen[name.lower()]} clash; nothing was loaded")
        seen[name.lower()] = name
    for name in names:
        for parent in PurePosixPath(name.lower()).parents:
            if str(parent) in seen:
                raise Refused(f"{place}: {name} lies in {seen[str(parent)]}, which is a file; nothing was loaded")


def _names_found(folder: Path) -> set[str]:
    """Relative names of all files under a folder; links, devices, second names and stray folders are refused."""
    names: set[str] = set()
    pending = [""]
    while pending:
        prefix = pending.pop()
        children = sorted(os.scandir(folder / prefix), key=lambda child: child.name)
        if prefix and not children:
            raise Refused(f"{folder}: the folder {prefix.rstrip('/')} is empty; it does not belong to the package")
        for child in children:
            name = check_name(prefix + child.name, str(folder))
            facts = child.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                pending.append(f"{name}/")
            elif not stat.S_ISREG(facts.st_mode):
                raise Refused(f"{folder}: {name} is not a regular file; a package holds no links")
            elif facts.st_nlink != 1:
                raise Refused(f"{folder}: {name} has a second name (hard link); copy the package and use the copy")
            else:
                names.add(name)
            if len(names) > MAX_FILES:
                raise Refused(f"{folder} holds more than {MAX_FILES:,} files; that is not a package")
    return names


def _open(folder: Path, name: str) -> int:
    try:
        return os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"{folder}: {name} cannot be read ({error.strerror})") from None


def _read(folder: Path, name: str, limit: int) -> bytes:
    with open(_open(folder, name), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Refused(f"{folder}: {name} is larger than {limit:,} bytes; nothing was loaded")
    return content


def _sha256_and_size(folder: Path, name: str) -> tuple[str, int]:
    total, size = hashlib.sha256(), 0
    with open(_open(folder, name), "rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
            size += len(chunk)
    return total.hexdigest(), size
