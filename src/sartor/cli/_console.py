"""How the command line speaks: plain lines, errors without traceback, documented exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from sartor.errors import SartorError

if TYPE_CHECKING:
    import typer
    from rich.console import Console

EXIT_MET, EXIT_ERROR, EXIT_INFEASIBLE, EXIT_INCONCLUSIVE, EXIT_REGRESSION, EXIT_REFUSED = range(6)
EXIT_INTERRUPTED = 130


def console(*, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR and never wraps a line that is piped."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, soft_wrap=not stream.isatty(), highlight=False, markup=False)


def print_json(value: Any) -> None:
    """A value's JSON form on standard output."""
    import json

    from sartor.codec import to_plain

    print(json.dumps(to_plain(value), indent=1, ensure_ascii=False))


def run_and_exit(app: typer.Typer) -> int:
    """Run the app; the user's errors become one message and their exit code, ours keep their traceback."""
    from sartor.language import say

    try:
        result = app(standalone_mode=False)
    except SartorError as error:
        print(say(str(error)), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        result = EXIT_INTERRUPTED
    except Exception as error:
        shown = getattr(error, "show", None)  # click's usage errors know how to show themselves
        if shown is None:
            raise
        shown()
        return EXIT_ERROR
    if result == EXIT_INTERRUPTED:  # Ctrl-C, which typer may already have turned into its exit code
        print(f"\n{say('stopped; what is finished is kept, the same command continues')}", file=sys.stderr)
    return int(result or 0)
