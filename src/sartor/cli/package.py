"""``sartor package``: check a package and write it as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    package: Annotated[str, typer.Argument(help="A package folder (or RUN folder that holds one).")],
    output: Annotated[str, typer.Option("--output", "-o", help="The .sartor file to write.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> int:
    """Check every byte of a package, say what it is, and write it as one file with --output."""
    from sartor.cli._console import EXIT_MET, print_json
    from sartor.errors import SartorError
    from sartor.language import say
    from sartor.stages.package import facts, open_package, pack

    place = Path(package)
    if (place / "package").is_dir() and not (place / "MANIFEST.json").exists():
        place = place / "package"
    contents = open_package(place)
    target = Path(output) if output else None
    if target is not None:
        if target.suffix != ".sartor":
            raise SartorError(f"--output {output!r} must end in .sartor. Try: --output {target.with_suffix('.sartor')}")
        pack(contents.folder, target)
    known = dict(facts(contents)) | ({"file": str(target), "file_bytes": target.stat().st_size} if target else {})
    if as_json:
        print_json(known)
        return EXIT_MET
    print(say(f"{known['name']}: {known['task']}, {known['labels']} labels, {known['runtime']} {known['precision']}"))
    print(say(f"  {contents.package.files} files, {known['bytes']:,} bytes, every byte as it was made"))
    print(f"  {say('digest')} {known['digest']}")
    if target is not None:
        print(say(f"  written to {target}, {known['file_bytes']:,} bytes"))
    print(f"{say('Next')}  sartor predict {target or place} INPUT...")
    return EXIT_MET
