"""The form of a requirement as pydantic models: which keys there are, their types and defaults, at this edge only."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from sartor.stages.requirement.problems import KeyPath, Problems, did_you_mean, dotted, shown

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


CLUSTER_PATTERN = r"^(|local|auto|[A-Za-z0-9._-]+:[0-9]{1,5})$"


@dataclass(frozen=True)
class Must:
    """What a key takes, in words that follow "it must be", and an example to try."""

    words: str
    example: str


def available_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


Names = Annotated[
    list[Annotated[str, Must("a name", "[…]")]], Field(default_factory=list), Must("a list of names", "[a, b]")
]


class DataForm(_Form):
    """Where the samples are: a folder, CSV, JSONL, Parquet or NumPy file, or a dataset of a hub (hub:owner/name)."""

    model_config = ConfigDict(extra="allow")

    train: Annotated[str, Field(min_length=1), Must("a path or a hub id", "photos/train")]
    """Samples to learn from: a path (relative to this file) or hub:owner/name."""
    validation: Annotated[str, Must("a path or a hub id", "photos/validation")] = ""
    """Samples to choose by; split off train where absent."""
    test: Annotated[str, Must("a path or a hub id", "photos/test")] = ""
    """Samples to judge by, touched once; split off train where absent."""
    input: Annotated[str, Must("the name of a column", "image")] = ""
    """Column of a table that holds the input; guessed where absent."""
    label: Annotated[str, Must("the name of a column", "label")] = ""
    """Column of a table that holds the answer; guessed where absent."""


class TargetForm(_Form):
    """Where and how the model must run."""

    device: Annotated[
        str, Field(min_length=1), Must("local, the name of a device, or the path of a device profile", "local")
    ] = "local"
    """This machine (local), a name of "sartor device list", or a profile that "sartor device probe" wrote elsewhere."""
    threads: Annotated[int, Field(ge=1, le=4096), Must("a whole number from 1 to 4096", "2")] = Field(
        default_factory=available_cores
    )
    """CPU threads the model may use at most, fewer where that is as fast; all cores where absent."""
    batch: Annotated[int, Field(ge=1, le=65536), Must("a whole number from 1 to 65536", "1")] = 1
    """Inputs per call."""
    levels: Annotated[list[Annotated[str, Must("a name", "[…]")]], Must("a list of names", "[avx2, amx]")] = Field(
        default_factory=list
    )
    """Levels of instruction sets that processors may be of which the model goes to, e.g. [avx2, amx]: an int8 file is
    then chosen only where its limits on quality are shown to hold on each."""


class DecisionForm(_Form):
    """How sure the decision must be."""

    confidence: Annotated[float, Field(ge=0.5, lt=1), Must("a number from 0.5 to below 1", "0.95")] = 0.95
    """Two-sided confidence of every interval a limit is judged by."""


class BudgetForm(_Form):
    """What the search may spend."""

    time: Annotated[str, Must("a time with a unit: 90s, 30m or 1h30m", "30m")] = "15m"
    """Wall time, e.g. 90s, 30m, 1h30m."""
    effort: Annotated[Literal["quick", "balanced", "thorough"], Must("quick, balanced or thorough", "balanced")] = (
        "balanced"
    )
    """How widely it looks."""
    processes: Annotated[int, Field(ge=0, le=4096), Must("a whole number from 0 to 4096", "2")] = 0
    """Processes that train one network together; 0 for one per CUDA device, or one where there is none."""
    cluster: Annotated[
        str, Field(pattern=CLUSTER_PATTERN), Must("local, auto or the HOST:PORT of a Ray cluster", "auto")
    ] = ""
    """Ray cluster whose machines train: local starts one here, auto finds the one this machine is part of."""


class SearchForm(_Form):
    """Restricts the search; everything in the catalogue where absent."""

    models: Names
    """Names of model families."""
    runtimes: Names
    """Names of runtimes."""
    precisions: Names
    """Numeric precisions, e.g. fp32, bf16, int8, w8 or w4 (weights alone in 8 or 4 bits)."""


class RequirementForm(_Form):
    """What the model must do (task, data) and what it must fit into (target, limits). Only task and data are needed."""

    schema_: Annotated[str, Field(alias="$schema"), Must("the address of the schema", "…")] = ""
    """Address of this schema, for editors."""
    name: Annotated[
        str, Field(pattern=NAME_PATTERN), Must("letters, digits, '.', '_' and '-', 64 at most", "my-model")
    ] = ""
    """Names runs and packages; the file's name where absent."""
    task: Annotated[str, Must("the name of a task", "image-classification")]
    """What the model does."""
    data: Annotated[DataForm, Must("a path, or a mapping with train and perhaps test", "{train: photos}")]
    """Where the samples are; a plain path is short for {train: path}."""
    target: Annotated[TargetForm, Must("a mapping", "{device: local, threads: 2}")] = Field(default_factory=TargetForm)
    """Where and how the model must run."""
    limits: Annotated[dict[str, Any], Must("a mapping of metrics to limits", "{latency_p95_ms: {max: 20}}")] = Field(
        default_factory=dict
    )
    """Hard limits: each holds with confidence, or no model is delivered."""
    objectives: Annotated[dict[str, Any], Must("a mapping of metrics to weights", "{latency_p95_ms: 1}")] = Field(
        default_factory=dict
    )
    """Weights that order what meets every limit; the task's first metric where absent."""
    decision: Annotated[DecisionForm, Must("a mapping", "{confidence: 0.95}")] = Field(default_factory=DecisionForm)
    """How sure the decision must be."""
    budget: Annotated[BudgetForm, Must("a mapping", "{time: 30m, effort: balanced}")] = Field(
        default_factory=BudgetForm
    )
    """What the search may spend."""
    search: Annotated[SearchForm, Must("a mapping", "{runtimes: [onnxruntime]}")] = Field(
        default_factory=lambda: SearchForm.model_validate({})
    )
    """Restricts the search."""
    model: Annotated[str, Must("the path of a model file or a checkpoint folder, or a hub id", "checkpoints/mine")] = ""
    """A trained model of your own (.onnx, .pt2, .keras, .tflite, a SavedModel) or a checkpoint: a candidate, the only
    one where it knows the labels."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Must("a whole number from 0 to 4294967295", "0")] = 0
    """Same seed, same choices."""


def fill(values: dict[str, Any], problems: Problems) -> RequirementForm:
    """Check keys and types; what is wrong is noted and taken out, so that the rest can be checked further."""
    values = copy.deepcopy(values)
    for _ in range(4):  # once to find, once without what was found; more only if taking out uncovers something
        try:
            return RequirementForm.model_validate(values)
        except ValidationError as error:
            for found in error.errors(include_url=False):
                path: KeyPath = found["loc"]
                problems.add(path, _sentence(path, dict(found)))
                _take_out(values, path, missing=found["type"] == "missing")
    raise AssertionError("a requirement without its wrong keys is still wrong")


def _take_out(values: dict[str, Any], path: KeyPath, *, missing: bool) -> None:
    if missing:
        _step(values, path[:-1])[path[-1]] = {"train": "?"} if path == ("data",) else "?"
        return
    while path and isinstance(path[-1], int):
        path = path[:-1]
    holder = _step(values, path[:-1])
    if isinstance(holder, dict):
        holder.pop(path[-1], None)


def _step(values: Any, path: KeyPath) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _field(path: KeyPath) -> tuple[FieldInfo | None, type[BaseModel]]:
    """The form's field behind a key path, and the form that holds it."""
    form: type[BaseModel] = RequirementForm
    field: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            continue
        field = {(info.alias or name): info for name, info in form.model_fields.items()}.get(str(part))
        kind = field.annotation if field else None
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            form = kind
    return field, form


def _sentence(path: KeyPath, error: dict[str, Any]) -> str:
    field, form = _field(path)
    key, leaf = dotted(path), next((part for part in reversed(path) if isinstance(part, str)), "")
    if error["type"] == "extra_forbidden":
        keys = [info.alias or name for name, info in form.model_fields.items() if info.alias is None]
        where = f"a key of {dotted(path[:-1])}" if len(path) > 1 else "a key of a requirement"
        return f"{key} is not {where}. {did_you_mean(str(path[-1]), keys, of='The keys are')}"
    must = next((item for item in (field.metadata if field else []) if isinstance(item, Must)), Must("valid", "…"))
    attempt = f"Try: {leaf}: {must.example}"
    if error["type"] == "missing":
        return f"{key} is missing; it must be {must.words}. {attempt}"
    found = error["input"]
    if isinstance(found, str) and error["type"] == "literal_error" and field is not None:
        attempt = did_you_mean(found, [str(item) for item in get_args(field.annotation)])
    elif isinstance(found, (int, float)) and error.get("ctx", {}).get("lt") == 1 and 1 < found <= 100:
        attempt = f"Did you mean {found / 100:g}?"
    return f"{key} is {shown(found)}; it must be {must.words}. {attempt}"
