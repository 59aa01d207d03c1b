"""Probe this machine, or show a saved device profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.types import Device

app = typer.Typer(no_args_is_help=True)


@app.command()
def probe(
    output: Annotated[Path | None, typer.Option(help="Save the profile here; target.device takes it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Measure this machine: cores, memory, compute ceilings, bandwidth, runtimes (about 10 s)."""
    import time

    from sartor.catalog.devices import local
    from sartor.cli._console import console, print_json

    screen = console(stderr=True)
    began = time.monotonic()

    def tell(text: str, share: float | None = None) -> None:
        if share is None or (screen.is_terminal and share < 1):
            screen.print(text)

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
        console().print(f"Saved           {output}   (target.device: {output})")
    else:
        console().print("Next            sartor device probe --output profile.json   saves it for target.device")


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

    screen = console()
    runtimes = ", ".join(f"{name} {version}" for name, version in device.runtimes.items()) or "none"
    screen.print(f"Device          {summary(device)}   {note}")
    screen.print(f"  processor     {device.name}, {device.memory_bytes / 1e9:.1f} GB memory")
    screen.print(f"  instructions  {' '.join(device.instruction_sets) or 'unknown'}")
    for precision, ceiling in device.ceilings.items():
        rate = ceiling.operations_per_s / 1e12
        screen.print(f"  {precision:<12}  {rate:.3g} Tops/s, {device.basis}, by {ceiling.by}")
    screen.print(f"  runtimes      {runtimes}")
    screen.print(f"  id            {device.id[:16]}")
