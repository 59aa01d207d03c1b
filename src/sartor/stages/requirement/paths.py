"""Paths in a requirement: made absolute, looked for, and the nearest name that exists when they are not there."""

from __future__ import annotations

import glob
from pathlib import Path

from sartor import devices
from sartor.errors import nearest
from sartor.stages.requirement.problems import KeyPath, Problems, dotted, shown

HUB = "hub:"


def read_path(path: KeyPath, written: str, folder: Path, problems: Problems, *, must_exist: bool = True) -> str:
    """The absolute path of what ``written`` names; ids of a hub pass through.

    Args:
        path: the key, for the message.
        written: as in the requirement; ``~`` is the home folder.
        folder: what a relative path is relative to.
        problems: takes the problem when there is no such file or folder.
        must_exist: False where the file was looked for before.
    """
    if not written or problems.known(path):
        return ""
    if written.startswith(HUB):
        owner_and_name = written.removeprefix(HUB)
        if not owner_and_name.strip("/ ") or " " in owner_and_name:
            problems.add(path, f"{dotted(path)} is {shown(written)}; it must be hub:owner/name")
        return written
    try:
        place = _tidied((folder / Path(written).expanduser()).absolute())
        found = not must_exist or place.exists() or _matches(place)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.add(path, f"{dotted(path)} {shown(written)} cannot be a path ({reason})")
        return ""
    if not found:
        problems.add(path, f"{dotted(path)} {shown(written)} does not exist.{_nearest_path(written, folder)}")
    return str(place)


def read_device(path: KeyPath, written: str, folder: Path, problems: Problems, *, must_exist: bool = True) -> str:
    """The address of a device: a name that is known and an address with ``://`` as is, a profile as absolute path."""
    if problems.known(path) or "://" in written or written in devices.named():
        return written
    if "/" not in written and "." not in written and not (folder / written).exists():
        problems.add(path, f"{dotted(path)} is {shown(written)}, which is no device. {devices.hint(written)}")
        return written
    return read_path(path, written, folder, problems, must_exist=must_exist)


def _matches(place: Path) -> bool:
    return any(sign in str(place) for sign in "*?[") and bool(glob.glob(str(place)))


def _tidied(place: Path) -> Path:
    """Without ``..``; symbolic links stay, as their names may matter to people."""
    parts: list[str] = []
    for part in place.parts:
        if part == ".." and parts and not Path(*parts).is_symlink():
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def _nearest_path(written: str, folder: Path) -> str:
    """A hint: the written path with its first missing part replaced by the nearest name beside it."""
    parts = Path(written).expanduser().parts
    for position, part in enumerate(parts):
        here = _tidied(folder.joinpath(*parts[:position]))
        if part == ".." or (here / part).exists():
            continue
        if not here.is_dir():
            return f" {here} is not a folder."
        near = nearest(part, [entry.name for entry in here.iterdir()])
        if near is None:
            return f" There is no {shown(part)} in {here}."
        better = Path(*parts[:position], near, *parts[position + 1 :])
        if not _tidied(folder / better).exists():
            better = Path(*parts[:position], near)
        return f" Did you mean {better}?"
    return ""
