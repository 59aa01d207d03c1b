"""The device behind an address, with the profile of this machine kept so that it is probed once."""

from __future__ import annotations

import json

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
    raise DeviceError(f'target.device {address!r} is neither "local" nor the path of a profile (sartor device probe)')


def _this_machine(workspace: Workspace, tell: Tell) -> Device:
    from sartor.catalog.devices.local import identify, probe

    path = workspace.root / "devices" / f"{identify().id}.json"
    if path.is_file():
        return from_plain(Device, json.loads(path.read_text()))  # type: ignore[no-any-return]
    device = probe(tell)
    write_json(workspace.root / "devices" / f"{device.id}.json", device)
    return device
