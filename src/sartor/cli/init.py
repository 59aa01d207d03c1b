"""Write a requirement, by questions or from flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.errors import RequirementError, SartorError

if TYPE_CHECKING:
    from sartor.stages.requirement import Draft

SCHEMA_PLACE = Path(".sartor") / "requirement.schema.json"
USUAL_TASK = "image-classification"
ASKED_COSTS = ("latency_p95_ms", "size_mb", "memory_peak_mb")


def command(
    limits: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LIMIT]...", help="Limits, e.g. limits.accuracy.min=0.9", show_default=False),
    ] = None,
    task: Annotated[str, typer.Option(help="What the model does, e.g. image-classification.")] = "",
    data: Annotated[str, typer.Option(help="Samples to learn from: a path, or hub:owner/name.")] = "",
    test: Annotated[str, typer.Option(help="Samples to judge by; split off the data where absent.")] = "",
    name: Annotated[str, typer.Option(help="Names runs and packages; the file's name where absent.")] = "",
    device: Annotated[str, typer.Option(help="local, or the path of a device profile.")] = "local",
    threads: Annotated[int, typer.Option(help="CPU threads the model may use at most; 0 for all cores.")] = 0,
    accuracy_min: Annotated[str, typer.Option(help="Short for --limit accuracy.min=…")] = "",
    latency_p95_ms_max: Annotated[str, typer.Option(help="Short for --limit latency_p95_ms.max=…")] = "",
    size_mb_max: Annotated[str, typer.Option(help="Short for --limit size_mb.max=…")] = "",
    memory_peak_mb_max: Annotated[str, typer.Option(help="Short for --limit memory_peak_mb.max=…")] = "",
    limit: Annotated[
        list[str] | None, typer.Option(help="METRIC.BOUND=VALUE, e.g. throughput_per_s.min=100; repeat it.")
    ] = None,
    time: Annotated[str, typer.Option(help="What the search may spend, e.g. 90s, 30m, 1h.")] = "15m",
    effort: Annotated[str, typer.Option(help="quick, balanced or thorough.")] = "balanced",
    seed: Annotated[int, typer.Option(help="Same seed, same choices.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("requirement.yaml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a requirement file with comments, by questions or from flags.

    Example: sartor init --task image-classification --data photos --accuracy-min 0.9 --latency-p95-ms-max 5 --yes
    """
    from sartor.language import say
    from sartor.stages.requirement import Draft

    _refuse_to_overwrite(output, force=force)
    short = {
        "accuracy.min": accuracy_min,
        "latency_p95_ms.max": latency_p95_ms_max,
        "size_mb.max": size_mb_max,
        "memory_peak_mb.max": memory_peak_mb_max,
    }
    said = [f"{key}={value}" for key, value in short.items() if value] + (limit or []) + (limits or [])
    values = Draft(task, data, test, name, device, threads, _limits(said), time, effort, seed)
    if not yes and sys.stdin.isatty():
        values = _ask(values, output)
    guessed = not values.task
    values = _with_task(values)
    text = write(values, output)
    if guessed:
        typer.echo(say(f"The task is {values.task}, as the data looks; --task names another.") + "\n")
    typer.echo(f"{text}\n{say(f'Written to {output}')}\n{say('Next')}  sartor run {output}")


