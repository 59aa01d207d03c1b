"""Every network the catalogue offers for the data, in every runtime and precision the device can truly run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sartor import registry, tuning
from sartor.catalog.contracts import ModelFamily, Runtime
from sartor.errors import DeviceError, MissingExtra, RequirementError, Unsupported, nearest
from sartor.modelfile import check_model
from sartor.reading.checkpoints import checkpoint_folder
from sartor.types import Candidate, DataCard, Device, Network, Record, Refusal, Requirement

UNCOMPRESSED = "none"


def candidates(
    requirement: Requirement, card: DataCard, device: Device, model: Path | None = None
) -> tuple[Record, ...]:
    """The search space as records without measurements; what plug-ins decline is there with the reason.

    Baselines come uncompressed only: compressing what is already tiny answers no question.

    Args:
        requirement: what is asked.
        card: what the data is.
        device: what it runs on.
        model: the ONNX file that stands for the model of the requirement, where that is of another format.

    Raises:
        RequirementError: ``search`` names something that is not in the catalogue.
        DeviceError: a runtime that ``search`` asks for is not on the device, or none is.
    """
    _check_names(requirement)
    engines = _engines(requirement, device)
    records = []
    for family, network, refusal in _networks(requirement, card, model):
        ways = list(_ways(requirement, network, _running(family, engines), baseline=family.baseline))
        for candidate, parent in ways[:1] if refusal else ways:  # one record is enough to say why not
            refusals = (refusal,) if refusal else ()
            notes = {"baseline": family.baseline} | ({"stores_less": True} if _stores_less(candidate) else {})
            records.append(Record(candidate, parent=parent, refusals=refusals, notes=notes))
    records += _missing_parents(records)
    if not records:
        raise DeviceError(
            f"no candidate is left: models {list(requirement.search.models) or 'all'}, runtimes "
            f"{[runtime.name for runtime, _ in engines]}, precisions {list(requirement.search.precisions) or 'all'}; "
            "widen search in the requirement"
        )
    return tuple(records)


def _running(
    family: ModelFamily, engines: Sequence[tuple[Runtime, Mapping[str, str]]]
) -> list[tuple[Runtime, Mapping[str, str]]]:
    """The engines that have the operators of a family's graphs; all of them where none has, to say so by a refusal."""
    wanted: frozenset[str] = getattr(family, "domains", frozenset())
    return [pair for pair in engines if wanted <= getattr(pair[0], "domains", frozenset())] or list(engines)


def _missing_parents(records: Sequence[Record]) -> list[Record]:
    """Parents that ``search`` leaves out: kept to compare with, never shipped."""
    there = {record.candidate.id for record in records}
    missing = {}
    for record in records:
        if record.parent and record.parent not in there:
            parent = replace(record.candidate, compressor=UNCOMPRESSED, precision=record.parent.split("/")[1])
            notes = {name: note for name, note in record.notes.items() if name != "stores_less"}
            missing[record.parent] = Record(parent, notes={**notes, "reference": True})
    return list(missing.values())


def _stores_less(candidate: Candidate) -> bool:
    """Whether its file is computed like its parent's and only smaller."""
    return hasattr(registry.get("compressors", candidate.compressor), "computed_in")


def _ways(
    requirement: Requirement,
    network: Network,
    engines: Sequence[tuple[Runtime, Mapping[str, str]]],
    *,
    baseline: bool,
) -> Iterator[tuple[Candidate, str]]:
    """A network's candidates, each with the id of its parent."""
    for runtime, precisions in engines:
        for precision, compressor in precisions.items():
            if requirement.search.precisions and precision not in requirement.search.precisions:
                continue
            if baseline and compressor != UNCOMPRESSED:
                continue
            candidate = Candidate(network, compressor, runtime.name, precision, requirement.target.threads)
            yield candidate, "" if compressor == UNCOMPRESSED else _parent(candidate, precisions)


def _check_names(requirement: Requirement) -> None:
    problems = []
    for kind, asked in (("models", requirement.search.models), ("runtimes", requirement.search.runtimes)):
        known = registry.names(kind)
        for name in asked:
            if name not in known:
                near = nearest(name, known)
                hint = f"Did you mean {near}?" if near else f"There are: {', '.join(known)}"
                problems.append(f"search.{kind}  {name!r} is not in the catalogue. {hint}")
    if problems:
        raise RequirementError(problems, source=requirement.name)


def _engines(requirement: Requirement, device: Device) -> list[tuple[Runtime, Mapping[str, str]]]:
    """Runtimes that may ship, present on the device, with their precisions."""
    engines = []
    for name in requirement.search.runtimes or registry.names("runtimes"):
        runtime: Runtime = registry.get("runtimes", name)
        if runtime.reference:
            continue
        if name not in device.runtimes:
            if requirement.search.runtimes:
                raise DeviceError(
                    f"search.runtimes asks for {name}, which is not on {device.name} "
                    f"(there: {', '.join(device.runtimes) or 'none'}). {_how_to_get(runtime)}"
                )
            continue
        engines.append((runtime, runtime.precisions(device)))
    if not engines and device.basis == "quoted":
        raise DeviceError(f"no runtime of the catalogue runs models on {device.name}")
    if not engines:
        raise DeviceError(f'no runtime is on {device.name}. Run: pip install "sartor[openvino]"')
    return engines


