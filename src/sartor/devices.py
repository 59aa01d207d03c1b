"""The device behind an address, with the profile of this machine kept so that it is probed once."""

from __future__ import annotations

import json
from typing import Any

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
        if not kind.accepts(address):
            continue
        identify = getattr(kind, "identify", None)
        return _kept(kind, workspace, tell) if identify else kind.profile(address)
    raise DeviceError(f'target.device {address!r} is neither "local" nor the path of a profile (sartor device probe)')


def _kept(kind: Any, workspace: Workspace, tell: Tell) -> Device:
    path = workspace.root / "devices" / f"{kind.identify().id}.json"
    if path.is_file():
        return from_plain(Device, json.loads(path.read_text()))  # type: ignore[no-any-return]
    device: Device = kind.probe(tell)
    write_json(workspace.root / "devices" / f"{device.id}.json", device)
    return device
