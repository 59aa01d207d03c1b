"""``sartor predict``: use a package."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sartor.stages.package import Model

SHOWN_LETTERS = 60  # of an input that is no file, in words


def command(
    package: Annotated[str, typer.Argument(help="A package: its folder or .sartor file.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files to answer, or folders of them; for texts and records also the input itself. "
            "- reads one input (of pictures: one path) per line from standard input.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per input, one per line.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many of the best answers to name.")] = 5,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each answer rests on.")] = False,
    gallery: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Of faces, who is known: a folder with one folder of pictures per person, or one picture.",
        ),
    ] = "",
    false_accepts: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="With --gallery: the share of strangers that may pass; 0: 0.001.")
    ] = 0.0,
) -> int:
    """Answer inputs with a package; a broken input gets a sentence, the others still get their answer."""
    from sartor.cli._console import EXIT_ERROR, EXIT_MET
    from sartor.stages.package import load

    model = load(package)
    if gallery:
        model.enrol(gallery, false_accepts=false_accepts or None)
    answers = (
        _answer(model, name, given, top, explain)
        for text in inputs
        for name, given in _expand(text, files_only=model.task.media == "image")
    )
    if as_json:
        wrong = [_print_json(answer) for answer in answers]  # each as soon as it is there
    else:
        from sartor.language.layout import width as columns

        results = [{**answer, "shown": _shown(answer["input"])} for answer in answers]
        width = max((columns(result["shown"]) for result in results), default=0)
        for result in results:
            print("\n".join(_words(result, width)))
        wrong = ["error" in result for result in results]
    return EXIT_ERROR if any(wrong) or not wrong else EXIT_MET


def _expand(text: str, *, files_only: bool) -> Iterator[tuple[str, str | Path]]:
    """Names of inputs and the inputs: a folder stands for the files in it, in the order of their names."""
    if text == "-":
        for line in sys.stdin:
            if line := line.rstrip("\r\n"):
                yield line, Path(line) if files_only else line
    elif os.path.isdir(text):
        children = (child for child in os.scandir(text) if child.is_file() and not child.name.startswith("."))
        yield from ((path, Path(path)) for path in sorted(child.path for child in children))
    else:
        yield text, Path(text) if files_only or os.path.exists(text) else text


def _answer(model: Model, name: str, given: str | Path, top: int, explain: bool) -> dict[str, Any]:
    from sartor.codec import to_plain
    from sartor.errors import DataError

    try:
        answer = {"input": name, **model.predict(given, top=top)}
        return {**answer, "explanation": to_plain(model.explain(given))} if explain else answer
    except DataError as error:
        return {"input": name, "error": str(error)}


def _print_json(answer: dict[str, Any]) -> bool:
    """Print an answer; True where it is an error."""
    print(json.dumps(answer, ensure_ascii=False), flush=True)
    return "error" in answer


def _shown(name: str) -> str:
    """An input's name on one line; a long text is cut."""
    if os.path.exists(name):
        return name
    line = " ".join(name.split())
    return line if len(line) <= SHOWN_LETTERS else f"{line[:SHOWN_LETTERS]}…"


def _words(result: dict[str, Any], width: int) -> list[str]:
    from sartor.language import say
    from sartor.language.layout import padded

    if "error" in result:
        reason = say(result["error"])
        return [reason if result["input"] in reason else f"{result['shown']}: {reason}"]
    others = ", ".join(f"{one['label']} {one['confidence']:.3f}" for one in result.get("top", ())[1:])
    line = f"{padded(result['shown'], width)}  {result['label']}"
    if "confidence" in result:
        line += f"  {result['confidence']:.3f}"
    if "range" in result:
        between, share = result["range"], round(100 * result["within"])
        line += f"   ({say(f'{between} in {share} of 100 cases')})"
    lines = [f"{line}   ({others})" if others else line]
    if "note" in result:
        lines.append(f"    {say(result['note'])}")
    if "explanation" in result:
        found = result["explanation"]
        names = [say(cause["name"]) if found["kind"] == "regions" else cause["name"] for cause in found["causes"]]
        lines.append(f"    {say(found['sentence'])}")
        lines += [f"    {cause['weight']:+.3f}  {name}" for cause, name in zip(found["causes"], names, strict=True)]
    return lines
