"""Turns a file, text or mapping into plain values with the line of every key; JSON is read as YAML, after a check."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.errors import RequirementError, nearest
from sartor.stages.requirement.problems import KeyPath, Problems, dotted, shown
from sartor.stages.requirement.yaml_text import MAX_DEPTH, MAX_VALUES, Unreadable, read_yaml

MAX_BYTES = 100_000


@dataclass
class Document:
    """A requirement as plain values.

    Args:
        values: nested dicts, lists and scalars.
        folder: what relative paths are relative to.
        name: default name of the requirement.
        problems: collects what is wrong from here on.
    """

    values: dict[str, Any]
    folder: Path
    name: str
    problems: Problems

    def set(self, path: tuple[str, ...], value: Any) -> None:
        """Put a value in from outside the file, making the mappings on its way; None takes the key out."""
        self.problems.forget(path)
        self.problems.overridden.add(path)
        holder = self.values
        for position, part in enumerate(path[:-1], start=1):
            inner = holder.setdefault(part, {})
            if inner is None or (path[:position] == ("data",) and isinstance(inner, str)):
                inner = holder[part] = {"train": inner} if inner else {}
            if not isinstance(inner, dict):
                sentence = f"{dotted(path)} cannot be set, as {dotted(path[:position])} is {shown(inner)}"
                self.problems.add(path, sentence)
                return
            holder = inner
        value = _cleaned(value, path, self.problems)
        if value is None:
            holder.pop(path[-1], None)
        else:
            holder[path[-1]] = value


def read_file(path: Path) -> Document:
    """Read a YAML or JSON file.

    Raises:
        RequirementError: not there, not a file, too long, not UTF-8, or not YAML (with the line).
    """
    name = str(path) if str(path).isprintable() else shown(str(path))
    try:
        if path.is_dir():
            inside = sorted(file.name for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
            hint = f" Did you mean {path / inside[0]}?" if inside else ""
            raise RequirementError([f"it is a folder; a requirement is a YAML or JSON file.{hint}"], source=name)
        if not path.is_file():
            raise RequirementError([f"there is no such file.{_near_file(path)}"], source=name)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequirementError([f"it cannot be read ({reason})"], source=name) from error
    if len(content) > MAX_BYTES:
        raise RequirementError([f"it is longer than {MAX_BYTES:,} bytes; a requirement is a page of text"], source=name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RequirementError([f"line {line}  it is not UTF-8 text; save it as UTF-8"], source=name) from error
    document = read_text(text, source=name, is_json=path.suffix == ".json")
    document.folder = path.absolute().parent
    document.name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "requirement"
    return document


def read_text(text: str, *, source: str = "requirement", is_json: bool = False) -> Document:
    """Read YAML or JSON text; relative paths are relative to the current folder.

    Raises:
        RequirementError: not YAML, or not a mapping.
    """
    problems = Problems(source)
    try:
        if len(text) > MAX_BYTES:
            raise Unreadable(1, f"it is longer than {MAX_BYTES:,} characters; a requirement is a page of text")
        if is_json:
            _check_json(text)
        if is_json or text.lstrip().startswith("{"):
            text = text.replace("\t", " ")  # the YAML scanner takes no tabs; JSON strings cannot hold a raw one
        value = read_yaml(text, problems)
    except Unreadable as error:
        raise RequirementError([f"line {error.line}  {error}"], source=source) from error
    if value is None:
        raise RequirementError(['it is empty; it needs at least "task" and "data"'], source=source)
    if not isinstance(value, dict):
        raise RequirementError([f'it is {shown(value)}; it must be lines of "key: value"'], source=source)
    return Document(_cleaned(value, (), problems), Path.cwd(), "requirement", problems)


def read_value(text: str) -> Any:
    """The value of a ``key=value`` override, as YAML.

    Raises:
        ValueError: with what is wrong.
    """
    problems = Problems("override")
    try:
        value = read_yaml(text, problems)
        problems.raise_if_any()
    except (Unreadable, RequirementError) as error:
        raise ValueError(f"{shown(text)} cannot be read as a YAML value ({error})") from error
    return value


def from_mapping(mapping: Mapping[Any, Any]) -> Document:
    """A Python mapping as a document; tuples become lists, paths text."""
    problems = Problems("requirement")
    counter = iter(range(MAX_VALUES))
    try:
        value = _plain(mapping, 0, counter)
    except ValueError as error:
        raise RequirementError([str(error)]) from error
    return Document(_cleaned(value, (), problems), Path.cwd(), "requirement", problems)


def _plain(value: Any, depth: int, counter: Iterator[int]) -> Any:
    if depth > MAX_DEPTH or next(counter, None) is None:
        raise ValueError("it is nested too deeply or too long for a requirement")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1, counter) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1, counter) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return f"<{type(value).__name__}>"


def _cleaned(value: Any, path: KeyPath, problems: Problems) -> Any:
    """Without numbers that are none and text that cannot be written, which are wrong wherever they stand."""
    if isinstance(value, dict):
        cleaned = {}
        for key, item in value.items():
            if _writable(key):
                cleaned[key] = _cleaned(item, (*path, key), problems)
            else:
                problems.add((*path, key), f"{dotted((*path, key))} holds a character that is no text")
        return cleaned
    if isinstance(value, list):
        return [_cleaned(item, (*path, position), problems) for position, item in enumerate(value)]
    if isinstance(value, str) and not _writable(value):
        problems.add(path, f"{dotted(path)} is {shown(value)}; it holds a character that is no text")
        return None
    if isinstance(value, (int, float)) and not _finite(value):
        problems.add(path, f"{dotted(path)} is not a finite number; write an ordinary one")
        return None
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond what a float holds
        return False


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return "\0" not in text


def _near_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist either."
    near = nearest(path.name, [file.name for file in path.parent.iterdir()])
    return f" Did you mean {path.parent / near}?" if near else ' "sartor init" writes one.'


def _check_json(text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, f"this is not JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise Unreadable(1, "it is nested too deeply, or holds a number too long, for a requirement") from error
