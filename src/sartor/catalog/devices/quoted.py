"""Devices by their datasheets: estimates without any calibration, and nothing that could accept a candidate."""

from __future__ import annotations

from sartor.catalog.devices._sheets import Sheet, device_of_sheet, names, sheet
from sartor.registry import register
from sartor.types import Device


@register("devices", "quoted")
class Quoted:
    """``target.device`` is the name of a datasheet that comes with Sartor, such as ``raspberry-pi-5``."""

    name: str

    def accepts(self, address: str) -> bool:
        """True for the name of a datasheet."""
        return address in names()

    def profile(self, address: str) -> Device:
        """What the datasheet says, labelled ``quoted``."""
        return device_of_sheet(address)

    def names(self) -> tuple[str, ...]:
        """Every address it takes."""
        return names()

    def sheet(self, address: str) -> Sheet:
        """The figures with their sources."""
        return sheet(address)
