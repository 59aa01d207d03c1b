"""The command line: one file per verb; a file that defines ``command`` (or a typer ``app``) is a verb."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Entry point of the command ``sartor``."""
    import typer

    from sartor.cli._console import run_and_exit

    app = typer.Typer(
        name="sartor",
        help="Made-to-measure models: a requirement in, a model that provably meets it out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
        if version:
            from sartor import __version__

            print(f"sartor {__version__}")
            raise typer.Exit

    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        verb = importlib.import_module(f"sartor.cli.{file.stem}")
        if hasattr(verb, "app"):
            app.add_typer(verb.app, name=file.stem, help=verb.__doc__)
        else:
            app.command(file.stem)(verb.command)
    sys.exit(run_and_exit(app))
