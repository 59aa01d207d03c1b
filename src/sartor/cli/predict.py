"""``sartor predict``: use a package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sartor.stages.package import Model


def command(
    package: Annotated[str, typer.Argument(help="A package: its folder or .sartor file.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files to answer, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per input, one per line.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many of the best labels to name.")] = 5,
) -> int:
    """Answer inputs with a package; a broken input gets a sentence, the others still get their answer."""
    from sartor.cli._console import EXIT_ERROR, EXIT_MET
    from sartor.stages.package import load

    model = load(package)
    results = [_answer(model, path, top) for name in inputs for path in _expand(Path(name))]
    width = max((len(str(result["input"])) for result in results), default=0)
    for result in results:
        print(json.dumps(result, ensure_ascii=False) if as_json else _words(result, width))
    return EXIT_ERROR if any("error" in result for result in results) or not results else EXIT_MET


def _expand(path: Path) -> list[Path]:
    """A folder stands for the files in it, in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted(Path(child.path) for child in os.scandir(path) if child.is_file() and not child.name.startswith("."))


def _answer(model: Model, path: Path, top: int) -> dict[str, Any]:
    from sartor.errors import DataError

    try:
        return {"input": str(path), **model.predict(path, top=top)}
    except DataError as error:
        return {"input": str(path), "error": str(error)}


def _words(result: dict[str, Any], width: int) -> str:
    if "error" in result:
        reason = result["error"]
        return reason if result["input"] in reason else f"{result['input']}: {reason}"
    others = ", ".join(f"{one['label']} {one['confidence']:.3f}" for one in result.get("top", ())[1:])
    line = f"{result['input']:<{width}}  {result['label']}  {result['confidence']:.3f}"
    return f"{line}   ({others})" if others else line
