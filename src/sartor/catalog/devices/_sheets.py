"""Datasheets of devices: one JSON file each in ``sheets/``; every figure names the source it was read in.

A figure for which no source was found is left out; estimates are wider then. Figures are what the maker, or who
measured the bare processor, gives as the most: nothing of a network was measured.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sartor.codec import digest
from sartor.errors import DeviceError
from sartor.types import Ceiling, Device

FOLDER = Path(__file__).parent / "sheets"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Form):
    """Where figures were read, and when; ``quotes`` names the page that the source copies."""

    url: str = Field(pattern="^https?://")
    read: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    quotes: str = ""


class Figure(_Form):
    """A number, the key of its source, and how it comes about where it was not read as it stands."""

    value: float = Field(gt=0)
    source: str
    how: str = ""


class Sheet(_Form):
    """What is publicly known of a device.

    Args:
        title: its full name.
        kind: what it is bought as.
        runs: what computes: the processor's cores, or a card.
        processor: cores and clocks, in words.
        tops: precision to the most tera-operations per second, without sparsity.
        power_w: the most it draws, or its thermal design power.
        beside: what else is in it that no runtime of the catalogue uses.
        runtimes: those of the catalogue that exist there.
    """

    title: str
    kind: Literal["server", "desktop", "laptop", "gpu", "tpu", "phone", "board"]
    runs: Literal["cpu", "gpu", "tpu"] = "cpu"
    processor: str
    cores: Figure | None = None
    memory_gb: Figure | None = None
    bandwidth_gb_s: Figure | None = None
    tops: dict[str, Figure] = Field(default_factory=dict)
    instruction_sets: tuple[str, ...] = ()
    power_w: Figure | None = None
    price_usd: Figure | None = None
    price_per_hour_usd: Figure | None = None
    beside: str = ""
    runtimes: tuple[str, ...] = ()
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _all_sourced(self) -> Self:
        named = {figure.source for figure in self.figures().values()}
        if named != set(self.sources):
            raise ValueError(f"figures name the sources {sorted(named)}, but there are {sorted(self.sources)}")
        if self.runs == "cpu" and self.cores is None:
            raise ValueError("a processor needs cores")
        return self

    def figures(self) -> dict[str, Figure]:
        """Every figure that is known, by its name."""
        single = ("cores", "memory_gb", "bandwidth_gb_s", "power_w", "price_usd", "price_per_hour_usd")
        known = {name: getattr(self, name) for name in single if getattr(self, name) is not None}
        return known | {f"{precision}_tops": figure for precision, figure in self.tops.items()}


@cache
def names() -> tuple[str, ...]:
    """Names of all sheets, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


@cache
def sheet(name: str) -> Sheet:
    """The sheet of a name among ``names()``.

    Raises:
        DeviceError: the file is not a sheet.
    """
    file = FOLDER / f"{name}.json"
    try:
        return Sheet.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the sheet"
        raise DeviceError(f"{file}: {where}: {first['msg']}") from error


def device_of_sheet(name: str) -> Device:
    """The device that a sheet describes, with basis ``quoted``."""
    known = sheet(name)
    plain = known.model_dump(exclude={"sources"})
    return Device(
        id=digest({"sheet": name, "figures": plain}),
        name=known.title,
        cores=int(known.cores.value) if known.cores else 1,
        memory_bytes=int(known.memory_gb.value * 1e9) if known.memory_gb else 0,
        instruction_sets=tuple(sorted(known.instruction_sets)),
        ceilings={
            precision: Ceiling(figure.value * 1e12, figure.how or "datasheet")
            for precision, figure in sorted(known.tops.items())
        },
        bandwidth_bytes_per_s=known.bandwidth_gb_s.value * 1e9 if known.bandwidth_gb_s else 0.0,
        runtimes=dict.fromkeys(known.runtimes, "any"),
        basis="quoted",
        probed_at="",
        kind=known.runs,
        power_w=known.power_w.value if known.power_w else 0.0,
        price_usd=known.price_usd.value if known.price_usd else 0.0,
        price_per_hour_usd=known.price_per_hour_usd.value if known.price_per_hour_usd else 0.0,
    )
