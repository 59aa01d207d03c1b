"""Look at data: what it holds, how it is split, and every problem found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sartor.language import say
from sartor.language.layout import cut, labelled, padded, width

if TYPE_CHECKING:
    from sartor.jobs import PrepareJob
    from sartor.types import DataCard


class _Inspecting(TyperGroup):
    """Data given right away is inspected: ``sartor data photos`` is ``sartor data inspect photos``."""

    def parse_args(self, context: Any, arguments: list[str]) -> Any:
        known = not arguments or arguments[0] in (*self.commands, *context.help_option_names)
        return super().parse_args(context, arguments if known else ["inspect", *arguments])


app = typer.Typer(no_args_is_help=True, cls=_Inspecting)

BAR = 24  # characters of the longest bar
LARGE = 1e5  # beyond it decimals say nothing
SHOWN_CLASSES, SHOWN_VALUES = 30, 6
FACT_NAMES = {"sizes": "size", "modes": "pixels", "truth_range": "answer"}
SPLITS = ("train", "validation", "test")


@app.callback()
def _group() -> None:
    """Look at data: what it holds, how it is split, and every problem found."""


@app.command()
def inspect(
    what: Annotated[str, typer.Argument(help="A requirement, or data itself: folder, table, archive, hub:owner/name.")],
    task: Annotated[str, typer.Option(help="What the data is for; seen from the data where it can be.")] = "",
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
            screen.print(f"\r{say(text)}\x1b[K", end="")

    with tempfile.TemporaryDirectory(prefix="sartor-data-") as temporary:
        card = prepare(job, Workspace(workspace or Path(temporary)), tell).card
    if screen.is_terminal:
        screen.print("\r\x1b[K", end="")
    if json:
        print_json(card)
    else:
        console().print("\n".join(card_lines(card)))


def _job(what: str, task: str) -> PrepareJob:
    from sartor.cli._task_of_data import task_of
    from sartor.jobs import PrepareJob
    from sartor.stages.data import stamp
    from sartor.types import DataSource

    if what.endswith((".yaml", ".yml", ".json")):
        from sartor.stages.requirement import read_requirement

        asked = read_requirement(Path(what))
        return PrepareJob(asked.data, task or asked.task, asked.seed, stamp(asked.data))
    source = DataSource(what if what.startswith("hub:") else str(Path(what).absolute()))
    return PrepareJob(source, task or task_of(what), 0, stamp(source))


def card_lines(card: DataCard) -> list[str]:
    """The card in words, line by line."""
    total = sum(split.samples for split in card.splits.values())
    answers = f"{len(card.labels):,} {card.facts.get('labels_are', 'classes')}" if card.labels else "numbers"
    lines = [labelled("Data", f"{total:,} samples, {answers}, {card.task}")]
    for name, split in sorted(card.splits.items(), key=lambda item: SPLITS.index(item[0])):
        origin = say(card.facts.get("split", {}).get(name, ""))
        lines.append(labelled(f"  {name}", f"{split.samples:>9,}   {origin}".rstrip()))
    lines += _fact_lines(card.facts)
    lines.append(labelled("  licence", card.licence or "not stated (data.licence)"))
    lines.append(labelled("  fingerprint", card.fingerprint[:16]))
    if card.splits["train"].classes:
        lines += [
            "",
            labelled(str(card.facts.get("labels_are", "classes")).capitalize(), f"{_counted(card)} in train"),
            *_bars(card),
        ]
    return [*lines, "", *_problem_lines(card)]


def _fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """What is known of the samples: ranges, counts, and whatever a task says of parts of them, e.g. columns."""
    lines = []
    for name, fact in facts.items():
        if name in ("split", "mirror", "options") or not isinstance(fact, Mapping) or not fact:
            continue
        if fact.keys() == {"smallest", "median", "largest"}:
            shape = f" ({say('h × w')})" if name == "sizes" else ""
            lines.append(labelled(f"  {FACT_NAMES.get(name, name)}", f"{_range(fact)}{shape}"))
        elif all(isinstance(value, int) for value in fact.values()):
            shown = [f"{count:,} {value}" for value, count in list(fact.items())[:SHOWN_VALUES]]
            more = ["…"] if len(fact) > SHOWN_VALUES else []
            lines.append(labelled(f"  {FACT_NAMES.get(name, name)}", ", ".join([*shown, *more])))
        elif all(isinstance(value, str) for value in fact.values()):
            lines.append(f"  {say(name)}")
            lines += [f"    {padded(part, 24)} {say(words)}" for part, words in list(fact.items())[:SHOWN_CLASSES]]
    if "mirror" in facts:
        suits = facts["mirror"].get("suits")
        verdict = "keeps the class: flips are used" if suits else "is not safe: flips are not used"
        lines.append(labelled("  mirroring", verdict))
    return lines


def _range(fact: Mapping[str, Any]) -> str:
    def words(value: Any) -> str:
        if isinstance(value, Sequence):
            return " × ".join(map(words, value))
        return f"{value:,.0f}" if abs(value) >= LARGE else f"{value:g}"

    if fact["smallest"] == fact["largest"]:
        return words(fact["median"])
    return say(", ").join(f"{say(name)} {words(fact[name])}" for name in ("smallest", "median", "largest"))


def _counted(card: DataCard) -> str:
    from sartor import registry

    return "instances" if registry.get("tasks", card.task).truth == "structure" else "samples"


def _bars(card: DataCard) -> list[str]:
    counts = card.splits["train"].classes
    most = max(counts.values(), default=1) or 1
    room = min(28, max((width(label) for label in counts), default=0))
    ordered = [(label, counts[label]) for label in card.labels if label in counts]
    lines = [
        f"  {padded(cut(label, room), room)}  {count:>8,}  {'█' * max(1, round(BAR * count / most))}"
        for label, count in ordered[:SHOWN_CLASSES]
    ]
    if len(ordered) > SHOWN_CLASSES:
        lines.append(say(f"  … {len(ordered) - SHOWN_CLASSES} more classes (--json shows all)"))
    return lines


def _problem_lines(card: DataCard) -> list[str]:
    if not card.problems:
        return [labelled("Problems", "none found")]
    lines = [labelled("Problems", f"{len(card.problems)} kind{'s' if len(card.problems) > 1 else ''}")]
    for problem in card.problems:
        where = f"{say(problem.split)}{say(': ')}" if problem.split else ""
        lines.append(f"  {problem.code:<18} {where}{say(problem.sentence)}")
        lines += [f"  {'':<18}   {example}" for example in problem.examples]
        if len(problem.examples) < problem.count and problem.examples:
            lines.append(f"  {'':<18}   {say(f'… {problem.count - len(problem.examples):,} more')}")
    return lines