def write(values: Draft, output: Path) -> str:
    """Check the draft, then write it and the schema that editors read; gives the text.

    Raises:
        RequirementError: with all problems; nothing was written.
    """
    import json

    from sartor.stages.requirement import check, draft, schema
    from sartor.storage import write_text

    folder = output.absolute().parent
    values = replace(_moved(values, folder), schema=SCHEMA_PLACE.as_posix())
    check(values, folder)
    text = draft(values)
    write_text(folder / SCHEMA_PLACE, json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    write_text(output, text)
    return text


def _refuse_to_overwrite(output: Path, *, force: bool) -> None:
    if output.is_dir():
        raise SartorError(f"{output} is a folder; name a file, e.g. --output {output / 'requirement.yaml'}")
    if output.exists() and not force:
        raise SartorError(f"{output} is there already; use --force to overwrite it, or another --output")


def _limits(said: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``accuracy.min=0.9`` (``limits.`` before it is fine) as limits by metric and bound."""
    from sartor.stages.requirement import read_value

    found: dict[str, dict[str, Any]] = {}
    for text in said:
        key, _, value = text.partition("=")
        metric, _, bound = key.strip().removeprefix("limits.").partition(".")
        if not metric or not bound or not value.strip():
            raise SartorError(f"--limit {text}: write METRIC.BOUND=VALUE, e.g. --limit latency_p95_ms.max=5")
        try:
            found.setdefault(metric, {})[bound] = read_value(value)
        except ValueError as error:
            raise SartorError(f"--limit {text}: {error}") from error
    return found


def _with_task(values: Draft) -> Draft:
    from sartor import registry
    from sartor.cli._task_of_data import task_of

    tasks = registry.names("tasks")
    if not values.task and values.data:
        values = replace(values, task=task_of(values.data))
    missing = [f"--{flag}" for flag in ("task", "data") if not getattr(values, flag)]
    if missing:
        there_are = f" Tasks: {', '.join(tasks)}." if "--task" in missing else ""
        raise SartorError(f"{' and '.join(missing)} must be given when nothing is asked.{there_are}")
    if values.task not in tasks:
        registry.get("tasks", values.task)  # says which is nearest
    return values


def _moved(values: Draft, folder: Path) -> Draft:
    device = values.device if values.device == "local" or "://" in values.device else _beside(values.device, folder)
    return replace(values, data=_beside(values.data, folder), test=_beside(values.test, folder), device=device)


def _beside(path: str, folder: Path) -> str:
    """A path typed relative to the current folder, as it reads from the file's folder."""
    if not path or path.startswith(("hub:", "~")) or Path(path).is_absolute():
        return path
    return Path(os.path.relpath(Path.cwd() / path, folder)).as_posix()


def _ask(values: Draft, output: Path) -> Draft:
    """Ask for what was not said; each answer is checked at once, and an empty one means no limit."""
    from sartor import registry
    from sartor.cli._task_of_data import task_of
    from sartor.language import say
    from sartor.stages.requirement import measurables

    tasks = registry.names("tasks")
    typer.echo(say("An empty answer takes what stands in brackets, or sets no limit.") + "\n")
    if not values.task:
        usual = USUAL_TASK
        if values.data:
            with suppress(SartorError):
                usual = task_of(values.data)
        values = replace(values, task=typer.prompt(f"{say('Task')} ({', '.join(tasks)})", default=usual))
    values = _with_task(replace(values, data=values.data or "?"))
    while values.data in ("", "?") or not _sound(values, output):
        question = say("Samples to learn from (folder, CSV, Parquet, hub:owner/name)")
        values = replace(values, data=typer.prompt(question))
    if not values.test:
        values = _answered(values, output, "test", "Samples to judge by (empty: split off)")
    known = measurables(values.task)
    primary = next(item.metric.name for item in known.values() if item.metric.kind == "quality")
    for name in (primary, *ASKED_COSTS):
        if name not in values.limits:
            values = _asked_limit(values, output, name, known[name].bound, known[name].metric.unit)
    return _answered(values, output, "time", "The search may take", values.time)


def _answered(values: Draft, output: Path, key: str, question: str, default: str = "") -> Draft:
    from sartor.language import say

    while True:
        changed = replace(values, **{key: typer.prompt(say(question), default=default)})
        if _sound(changed, output):
            return changed


def _asked_limit(values: Draft, output: Path, name: str, bound: str, unit: str) -> Draft:
    from sartor.language import say
    from sartor.stages.requirement import read_value

    sign = say("at least" if bound == "min" else "at most")
    while True:
        answer = typer.prompt(f"{name} {sign}{f' ({unit})' if unit else ''}", default="", show_default=False)
        if not answer.strip():
            return values
        try:
            value = read_value(answer)
        except ValueError:
            value = answer
        changed = replace(values, limits={**values.limits, name: {bound: value}})
        if _sound(changed, output):
            return changed


def _sound(values: Draft, output: Path) -> bool:
    """True when the draft reads as a requirement; otherwise its problems are shown."""
    from sartor.language import say
    from sartor.stages.requirement import check

    folder = output.absolute().parent
    try:
        check(_moved(values, folder), folder)
    except RequirementError as error:
        typer.echo("\n".join(f"  {say(problem)}" for problem in error.problems), err=True)
        return False
    return True
