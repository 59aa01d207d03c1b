"""The model card: README.md with the front matter that model hubs read, and the contract in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.errors import SartorError
from sartor.levels import reach_of
from sartor.pipeline import ENCODER
from sartor.storage import file_sha256
from sartor.types import Measurement, Pipeline, Provenance, Record, RunFile, Verdict

if TYPE_CHECKING:
    from sartor.catalog.contracts import Task

_UNKNOWN = Provenance("not recorded", "not recorded", "")


def chosen_record(run: RunFile) -> Record:
    """The record of the chosen candidate.

    Raises:
        SartorError: nothing was chosen.
    """
    for record in run.records:
        if run.decision.chosen and record.candidate.id == run.decision.chosen:
            return record
    raise SartorError(f"the decision is {run.decision.status}; it chose no candidate")


def provenance_of(run: RunFile) -> Provenance:
    """Where the chosen architecture comes from; plug-ins that are gone are no reason to have no card."""
    try:
        family = registry.get("models", chosen_record(run).candidate.network.model)
    except SartorError:
        return _UNKNOWN
    provenance: Provenance = family.provenance
    return provenance


def write_card(run: RunFile, pipeline: Pipeline, model: Path) -> str:
    """The card of a model file as Markdown with YAML front matter."""
    import yaml

    front = yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True, width=100)
    body = "\n".join(_body(run, pipeline, model))
    return f"---\n{front}---\n\n{body}\n"


def _front_matter(run: RunFile) -> dict[str, Any]:
    requirement, verdicts = run.requirement, run.decision.verdicts
    licence = provenance_of(run).licence
    shown = [verdict for verdict in verdicts if verdict.measurement is not None]
    results = {
        "task": {"type": requirement.task},
        "dataset": {"name": _data_name(requirement.data.train), "type": "sartor", "split": "test"},
        "metrics": [_result(verdict) for verdict in shown],
    }
    return {
        "license": licence.lower() if licence in ("MIT", "Apache-2.0", "BSD-3-Clause") else "other",
        **({} if licence in ("MIT", "Apache-2.0", "BSD-3-Clause") else {"license_name": _line(licence)}),
        "library_name": "sartor",
        "pipeline_tag": requirement.task,
        "tags": ["sartor", "onnx", chosen_record(run).candidate.precision],
        "model-index": [{"name": _line(requirement.name), "results": [results]}],
    }


def _compressor(record: Record) -> str:
    """The plug-in that made the file: where it was repaired, another than the candidate names."""
    named = record.candidate.compressor
    return record.artifact.made_by if record.artifact and record.artifact.made_by and named != "none" else named


def _data_name(address: str) -> str:
    """The last part of an address that says more than which split it is."""
    parts = [part for part in address.split("/") if part]
    telling = [part for part in parts if part.lower().split(".")[0] not in ("train", "training", "data")]
    return _line((telling or parts or ["data"])[-1])


def _result(verdict: Verdict) -> dict[str, Any]:
    measurement = verdict.measurement
    assert measurement is not None
    return {
        "type": measurement.metric.name,
        "name": measurement.metric.title,
        "value": float(measurement.value),
        "verified": False,  # a hub's word for its own check, not for ours
    }


def _body(run: RunFile, pipeline: Pipeline, model: Path) -> Iterator[str]:
    requirement, card, record = run.requirement, run.card, chosen_record(run)
    task: Task = registry.get("tasks", requirement.task)
    typed, written = _EXAMPLES[task.media]
    network = record.candidate.network
    provenance = provenance_of(run)
    reach = reach_of(run.decision.verdicts, pipeline)
    yield from (f"# {_line(requirement.name)}", "", _line(run.decision.sentence), "")
    yield from (f"* {_line(reason)}" for reason in run.decision.why)
    yield from ("", "## Limits", "")
    yield from _table(
        ("limit", "measured", "interval", "n", "verdict"),
        [_limit_row(verdict) for verdict in run.decision.verdicts],
    )
    yield from (
        "",
        f"Intervals at {requirement.confidence:.0%} confidence, measured on this very file "
        f"on {_line(run.device.name)} with {pipeline.threads} thread(s), batch {pipeline.batch}. "
        "Another machine is another measurement: run `sartor verify` there.",
        "",
        *([reach.sentence + ".", ""] if reach is not None else []),
        "## Model",
        "",
    )
    yield from _table(
        ("", ""),
        [
            ("architecture", f"{network.id}, input {'×'.join(map(str, network.input_size))}"),
            ("runtime", f"{pipeline.runtime}, {pipeline.precision}, compressor {_compressor(record)}"),
            ("file", f"{pipeline.model}, {model.stat().st_size:,} bytes, sha256 `{file_sha256(model)}`"),
            *([("encoder", f"{ENCODER}, sha256 `{pipeline.learnt}`")] if pipeline.learnt else []),
            ("source", provenance.source),
            ("paper", provenance.paper or "none"),
            ("licence of the architecture", provenance.licence),
            ("made by", f"sartor {run.sartor}, {run.created}, seed {requirement.seed}"),
        ],
    )
    yield from ("", "## Data", "")
    yield from _table(
        ("split", "samples", "fingerprint"),
        [(name, f"{split.samples:,}", f"`{split.fingerprint[:16]}`") for name, split in card.splits.items()],
    )
    yield from (
        "",
        f"Fingerprint of everything used: `{card.fingerprint}`. "
        f"Licence of the data: {_line(card.licence) or 'not recorded; whoever supplied the data knows it'}.",
        *(f"* {problem.split}: {_line(problem.sentence)}" for problem in card.problems),
        "",
        "## Intended use",
        "",
        f"{_title(task.title)}, on inputs like those it was trained on. It gives an answer to any input, also to one "
        "unlike all of them. The figures above hold for data like the test split; nothing was examined beyond them "
        "(fairness between groups, robustness against attack).",
        "",
        *_labels(pipeline.labels),
        "## Use",
        "",
        f"```\npip install sartor\nsartor predict THIS_FOLDER {typed}\nsartor verify THIS_FOLDER\n```",
        "",
        f'```python\nimport sartor\n\nmodel = sartor.load("THIS_FOLDER")\nprint(model.predict({written}))\n```',
        "",
        f"Without sartor: {_signature(model)}. {_PREPARING[task.media]}",
    )


_EXAMPLES = {
    "image": ("image.jpg", '"image.jpg"'),
    "text": ('"some text"', '"some text"'),
    "record": ("record.json", '{"name": "value"}'),
}
"""How one input is given on the command line and in Python, by media."""

_PREPARING = {
    "image": "A picture is decoded to RGB and resized first.",
    "text": f"A text is turned into the input's numbers with what `{ENCODER}` holds.",
    "record": f"A record is turned into the input's numbers with what `{ENCODER}` holds.",
}


def _labels(labels: Sequence[str]) -> Iterator[str]:
    if labels:
        more = f" … and {len(labels) - 200:,} more" if len(labels) > 200 else ""
        yield f"Labels: {', '.join(_line(label) for label in labels[:200])}{more}"
        yield ""


def _signature(path: Path) -> str:
    """What a model file takes and gives, in words."""
    if path.suffix != ".onnx":
        return f"`{path.name}` holds the weights"
    import onnx

    graph = onnx.load(path, load_external_data=False).graph

    def words(value: Any) -> str:
        tensor = value.type.tensor_type
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        sizes = ", ".join(str(size.dim_value) if size.HasField("dim_value") else "?" for size in tensor.shape.dim)
        return f"{kind} ({sizes})"

    constants = {tensor.name for tensor in graph.initializer}
    given = next((value for value in graph.input if value.name not in constants), None)
    taken = words(given) if given is not None else "nothing"
    return f"`{path.name}` takes `{taken}` and gives `{words(graph.output[0])}`"


def _limit_row(verdict: Verdict) -> tuple[str, ...]:
    measurement = verdict.measurement
    if measurement is None:
        return (str(verdict.limit), "not measured", "", "", verdict.outcome)
    show = measurement.metric.format
    return (
        str(verdict.limit),
        show(measurement.value),
        f"{show(measurement.low)} … {show(measurement.high)}",
        f"{measurement.n:,}" if measurement.n else "",
        verdict.outcome + ("" if _firm(measurement) else f" ({measurement.basis})"),
    )


def _firm(measurement: Measurement) -> bool:
    return measurement.basis == "measured"


def _title(text: str) -> str:
    return _line(text[:1].upper() + text[1:])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_line(cell).replace('|', chr(92) + '|') for cell in row)} |"


def _line(text: str) -> str:
    """Text from data or a requirement on one line, harmless in Markdown."""
    return " ".join(text.split()).replace("<", "&lt;")
