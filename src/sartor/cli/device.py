"""Probe this machine, or show a saved device profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.types import Device

app = typer.Typer(no_args_is_help=True)

WIDTH = 16


@app.command()
def probe(
    output: Annotated[Path | None, typer.Option(help="Save the profile here; target.device takes it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Measure this machine: cores, memory, compute ceilings, bandwidth, runtimes (about 10 s)."""
    import time

    from sartor.catalog.devices import local
    from sartor.cli._console import console, print_json
    from sartor.language import say
    from sartor.language.layout import labelled

    screen = console(stderr=True)
    began = time.monotonic()

    def tell(text: str, share: float | None = None) -> None:
        if share is None or (screen.is_terminal and share < 1):
            screen.print(say(text))

    device = local.probe(tell)
    seconds = time.monotonic() - began
    if output is not None:
        from sartor.catalog.devices._file import write_profile

        write_profile(output, device)
    if json:
        print_json(device)
        return
    _print(device, f"probed {seconds:.0f} s")
    if output is not None:
        console().print(labelled("Saved", f"{output}   (target.device: {output})", WIDTH))
    else:
        why = say("saves it for target.device")
        console().print(labelled("Next", f"sartor device probe --output profile.json   {why}", WIDTH))


@app.command()
def show(
    profile: Annotated[Path, typer.Argument(help="A file written by sartor device probe --output.")],
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Show a saved profile."""
    from sartor.catalog.devices._file import read_profile
    from sartor.cli._console import print_json

    device = read_profile(profile)
    if json:
        print_json(device)
        return
    _print(device, f"{device.basis} {device.probed_at}".rstrip())


def _print(device: Device, note: str) -> None:
    from sartor.catalog.devices import summary
    from sartor.cli._console import console
    from sartor.language import say
    from sartor.language.layout import labelled

    screen = console()
    runtimes = ", ".join(f"{name} {version}" for name, version in device.runtimes.items()) or say("none")
    screen.print(labelled("Device", f"{say(summary(device))}   {say(note)}", WIDTH))
    memory = say(f"{device.memory_bytes / 1e9:.1f} GB memory")
    screen.print(labelled("  processor", f"{device.name}, {memory}", WIDTH))
    screen.print(labelled("  instructions", " ".join(device.instruction_sets) or say("unknown"), WIDTH))
    for precision, ceiling in device.ceilings.items():
        rate = ceiling.operations_per_s / 1e12
        found = say(", ").join((f"{rate:.3g} Tops/s", say(device.basis), say(f"by {ceiling.by}")))
        screen.print(labelled(f"  {precision}", found, WIDTH))
    screen.print(labelled("  runtimes", runtimes, WIDTH))
    screen.print(f"  id            {device.id[:16]}")
