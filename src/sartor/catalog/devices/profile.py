"""A device known from a saved profile: probed elsewhere, or quoted from a datasheet."""

from __future__ import annotations

from pathlib import Path

from sartor.catalog.devices._file import read_profile
from sartor.registry import register
from sartor.types import Device


@register("devices", "profile")
class Profile:
    """``target.device`` is the path of a JSON file written by ``sartor device probe --output``."""

    name: str

    def accepts(self, address: str) -> bool:
        """True for a path that ends in ``.json``."""
        return "://" not in address and address.endswith(".json")

    def profile(self, address: str) -> Device:
        """The device in the file; raise ``DeviceError`` when it is not a profile."""
        return read_profile(Path(address).expanduser())
