"""The device behind an address, with the profile of this machine kept so that it is probed once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

from sartor import registry
from sartor.codec import from_plain
from sartor.errors import DeviceError
from sartor.evidence import Workspace, write_json
from sartor.progress import Tell, silent
from sartor.types import Device


def device_of(address: str, workspace: Workspace, tell: Tell = silent) -> Device:
    """The device that ``target.device`` names.

    The local machine is identified in milliseconds and probed only when no profile of it is kept.

    Raises:
        DeviceError: no kind of device takes the address, or nothing is behind it.
    """
    for kind in registry.every("devices"):
        if kind.accepts(address):
            return _this_machine(workspace, tell) if address == "local" else kind.profile(address)
    raise DeviceError(f"target.device {address!r} is no device. {hint(address)}")


def named() -> tuple[str, ...]:
    """Every device that is known by its name: ``local``, and the datasheets."""
    kinds = registry.every("devices")
    return ("local", *sorted({name for kind in kinds if hasattr(kind, "names") for name in kind.names()}))


def price_note(address: str) -> str:
    """What the price of a device is for, where its kind knows: the processor alone, which instance of which cloud."""
    for kind in registry.every("devices"):
        if hasattr(kind, "sheet") and kind.accepts(address):
            sheet = kind.sheet(address)
            figure = sheet.price_per_hour_usd or sheet.price_usd
            return str(figure.how) if figure else ""
    return ""


def hint(written: str) -> str:
    """What would be right where a device was not understood; the nearest names first."""
    near = nearest_names(written, named())
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return "It is local, a name that sartor device list shows, or the path of a profile (sartor device probe)"


def nearest_names(written: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Names spelled alike, or else those that hold what was written; the nearest first.

    Example:
        >>> nearest_names("raspbery-pi-5", ["l4", "raspberry-pi-4", "raspberry-pi-5"])
        ['raspberry-pi-5', 'raspberry-pi-4']
    """
    word, known = written.strip().lower().replace(" ", "-").replace("_", "-"), list(names)
    alike = difflib.get_close_matches(word, known, n=most, cutoff=0.7)
    return alike or [name for name in known if len(word) > 1 and word in name][:most]


def _this_machine(workspace: Workspace, tell: Tell) -> Device:
    from sartor.catalog.devices.local import identify, probe

    path = workspace.root / "devices" / f"{identify().id}.json"
    if path.is_file():
        return from_plain(Device, json.loads(path.read_text()))  # type: ignore[no-any-return]
    device = probe(tell)
    write_json(workspace.root / "devices" / f"{device.id}.json", device)
    return device
