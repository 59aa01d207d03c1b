"""Devices known by their datasheets: every figure has a source, and what is not known is not made up."""

import json
import re

import pytest

from sartor import registry
from sartor.catalog.devices import _sheets, summary
from sartor.devices import device_of, named, nearest_names
from sartor.errors import DeviceError
from sartor.evidence import Workspace

QUOTED = registry.get("devices", "quoted")
PRODUCT = re.compile(r"(\d+) cores × ([\d.]+) GHz × (\d+) a cycle")


@pytest.mark.parametrize("name", QUOTED.names())
def test_every_sheet(name):
    sheet, device = QUOTED.sheet(name), QUOTED.profile(name)
    assert sheet.figures()
    assert device.basis == "quoted"
    assert device.name == sheet.title
    assert set(device.runtimes) <= set(registry.names("runtimes"))
    assert "quoted" in summary(device)
    for precision, figure in sheet.tops.items():
        assert device.ceilings[precision].operations_per_s == pytest.approx(figure.value * 1e12)
        if product := PRODUCT.search(figure.how):
            cores, clock, operations = map(float, product.groups())
            assert figure.value == pytest.approx(cores * clock * operations / 1e3, rel=0.01)


def test_names_are_many_and_apart():
    names = QUOTED.names()
    assert len(names) >= 40
    assert len({QUOTED.profile(name).id for name in names}) == len(names)
    assert {QUOTED.sheet(name).kind for name in names} == {
        "server", "desktop", "laptop", "gpu", "tpu", "phone", "board",
    }  # fmt: skip
    assert set(names) < set(named())


def test_what_is_not_known_is_left_out():
    assert QUOTED.profile("raspberry-pi-4").bandwidth_bytes_per_s == 0
    assert QUOTED.profile("tpu-v5e").price_per_hour_usd == 0
    assert QUOTED.profile("tpu-v5e").runtimes == {}


def test_a_device_by_its_name(tmp_path):
    device = device_of("raspberry-pi-5", Workspace(tmp_path))
    assert (device.cores, device.power_w, device.price_usd) == (4, 12, 80)
    with pytest.raises(DeviceError, match="Did you mean raspberry-pi-5 or raspberry-pi-4"):
        device_of("raspbery-pi5", Workspace(tmp_path))
    with pytest.raises(DeviceError, match="sartor device list"):
        device_of("zzz", Workspace(tmp_path))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("Raspberry Pi 5", ["raspberry-pi-5", "raspberry-pi-4"]),
        ("jetson", ["jetson-agx-orin", "jetson-orin-nano", "jetson-orin-nano-super"]),
        ("x", []),
    ],
)
def test_nearest_names(written, found):
    assert nearest_names(written, named()) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"power_w": {"value": 5, "source": "nobody"}}, "figures name the sources"),
        ({"cores": None, "power_w": {"value": 5, "source": "core"}}, "a processor needs cores"),
        ({"memory_gb": {"value": -1, "source": "core"}}, "memory_gb.value"),
        ({"colour": "green"}, "colour"),
        ({"sources": {"core": {"url": "somewhere", "read": "2026-11-23"}}}, "sources.core.url"),
    ],
)
def test_a_sheet_with_something_wrong_is_refused(tmp_path, monkeypatch, change, words):
    plain = {
        "title": "X", "kind": "board", "processor": "1 core", "cores": {"value": 1, "source": "core"},
        "sources": {"core": {"url": "https://x.org", "read": "2026-11-23"}},
    }  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(plain | change))
    monkeypatch.setattr(_sheets, "FOLDER", tmp_path)
    _sheets.sheet.cache_clear()
    with pytest.raises(DeviceError, match=words) as error:
        _sheets.sheet("x")
    assert "\n" not in str(error.value)
    _sheets.sheet.cache_clear()
