"""Look at data: what it holds, how it is split, and every problem found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.jobs import PrepareJob
    from sartor.types import DataCard

app = typer.Typer(no_args_is_help=True)

BAR = 24  # characters of the longest bar
SHOWN_CLASSES = 30
SPLITS = ("train", "validation", "test")


@app.callback()
def _group() -> None:
    """Look at data: what it holds, how it is split, and every problem found."""


@app.command()
def inspect(
    what: Annotated[str, typer.Argument(help="A requirement, or data itself: folder, table, archive, hub:owner/name.")],
    task: Annotated[str, typer.Option(help="What the data is for, when no requirement says it.")] = "",
    workspace: Annotated[Path | None, typer.Option(help="Keep the prepared data here; a run reuses it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Read every sample once and say what was found; nothing is changed."""
    import tempfile

    from sartor.cli._console import console, print_json
    from sartor.evidence import Workspace
    from sartor.stages.data import prepare

    job = _job(what, task)
    screen = console(stderr=True)

    def tell(text: str, share: float | None = None) -> None:
        if screen.is_terminal:
            screen.print(f"\r{text}\x1b[K", end="")

    with tempfile.TemporaryDirectory(prefix="sartor-data-") as temporary:
        card = prepare(job, Workspace(workspace or Path(temporary)), tell).card
    if screen.is_terminal:
        screen.print("\r\x1b[K", end="")
    if json:
        print_json(card)
    else:
        console().print("\n".join(card_lines(card)))


def _job(what: str, task: str) -> PrepareJob:
    from sartor.jobs import PrepareJob
    from sartor.stages.data import stamp
    from sartor.types import DataSource

    if what.endswith((".yaml", ".yml", ".json")):
        from sartor.stages.requirement import read_requirement

        asked = read_requirement(Path(what))
        return PrepareJob(asked.data, task or asked.task, asked.seed, stamp(asked.data))
    source = DataSource(what if what.startswith("hub:") else str(Path(what).absolute()))
    return PrepareJob(source, task or "image-classification", 0, stamp(source))


def card_lines(card: DataCard) -> list[str]:
    """The card in words, line by line."""
    total = sum(split.samples for split in card.splits.values())
    lines = [f"Data          {total:,} samples, {len(card.labels)} classes, {card.task}"]
    for name, split in sorted(card.splits.items(), key=lambda item: SPLITS.index(item[0])):
        lines.append(f"  {name:<12}{split.samples:>9,}   {card.facts.get('split', {}).get(name, '')}".rstrip())
    sizes, modes = card.facts.get("sizes"), card.facts.get("modes")
    if sizes:
        words = [f"{name} {height} × {width}" for name, (height, width) in sizes.items()]
        same = sizes["smallest"] == sizes["largest"]
        lines.append(f"  size        {words[0].removeprefix('smallest ') if same else ', '.join(words)} (h × w)")
    if modes:
        lines.append(f"  pixels      {', '.join(f'{count:,} {mode}' for mode, count in modes.items())}")
    if "mirror" in card.facts:
        suits = card.facts["mirror"].get("suits")
        verdict = "keeps the class: flips are used" if suits else "is not safe: flips are not used"
        lines.append(f"  mirroring   {verdict}")
    lines.append(f"  licence     {card.licence or 'not stated (data.licence)'}")
    lines.append(f"  fingerprint {card.fingerprint[:16]}")
    lines += ["", "Classes       in train", *_bars(card), "", *_problem_lines(card)]
    return lines


def _bars(card: DataCard) -> list[str]:
    counts = card.splits["train"].classes
    most = max(counts.values(), default=1)
    width = min(28, max((len(label) for label in counts), default=0))
    ordered = [(label, counts.get(label, 0)) for label in card.labels]
    lines = [
        f"  {label[:width]:<{width}}  {count:>8,}  {'█' * max(1, round(BAR * count / most))}"
        for label, count in ordered[:SHOWN_CLASSES]
    ]
    if len(ordered) > SHOWN_CLASSES:
        lines.append(f"  … {len(ordered) - SHOWN_CLASSES} more classes (--json shows all)")
    return lines


def _problem_lines(card: DataCard) -> list[str]:
    if not card.problems:
        return ["Problems      none found"]
    lines = [f"Problems      {len(card.problems)} kinds"]
    for problem in card.problems:
        lines.append(f"  {problem.code:<18} {problem.split + ': ' if problem.split else ''}{problem.sentence}")
        lines += [f"  {'':<18}   {example}" for example in problem.examples]
        if len(problem.examples) < problem.count and problem.examples:
            lines.append(f"  {'':<18}   … {problem.count - len(problem.examples):,} more")
    return lines
