"""Saved profiles: what is written is read again, and everything else gets one sentence."""

import json

import pytest

from sartor import registry
from sartor.catalog.devices import summary
from sartor.catalog.devices._file import read_profile, write_profile
from sartor.codec import to_plain
from sartor.errors import DeviceError
from sartor.types import Ceiling, Device

DEVICE = Device(
    id="a" * 64,
    name="Xeon",
    cores=2,
    memory_bytes=24_000_000_000,
    instruction_sets=("amx_int8", "avx2", "avx512f"),
    ceilings={"fp32": Ceiling(3.5e11, "openvino"), "int8": Ceiling(3.2e12, "openvino"), "bf16": Ceiling(2.3e12, "x")},
    bandwidth_bytes_per_s=2.5e10,
    runtimes={"onnxruntime": "1.30.0"},
    probed_at="2026-11-23T12:00:00+00:00",
)


def test_round_trip(tmp_path):
    write_profile(tmp_path / "device.json", DEVICE)
    assert read_profile(tmp_path / "device.json") == DEVICE
    assert registry.get("devices", "profile").profile(str(tmp_path / "device.json")) == DEVICE


def test_what_need_not_be_said(tmp_path):
    plain = to_plain(DEVICE)
    for key in ("basis", "probed_at", "probe_seconds", "accelerators"):
        del plain[key]
    (tmp_path / "d.json").write_text(json.dumps(plain | {"bandwidth_bytes_per_s": 25_000_000_000}))
    assert read_profile(tmp_path / "d.json").bandwidth_bytes_per_s == 2.5e10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coers": 2}, "Did you mean cores"),
        ({"zzz": 2}, "The keys are: id"),
        ({"cores": 0}, "cores is 0; it must be a whole number greater than 0"),
        ({"cores": 1.5}, "a whole number"),
        ({"cores": True}, "a whole number"),
        ({"memory_bytes": "24 GB"}, 'memory_bytes is "24 GB"'),
        ({"bandwidth_bytes_per_s": -1}, "a number greater than 0"),
        ({"bandwidth_bytes_per_s": None}, "bandwidth_bytes_per_s is null"),
        ({"instruction_sets": "avx2"}, "a list of names"),
        ({"instruction_sets": [1]}, "a list of names"),
        ({"ceilings": []}, "a mapping such as"),
        ({"ceilings": {"fp32": 3e11}}, "a mapping such as"),
        ({"ceilings": {"fp32": {"operations_per_s": 3e11}}}, "a mapping such as"),
        ({"ceilings": {"fp32": {"operations_per_s": "fast", "by": "x"}}}, "a mapping such as"),
        ({"runtimes": {"onnxruntime": 1.3}}, "names to versions"),
        ({"basis": "guessed"}, "measured or quoted"),
        ({"name": 5}, "name is 5; it must be a text"),
    ],
)
def test_bad_values_get_one_sentence(tmp_path, change, words):
    path = tmp_path / "d.json"
    path.write_text(json.dumps(to_plain(DEVICE) | change))
    with pytest.raises(DeviceError) as error:
        read_profile(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "not a mapping"),
        (b'{"cores": 2}', "memory_bytes"),
        (b'{"cores": Infinity}', "missing"),
        (b" " * (2 << 20), "bytes; a device profile has about"),
    ],
    ids=["empty", "cut", "binary", "deep", "list", "incomplete", "infinite", "large"],
)
def test_files_that_are_no_profile(tmp_path, content, words):
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(DeviceError, match=words):
        read_profile(tmp_path / "d.json")


def test_infinite_rates_are_refused(tmp_path):
    text = json.dumps(to_plain(DEVICE)).replace("25000000000.0", "Infinity")
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DeviceError, match="bandwidth_bytes_per_s"):
        read_profile(tmp_path / "d.json")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DeviceError, match="does not exist"):
        read_profile(tmp_path / "none.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(DeviceError, match="cannot be read"):
        read_profile(tmp_path / "folder.json")


def test_addresses():
    kind = registry.get("devices", "profile")
    assert kind.accepts("pi5.json")
    assert kind.accepts("/a/b.json")
    assert not kind.accepts("local")
    assert not kind.accepts("http://device/profile.json")


def test_one_line_for_people():
    assert summary(DEVICE) == "2 cores, AVX-512 + AMX · fp32 0.35, bf16 2.3, int8 3.2 Tops/s · 25 GB/s"


def test_one_line_for_a_quoted_board():
    board = Device("b", "Pi 5", 1, 1, ("neon",), {}, 0.0, {}, basis="quoted", accelerators=("Hailo-8",))
    assert summary(board) == "1 core, NEON · Hailo-8 (quoted)"
