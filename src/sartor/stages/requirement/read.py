"""Reads a requirement from any form it may have, and reports everything wrong with it at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sartor import registry
from sartor.errors import nearest
from sartor.levels import LEVELS
from sartor.stages.requirement import overrides as overriding
from sartor.stages.requirement.document import Document, from_mapping, read_file, read_text
from sartor.stages.requirement.form import DataForm, RequirementForm, SearchForm, TargetForm, fill
from sartor.stages.requirement.limits import read_limits, read_objectives
from sartor.stages.requirement.paths import read_device, read_path
from sartor.stages.requirement.problems import KeyPath, Problems, did_you_mean, dotted, shown
from sartor.stages.requirement.units import parse_duration
from sartor.stages.requirement.written import to_mapping
from sartor.types import Budget, DataSource, Requirement, SearchSpace, Target

_SPLITS = ("train", "validation", "test")


def read_requirement(
    source: Path | str | Mapping[str, Any] | Requirement,
    overrides: Sequence[str] = (),
    *,
    folder: Path | None = None,
) -> Requirement:
    """A requirement from a YAML or JSON file, its text, a mapping or a ``Requirement``, with ``key=value`` overrides.

    Args:
        source: path of a file; text (told from a path by a line break or a leading brace); a mapping in the form of
            the file; or a finished ``Requirement``, whose paths are not looked for again.
        overrides: e.g. ``limits.latency_p95_ms.max=3``, ``search.models=[resnet9]``, ``limits.size_mb=null``.
        folder: what relative paths in text or a mapping are relative to; the current folder where absent.

    Returns:
        The requirement with absolute paths and every default filled in.

    Relative paths in a file are relative to its folder; in overrides, which are typed, to the current folder.

    Raises:
        RequirementError: with all problems, each naming line, key, what was found and what would be right.

    Example:
        ``read_requirement("pets.yaml", ["limits.accuracy.min=0.9"])``
    """
    if isinstance(source, Requirement) and not overrides:
        return source
    document = _document(source)
    document.folder = folder or document.folder
    overriding.apply(document, overrides)
    data = document.values.get("data")
    if isinstance(data, str):
        document.values["data"] = {"train": data}
    requirement = _Reader(document, looked_for=isinstance(source, Requirement)).requirement()
    document.problems.raise_if_any()
    return requirement


def _document(source: Path | str | Mapping[str, Any] | Requirement) -> Document:
    if isinstance(source, Requirement):
        return from_mapping(to_mapping(source))
    if isinstance(source, Mapping):
        return from_mapping(source)
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        return read_text(source)
    return read_file(Path(source))


class _Reader:
    """One reading of a document; ``looked_for`` is True where paths of the document itself were checked before."""

    def __init__(self, document: Document, *, looked_for: bool) -> None:
        self._document = document
        self._problems: Problems = document.problems
        self._looked_for = looked_for

    def requirement(self) -> Requirement:
        form = fill(_without_nothing(self._document.values), self._problems)
        task = self._task(form)
        target = self._target(form.target)
        return Requirement(
            name=form.name or self._document.name,
            task=form.task,
            data=self._data(form.data, task),
            target=target,
            limits=read_limits(form.limits, task, self._problems),
            objectives=read_objectives(form.objectives, task, self._problems),
            confidence=form.decision.confidence,
            budget=self._budget(form),
            search=self._search(form.search),
            seed=form.seed,
            model=self._path(("model",), form.model),
        )

    def _target(self, form: TargetForm) -> Target:
        self._listed(("target", "levels"), form.levels, LEVELS, "levels of instruction sets")
        return Target(self._device(("target", "device"), form.device), form.threads, form.batch, tuple(form.levels))

    def _listed(self, path: KeyPath, names: Sequence[str], known: Collection[str], what: str) -> None:
        """A problem for every name of a list that there is not."""
        for position, name in enumerate(names):
            if name not in known:
                place = (*path, position)
                hint = did_you_mean(name, known, of="There are")
                self._problems.add(place, f"{dotted(place)} is {shown(name)}, which is not among the {what}. {hint}")

    def _task(self, form: RequirementForm) -> str:
        """The task by whose metrics limits are checked: the nearest one where the name is wrong; empty for none."""
        tasks = registry.names("tasks")
        if form.task in tasks:
            return form.task
        if self._problems.known(("task",)):  # missing: cannot tell which metrics there are
            return tasks[0] if len(tasks) == 1 else ""
        hint = did_you_mean(form.task, tasks, of="There are")
        self._problems.add(("task",), f"task is {shown(form.task)}, which is not among the tasks. {hint}")
        return nearest(form.task.lower().replace("_", "-"), tasks) or ""

    def _data(self, form: DataForm, task: str) -> DataSource:
        plugin = registry.get("tasks", task) if task else None
        known: frozenset[str] = getattr(plugin, "options", frozenset())
        files: frozenset[str] = getattr(plugin, "files", frozenset())
        options = {
            key: self._beside(("data", key), value) if key in files and isinstance(value, str) else value
            for key, value in (form.model_extra or {}).items()
        }
        for key in options.keys() - known:
            absent = [split for split in (*_SPLITS, "input", "label") if split not in form.model_fields_set]
            if self._problems.known(("data", "train")):
                absent.append("train")
            near = nearest(key, absent)
            if near and not key.startswith(f"{near}_"):
                path: KeyPath = ("data", key)
                self._problems.add(path, f"{dotted(path)} is not a key of data. Did you mean {near}?")
        places = {split: self._path(("data", split), getattr(form, split)) for split in _SPLITS}
        return DataSource(**places, input=form.input, label=form.label, options=options)

    def _beside(self, path: KeyPath, written: str) -> str:
        """A file that an option names: absolute where it is found as splits are, else as written, for the reader."""
        place = self._folder(path)[0] / written
        return str(place.resolve()) if place.is_file() else written

    def _budget(self, form: RequirementForm) -> Budget:
        seconds = 0.0
        try:
            seconds = parse_duration(form.budget.time)
        except ValueError as error:
            written = form.budget.time
            example = f"{written}m" if written.isdecimal() and len(written) < 4 else "30m"
            self._problems.add(("budget", "time"), f"budget.time is {shown(written)}; {error}. Try: time: {example}")
        return Budget(seconds, form.budget.effort, form.budget.processes, form.budget.cluster)

    def _search(self, form: SearchForm) -> SearchSpace:
        compressors = (registry.get("compressors", name).precision for name in registry.names("compressors"))
        allowed = {
            "models": registry.names("models"),
            "runtimes": registry.names("runtimes"),
            "precisions": tuple(sorted({"fp32", "bf16", "int8", *compressors})),
        }
        for kind, names in allowed.items():
            self._listed(("search", kind), getattr(form, kind), names, kind)
        return SearchSpace(tuple(form.models), tuple(form.runtimes), tuple(form.precisions))

    def _folder(self, path: KeyPath) -> tuple[Path, bool]:
        """What a relative path at a key is relative to, and whether it must exist."""
        typed = any(path[:length] in self._problems.overridden for length in range(1, len(path) + 1))
        return (Path.cwd() if typed else self._document.folder), typed or not self._looked_for

    def _path(self, path: KeyPath, written: str) -> str:
        folder, must_exist = self._folder(path)
        return read_path(path, written, folder, self._problems, must_exist=must_exist)

    def _device(self, path: KeyPath, written: str) -> str:
        folder, must_exist = self._folder(path)
        return read_device(path, written, folder, self._problems, must_exist=must_exist)


def _without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    """Keys left empty are keys not given, at the two levels where the form's keys stand."""
    outer = {key: value for key, value in values.items() if value is not None}
    return {
        key: {inner: item for inner, item in value.items() if item is not None} if isinstance(value, dict) else value
        for key, value in outer.items()
    }