def _how_to_get(runtime: Runtime) -> str:
    try:
        runtime.version()
    except MissingExtra as missing:
        return str(missing)
    return "Probe the device again: sartor device probe"


def _networks(
    requirement: Requirement, card: DataCard, model: Path | None
) -> Iterator[tuple[ModelFamily, Network, Refusal | None]]:
    task = registry.get("tasks", requirement.task)
    sizes, usual = task.input_sizes(card), task.encoding(card) if hasattr(task, "encoding") else ""
    outputs = max(1, len(card.labels))
    given = list(_given(requirement, card, sizes, usual, model))
    # a model that answers the task already is not searched for: it is made to meet the limits
    answering = not requirement.search.models and any(refusal is None and _answers(one) for one, _, refusal in given)
    for name in requirement.search.models or registry.names("models"):
        family: ModelFamily = registry.get("models", name)
        if requirement.task not in family.tasks or (answering and not family.baseline):
            continue
        try:
            for variant in family.variants(card, sizes, requirement.budget.effort):
                options = dict(variant.options)
                size = tuple(variant.input_size)
                network = Network(name, variant.name, options, size, outputs, variant.encoding or usual)
                yield family, network, None
        except Unsupported as refusal:
            if requirement.model and _takes_models(family):
                continue  # the checkpoint is what it has to offer
            network = Network(name, "", {}, tuple(sizes[0]), outputs)
            yield family, network, Refusal(refusal.code, refusal.detail)
        except MissingExtra as missing:
            if name in requirement.search.models:
                raise
            network = Network(name, "", {}, tuple(sizes[0]), outputs)
            yield family, network, Refusal("MISSING_EXTRA", str(missing))
    yield from (one for one in given if not answering or _answers(one[0]))


def _given(
    requirement: Requirement, card: DataCard, sizes: Sequence[tuple[int, ...]], usual: str, model: Path | None
) -> Iterator[tuple[ModelFamily, Network, Refusal | None]]:
    """What the families make of the checkpoint or the file that ``model`` names."""
    if not requirement.model:
        return
    place = model or checkpoint_folder(requirement.model)
    if place.suffix == ".onnx" and place.is_file():
        check_model(place)  # before any runtime sees it
    outputs = max(1, len(card.labels))
    for name, adapter in _adapters(requirement).items():
        try:
            if hasattr(adapter, "labelled_variant"):
                variant = adapter.labelled_variant(place, sizes, card.labels)
            else:
                variant = adapter.checkpoint_variant(place, sizes)
        except Unsupported as refusal:  # a file where it takes folders, or the other way round; other labels
            yield adapter, Network(name, "", {}, tuple(sizes[0]), outputs), Refusal(refusal.code, refusal.detail)
            continue
        size, options = tuple(variant.input_size), dict(variant.options)
        network = Network(name, variant.name, options, size, outputs, variant.encoding or usual)
        yield adapter, network, None
        if getattr(adapter, "adaptable", False) and requirement.budget.effort != "quick":
            yield adapter, tuning.adapted(network), _without_adapters()


def _without_adapters() -> Refusal | None:
    """Why nothing can be fine-tuned by adapters here; None where it can."""
    try:
        tuning.require()
    except MissingExtra as missing:
        return Refusal("MISSING_EXTRA", str(missing))
    return None


def _takes_models(family: Any) -> bool:
    return hasattr(family, "checkpoint_variant") or hasattr(family, "labelled_variant")


def _answers(family: Any) -> bool:
    return bool(getattr(family, "answers", False))


def _adapters(requirement: Requirement) -> dict[str, Any]:
    """The families that take checkpoints of the task.

    Raises:
        RequirementError: there is none.
    """
    families = {name: registry.get("models", name) for name in requirement.search.models or registry.names("models")}
    found = {
        name: family for name, family in families.items() if requirement.task in family.tasks and _takes_models(family)
    }
    if not found:
        raise RequirementError(
            [f"model  no model family takes a checkpoint for {requirement.task}; remove model, or name another task"],
            source=requirement.name,
        )
    return found


def _parent(candidate: Candidate, precisions: Mapping[str, str]) -> str:
    """The uncompressed candidate of the same network and runtime that is nearest to what was compressed: fp32."""
    roots = [precision for precision, compressor in precisions.items() if compressor == UNCOMPRESSED]
    precision = "fp32" if "fp32" in roots else roots[0] if roots else ""
    if not precision:
        return ""
    return Candidate(candidate.network, UNCOMPRESSED, candidate.runtime, precision, candidate.threads).id
