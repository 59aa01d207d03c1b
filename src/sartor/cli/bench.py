"""``sartor bench``: one model file in every runtime and precision of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.bench import BenchResult, BenchRow

_COLUMNS = (
    ("size_mb", "size MB"),
    ("latency_p50_ms", "p50 ms"),
    ("latency_p95_ms", "p95 ms"),
    ("memory_peak_mb", "memory MB"),
)


def command(
    model: Annotated[Path, typer.Argument(help="An .onnx image classifier, or a package.")],
    data: Annotated[str, typer.Option(help="Labelled data to score on.")] = "",
    runtimes: Annotated[str, typer.Option(help="Names with commas between; all where empty.")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as the package says, else 1.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.2, help="Timed seconds per row.")] = 2.0,
    size: Annotated[str, typer.Option(help="Height x width where the file leaves it open, e.g. 224x224.")] = "",
    normalise: Annotated[
        str, typer.Option(help="What a float input expects: imagenet, unit or symmetric.")
    ] = "imagenet",
    labels: Annotated[str, typer.Option(help="Labels of a bare file's outputs, in order, commas between.")] = "",
    workspace: Annotated[Path | None, typer.Option(help="Where prepared data is kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Time, weigh and score one model file in every runtime and precision of this machine."""
    from sartor.adopt import NORMALISATIONS, parse_size
    from sartor.bench import Conditions, bench
    from sartor.cli._console import EXIT_ERROR, EXIT_MET, print_json
    from sartor.errors import SartorError

    if normalise not in NORMALISATIONS:
        raise SartorError(f"--normalise is {normalise!r}; it must be one of {', '.join(NORMALISATIONS)}")
    names, words = ([word.strip() for word in text.split(",") if word.strip()] for text in (runtimes, labels))
    wanted = parse_size(size) if size else None
    conditions = Conditions(data, tuple(names), threads, seconds, wanted, normalise, tuple(words), workspace)
    result = bench(model, conditions)
    if as_json:
        print_json(result)
    else:
        print("\n".join(_lines(result)))
    return EXIT_MET if any(row.measurements for row in result.rows) else EXIT_ERROR


def _lines(result: BenchResult) -> list[str]:
    from sartor.language import say
    from sartor.report.words import aligned

    quality = next(
        (one.metric for row in result.rows for one in row.measurements if one.metric.kind == "quality"), None
    )
    head = ["runtime", "precision", *(title for _, title in _COLUMNS), *([quality.title] if quality else [])]
    cells = [_cells(row, quality.name if quality else "") for row in result.rows]
    lines = [
        say(f"{result.model} on {result.device}, {result.threads} thread(s), from the file's bytes to the answer"),
        *aligned([[say(word) for word in head], *cells]),
    ]
    lines += [f"  {row.runtime} {row.precision}{say(': ')}{say(row.refusal)}" for row in result.rows if row.refusal]
    lines += [f"  {say(sentence)}" for sentence in result.assumptions]
    if any(one.noisy for row in result.rows for one in row.measurements):
        lines.append(f"  * {say('the machine was too busy for this number to decide anything')}")
    return lines


def _cells(row: BenchRow, quality: str) -> list[str]:
    names = [name for name, _ in _COLUMNS] + ([quality] if quality else [])
    return [row.runtime, row.precision, *(_cell(row, name) for name in names)]


def _cell(row: BenchRow, name: str) -> str:
    found = row.value(name)
    if found is None:
        return "–"
    text = found.metric.format(found.value).removesuffix(f" {found.metric.unit}")
    return text + ("*" if found.noisy else "")
