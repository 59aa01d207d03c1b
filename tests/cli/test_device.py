"""sartor device, as typed."""

import json

import pytest

from sartor.catalog.devices import local
from sartor.catalog.devices._file import read_profile
from sartor.cli import main
from sartor.types import Ceiling, Device

DEVICE = Device(
    id="f" * 64, name="Xeon", cores=2, memory_bytes=24_000_000_000, instruction_sets=("avx512f",),
    ceilings={"fp32": Ceiling(3.5e11, "openvino")}, bandwidth_bytes_per_s=2.5e10, runtimes={"onnxruntime": "1.30.0"},
)  # fmt: skip


@pytest.fixture
def sartor(monkeypatch, capsys):
    """Runs a command line; gives exit code, output and errors."""

    def probe(tell):
        tell("probing onnxruntime", 0.5)
        tell("openvino does not work on this machine: signal 11")
        return DEVICE

    monkeypatch.setattr(local, "probe", probe)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["sartor", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def test_probe_for_people(sartor):
    code, out, errors = sartor("device", "probe")
    assert code == 0
    assert "2 cores, AVX-512 · fp32 0.35 Tops/s · 25 GB/s   probed 0 s" in out
    assert "onnxruntime 1.30.0" in out
    assert "sartor device probe --output profile.json" in out
    assert "openvino does not work" in errors
    assert "probing" not in errors  # progress is for a terminal


def test_probe_for_programs_and_save(sartor, tmp_path):
    code, out, _ = sartor("device", "probe", "--json", "--output", tmp_path / "p.json")
    assert code == 0
    assert json.loads(out)["ceilings"]["fp32"]["operations_per_s"] == 3.5e11
    assert read_profile(tmp_path / "p.json") == DEVICE


def test_show(sartor, tmp_path):
    sartor("device", "probe", "--output", tmp_path / "p.json")
    code, out, _ = sartor("device", "show", tmp_path / "p.json")
    assert code == 0
    assert "AVX-512" in out
    code, out, _ = sartor("device", "show", tmp_path / "p.json", "--json")
    assert json.loads(out)["name"] == "Xeon"


def test_show_what_is_not_there(sartor, tmp_path):
    code, out, errors = sartor("device", "show", tmp_path / "none.json")
    assert code == 1
    assert out == ""
    assert errors.count("\n") == 1
    assert "does not exist" in errors


def test_list_and_show_of_datasheets(sartor):
    code, out, _ = sartor("device", "list", "--kind", "board")
    assert code == 0
    assert "raspberry-pi-5" in out
    assert "epyc" not in out
    assert "epyc-9654" in json.loads(sartor("device", "list", "--json")[1])
    code, out, _ = sartor("device", "show", "raspberry-pi-5")
    assert code == 0
    assert "fp32_tops" in out
    assert "https://" in out
    assert json.loads(sartor("device", "show", "l4", "--json")[1])["basis"] == "quoted"
    code, _, errors = sartor("device", "show", "raspbery-pi-5")
    assert code == 1
    assert "Did you mean raspberry-pi-5" in errors


def test_saving_where_nothing_can_be_written(sartor, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, errors = sartor("device", "probe", "--output", tmp_path / "file" / "p.json")
    assert code == 1
    assert "Traceback" not in errors
