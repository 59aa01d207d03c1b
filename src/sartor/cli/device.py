"""Probe and calibrate this machine; list and show devices known by their datasheets, or saved profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sartor.catalog.devices._sheets import Sheet
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
def calibrate(
    time: Annotated[str, typer.Option(help="At most so long; what was timed before is not timed again.")] = "10m",
    workspace: Annotated[Path, typer.Option(help="Holds the device's profile.")] = Path(".sartor"),
    json: Annotated[bool, typer.Option("--json", help="Print what was learnt as JSON.")] = False,
) -> None:
    """Time made-up graphs in every runtime here, so that check and run estimate latencies well (10 min at most)."""
    from sartor.calibration import calibrate_device
    from sartor.cli._console import console, print_json
    from sartor.errors import SartorError
    from sartor.evidence import Workspace
    from sartor.language import say
    from sartor.language.layout import labelled
    from sartor.report.figures import duration
    from sartor.report.words import aligned
    from sartor.stages.requirement.units import parse_duration

    screen = console(stderr=True)

    def tell(text: str, share: float | None = None) -> None:
        if screen.is_terminal:
            screen.print(say(text) if share is None else f"{share:4.0%}  {say(text)}")

    try:
        seconds = parse_duration(time)
    except ValueError as error:
        raise SartorError(f"--time {time!r}: {error}") from None
    found = calibrate_device(Workspace(workspace), seconds=seconds, tell=tell)
    if json:
        print_json(found)
        return
    out = console()
    out.print(labelled("Calibrated", say(f"{found.graphs} timings, {duration(found.seconds)}"), WIDTH))
    head = ("runtime", "precision", "threads", "graphs", "mean error", "95 % within")
    rows = []
    for name, speed in sorted(found.of.items()):
        within = f"{speed.shorter:.2f} … {speed.longer:.2f} ×"
        rows.append((*name.split(), str(speed.graphs), f"{speed.error:.0%}", within))
    for line in aligned([tuple(say(word) for word in head), *rows], indent="  "):
        out.print(line)
    out.print(say("Errors are of families of networks left out; sartor check and sartor run use these from now on."))


@app.command(name="list")
def listed(
    kind: Annotated[str, typer.Option(help="Only these: server, desktop, laptop, gpu, tpu, phone or board.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the devices known by their datasheets: any name can stand in target.device and sartor check --device."""
    from sartor import registry
    from sartor.cli._console import console, print_json
    from sartor.errors import SartorError
    from sartor.language import say
    from sartor.report.words import aligned

    quoted = registry.get("devices", "quoted")
    sheets = {name: quoted.sheet(name) for name in quoted.names()}
    kinds = list(dict.fromkeys(sheet.kind for sheet in sorted(sheets.values(), key=_order)))
    if kind and kind not in kinds:
        raise SartorError(f"--kind {kind!r} is none of: {', '.join(kinds)}")
    shown = {name: sheet for name, sheet in sheets.items() if kind in ("", sheet.kind)}
    if json:
        print_json({name: {"title": sheet.title, "kind": sheet.kind} for name, sheet in shown.items()})
        return
    head = ("name", "kind", "device", "fp32 Tops/s", "GB/s", "W", "USD", "USD/h")
    rows = [
        (name, say(sheet.kind), sheet.title, *(_figure(sheet, key) for key in _COLUMNS))
        for name, sheet in sorted(shown.items(), key=lambda item: (_order(item[1]), item[0]))
    ]
    for line in aligned([tuple(say(word) for word in head), *rows], indent=""):
        console().print(line)
    console().print(say("Quoted from datasheets; sources: sartor device show NAME"))


@app.command()
def show(
    device: Annotated[str, typer.Argument(help="A name of sartor device list, or a file that a probe wrote.")],
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Show a device known by its datasheet, every figure with its source, or a saved profile."""
    from sartor import devices, registry
    from sartor.catalog.devices._file import read_profile
    from sartor.cli._console import print_json
    from sartor.errors import DeviceError

    quoted = registry.get("devices", "quoted")
    known = quoted.accepts(device)
    path = Path(device).expanduser()
    if not known and path.suffix != ".json" and not path.exists():
        raise DeviceError(f"{device!r} is no device. {devices.hint(device)}")
    found = quoted.profile(device) if known else read_profile(path)
    if json:
        print_json(found)
        return
    if known:
        _print_sheet(found, quoted.sheet(device))
    else:
        _print(found, f"{found.basis} {found.probed_at}".rstrip())


_COLUMNS = ("fp32_tops", "bandwidth_gb_s", "power_w", "price_usd", "price_per_hour_usd")
_KINDS = ("server", "desktop", "laptop", "gpu", "tpu", "phone", "board")


def _order(sheet: Sheet) -> int:
    return _KINDS.index(sheet.kind)


def _figure(sheet: Sheet, key: str) -> str:
    figure = sheet.figures().get(key)
    if figure is None:
        return "–"
    return f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.4g}"


def _print_sheet(device: Device, sheet: Sheet) -> None:
    """Every figure, how it comes about, and where it was read."""
    from sartor.catalog.devices import summary
    from sartor.cli._console import console
    from sartor.language import say
    from sartor.language.layout import labelled
    from sartor.report.words import aligned

    screen = console()
    screen.print(labelled("Device", f"{sheet.title}: {say(summary(device))}", WIDTH))
    screen.print(labelled("  processor", sheet.processor, WIDTH))
    if sheet.beside:
        screen.print(labelled("  beside", sheet.beside, WIDTH))
    if device.instruction_sets:
        screen.print(labelled("  instructions", " ".join(device.instruction_sets), WIDTH))
    screen.print(labelled("  runtimes", ", ".join(sheet.runtimes) or "none of the catalogue's", WIDTH))
    screen.print(say("Figures"))
    rows = [(key, f"{f.value:,g}", f"[{f.source}]", f.how) for key, f in sheet.figures().items()]
    for line in aligned(rows):
        screen.print(line)
    screen.print(say("Sources"))
    for name, source in sheet.sources.items():
        copied = f", {say('which quotes')} {source.quotes}" if source.quotes else ""
        screen.print(f"  [{name}] {source.url}{copied} ({say('read')} {source.read})")


def _print(device: Device, note: str) -> None:
    from sartor.catalog.devices import summary
    from sartor.cli._console import console
    from sartor.language import say
    from sartor.language.layout import labelled

    screen = console()
    runtimes = ", ".join(f"{name} {version}" for name, version in device.runtimes.items()) or say("none")
    screen.print(labelled("Device", f"{say(summary(device))}   {say(note)}", WIDTH))
    memory = say(f"{device.memory_bytes / 1e9:.1f} GB memory") if device.memory_bytes else say("memory unknown")
    screen.print(labelled("  processor", f"{device.name}, {memory}", WIDTH))
    if device.kind == "cpu":
        screen.print(labelled("  instructions", " ".join(device.instruction_sets) or say("unknown"), WIDTH))
    for precision, ceiling in device.ceilings.items():
        rate = ceiling.operations_per_s / 1e12
        found = say(", ").join((f"{rate:.3g} Tops/s", say(device.basis), say(f"by {ceiling.by}")))
        screen.print(labelled(f"  {precision}", found, WIDTH))
    screen.print(labelled("  runtimes", runtimes, WIDTH))
    screen.print(f"  id            {device.id[:16]}")
