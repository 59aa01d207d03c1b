"""The local device: a stable identity, and a probe that no runtime can bring down."""

import json
import sys

import pytest

from sartor import registry
from sartor.catalog.devices import local
from sartor.codec import from_plain, to_plain
from sartor.errors import DeviceError, MissingExtra
from sartor.types import Device


def test_identity_is_the_same_every_time():
    first = local.identify()
    assert local.identify() == first
    assert len(first.id) == 64
    assert first.ceilings == {}
    assert "onnxruntime" in first.runtimes


def test_identity_loads_no_runtime(tmp_path):
    import subprocess

    code = (
        "import sys; from sartor.catalog.devices.local import identify; identify(); "
        "assert not {'torch', 'onnxruntime', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("processor", lambda: ("Another CPU", local.identify().instruction_sets)),
        ("usable_cores", lambda: 977),
        ("accelerators", lambda: ("NVIDIA H200",)),
    ],
)
def test_what_matters_for_speed_changes_the_identity(monkeypatch, place, value):
    before, given = local.identify().id, value()
    monkeypatch.setattr(local._machine, place, lambda: given)
    assert local.identify().id != before


def test_a_little_memory_more_or_less_does_not(monkeypatch):
    before = local.identify().id
    monkeypatch.setattr(local._machine, "usable_memory_bytes", lambda: 1)
    assert local.identify().id == before


def test_versions_of_shipping_runtimes_count_and_those_of_the_reference_do_not(monkeypatch):
    versions = {"onnxruntime": "1.0", "torch": "1.0"}
    monkeypatch.setattr(local, "_installed_runtimes", lambda: dict(versions))
    before = local.identify()
    versions["torch"] = "2.0"
    assert local.identify().id == before.id
    assert local.identify().runtimes["torch"] == "2.0"
    versions["onnxruntime"] = "1.1"
    assert local.identify().id != before.id


def test_a_runtime_under_another_package_name_is_asked_itself(monkeypatch):
    def missing(name):
        raise local.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(local.metadata, "version", missing)
    found = local._installed_runtimes()
    assert found["onnxruntime"] == registry.get("runtimes", "onnxruntime").version()

    def absent():
        raise MissingExtra("x", "y")

    monkeypatch.setattr(registry.get("runtimes", "onnxruntime"), "version", absent, raising=False)
    assert "onnxruntime" not in local._installed_runtimes()


GOOD = {"rates": {"fp32": 3e11, "int8": 1e12}, "problems": ["x in bf16: NO_BF16"]}
BETTER = {"rates": {"int8": 4e12, "bf16": 2e12}, "problems": []}


def probe_with(monkeypatch, **answers):
    """A probe whose children answer as given; what was told."""
    told = []
    monkeypatch.setattr(local, "_in_child", lambda part, device: answers[part])
    monkeypatch.setattr(local, "_installed_runtimes", lambda: {"onnxruntime": "1", "openvino": "2", "torch": "3"})
    return local.probe(lambda text, share=None: told.append(text)), told


def test_ceilings_are_the_best_over_runtimes_and_say_whose(monkeypatch):
    device, told = probe_with(
        monkeypatch, bandwidth={"bytes_per_s": 2e10}, onnxruntime=GOOD, openvino=BETTER,
        torch={"rates": {}, "problems": []},
    )  # fmt: skip
    ceilings = {name: (found.operations_per_s, found.by) for name, found in device.ceilings.items()}
    assert ceilings == {"fp32": (3e11, "onnxruntime"), "int8": (4e12, "openvino"), "bf16": (2e12, "openvino")}
    assert device.bandwidth_bytes_per_s == 2e10
    assert device.runtimes == {"onnxruntime": "1", "openvino": "2", "torch": "3"}
    assert device.basis == "measured"
    assert device.probed_at
    assert device.id == local.identify().id
    assert "x in bf16: NO_BF16" in told
    assert from_plain(Device, json.loads(json.dumps(to_plain(device)))) == device


def test_a_runtime_that_does_not_run_is_left_out_and_told(monkeypatch):
    crash = {"error": "it was ended by signal 11"}
    device, told = probe_with(monkeypatch, bandwidth=crash, onnxruntime=GOOD, openvino=crash, torch=crash)
    assert list(device.runtimes) == ["onnxruntime"]
    assert device.bandwidth_bytes_per_s == 0
    assert "openvino does not work on this machine: it was ended by signal 11" in told


@pytest.mark.parametrize(("percent", "warned"), [(5.0, False), (80.0, True)])
def test_a_busy_machine_is_told(monkeypatch, percent, warned):
    monkeypatch.setattr(local.psutil, "cpu_percent", lambda interval: percent)
    _, told = probe_with(
        monkeypatch, bandwidth={"bytes_per_s": 2e10}, onnxruntime=GOOD, openvino=BETTER, torch={"error": "x"}
    )
    assert any("% busy with other work" in text for text in told) is warned


def test_without_any_shipping_runtime_there_is_no_device(monkeypatch):
    broken = {"error": "broken"}
    with pytest.raises(DeviceError, match="no runtime works"):
        probe_with(
            monkeypatch, bandwidth=broken, onnxruntime=broken, openvino=broken, torch={"rates": {}, "problems": []}
        )


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Makes the probe's child processes run a shell script."""

    def use(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(local.sys, "executable", str(path))
        return local._in_child("anything", local.identify())

    return use


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -SEGV $$", "ended by signal 11"),
        ("echo ImportError: libfoo.so >&2; exit 1", "libfoo.so"),
        ("exit 3", "exit code 3"),
        ("echo not json", "exit code 0"),
        ("echo '[1]'", "exit code 0"),
        ("echo '{}'; exit 1", "exit code 1"),
    ],
)
def test_a_child_that_fails_becomes_a_sentence(child, script, words):
    assert words in child(script)["error"]


def test_a_child_may_chatter_before_its_answer(child):
    assert child("echo loading...; echo '{\"bytes_per_s\": 5}'") == {"bytes_per_s": 5}


def test_a_child_that_hangs_is_ended(child, monkeypatch):
    monkeypatch.setattr(local, "CHILD_SECONDS", 0.2)
    assert "no answer within" in child("exec sleep 30")["error"]


def test_a_child_that_cannot_start(monkeypatch):
    monkeypatch.setattr(local.sys, "executable", "/no/such/python")
    assert "no process" in local._in_child("bandwidth", local.identify())["error"]


def test_a_file_in_the_working_folder_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(tmp_path)
    found = local._in_child("no-such-runtime", local.identify())
    assert "is not among the runtimes" in found["error"]


def test_the_catalogue_knows_it():
    kind = registry.get("devices", "local")
    assert kind.accepts("local")
    assert not kind.accepts("local.json")
    assert kind.identify() == local.identify()


@pytest.mark.slow
def test_a_real_probe():
    device = registry.get("devices", "local").profile("local")
    assert device.id == local.identify().id
    assert 1e9 < device.ceilings["fp32"].operations_per_s < 1e15
    assert 1e8 < device.bandwidth_bytes_per_s < 1e13
    assert "onnxruntime" in device.runtimes
