"""``sartor check``: is the data sound, can this be met, where, what will it cost; in seconds, as estimates."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def command(
    requirement: Annotated[Path, typer.Argument(help="A requirement: YAML or JSON.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="E.g. limits.latency_p95_ms.max=3")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Instead of target.device: local, a name of sartor device list, a profile. Several: ranked."),
    ] = None,
    price_per_hour: Annotated[
        list[str] | None, typer.Option(help="Dollars an hour of the devices, or of one: 0.5 or l4=0.8.")
    ] = None,
    workspace: Annotated[Path, typer.Option(help="Where evidence is kept.")] = Path(".sartor"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> int:  # fmt: skip
    """Say in seconds what may fit, on which device, and what the run would cost, by estimate; nothing is trained.

    Exit codes: 0 may be met, 2 no candidate can fit on any device, 1 error.
    """
    from sartor.check import check
    from sartor.cli._console import EXIT_INFEASIBLE, EXIT_MET, console, print_json
    from sartor.cli._outlook import compared, ended, told
    from sartor.cli._progress import Progress
    from sartor.language import say
    from sartor.outlook import ranked
    from sartor.run import Silence, place_of
    from sartor.stages.requirement import read_requirement

    devices = [_address(written) for written in device or ()]
    asked = read_requirement(requirement, overrides or ())
    prices = _prices(price_per_hour or (), devices or [asked.target.device])
    place = place_of(asked, workspace, Path("runs"))
    shown = replace(asked.target, device=devices[0] if len(devices) == 1 else say(f"{len(devices)} devices"))
    heard = Progress(replace(asked, target=shown) if devices else asked)
    with nullcontext(Silence()) if json else heard as observer:
        found = ranked(check(asked, place, observer, devices, prices))
    if json:
        print_json(found[0] if len(found) == 1 else found)
    else:
        out = console()
        lines = told(found[0]) if len(found) == 1 else compared(found)
        for line in [*lines, *ended(found, requirement)]:
            out.print(line)
    return EXIT_INFEASIBLE if all(one.verdict == "impossible" for one in found) else EXIT_MET


def _address(written: str) -> str:
    """A device as ``target.device`` takes it; a profile's path may be relative to the current folder."""
    from sartor import devices
    from sartor.errors import DeviceError

    if written in devices.named() or "://" in written:
        return written
    path = Path(written).expanduser()
    if path.suffix == ".json" or path.exists():
        return str(path.absolute())
    raise DeviceError(f"--device {written!r} is no device. {devices.hint(written)}")


def _prices(written: list[str] | tuple[()], devices: list[str]) -> dict[str, float]:
    """Dollars an hour by device, under "" for all."""
    from sartor.errors import SartorError

    prices = {}
    for text in written:
        name, _, number = text.rpartition("=")
        try:
            price = float(number)
        except ValueError:
            price = -1.0
        if not 0 <= price < 1e6:
            raise SartorError(f"--price-per-hour {text!r} is no price; give dollars an hour, such as 0.5 or l4=0.8")
        if name and name not in devices:
            raise SartorError(f"--price-per-hour {text!r}: {name} is none of the devices asked: {', '.join(devices)}")
        prices[name] = price
    return prices
