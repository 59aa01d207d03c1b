"""Energy: the counters of Linux as a machine with them would show them, and what a machine without them says."""

from __future__ import annotations

import threading
import time

import pytest

from sartor.energy import PLACE, Meter, counters

RANGE = 262_143_328_850


def zone(root, name, kind, microjoules, wraps=RANGE):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps}\n")
    return folder / "energy_uj"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two packages, a part of one, the same package by another way, and the whole board."""
    root = tmp_path / "powercap"
    found = [zone(root, "intel-rapl:0", "package-0", 1_000_000), zone(root, "intel-rapl:1", "package-1", 5_000_000)]
    zone(root, "intel-rapl:0:0", "core", 400)
    zone(root, "intel-rapl:2", "psys", 9_000)
    zone(root, "intel-rapl-mmio:0", "package-0", 1_000_000)
    monkeypatch.setenv(PLACE, str(root))
    return found


def test_packages_are_counted_once(machine):
    assert [counter.path for counter in counters()] == machine
    meter = Meter()
    machine[0].write_text("3500000\n")
    machine[1].write_text("5250000\n")
    assert meter.joules() == pytest.approx(2.75)
    meter.restart()
    assert meter.joules() == 0.0


def test_a_counter_that_began_again_is_followed(machine):
    machine[0].write_text(f"{RANGE - 999_999}\n")
    meter = Meter()
    machine[0].write_text("1000000\n")
    assert meter.joules() == pytest.approx(2.0)


def test_what_cannot_be_read_is_no_counter(tmp_path, monkeypatch):
    monkeypatch.setenv(PLACE, str(tmp_path / "nothing"))
    assert counters() == ()
    assert not Meter()
    assert Meter().joules() == 0.0
    broken = zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 1)
    broken.write_text("busy")
    monkeypatch.setenv(PLACE, str(tmp_path / "powercap"))
    assert counters() == ()


def draw(path, watts, over):
    """What the counter of a package that draws so many watts does."""
    began = time.monotonic()
    while not over.wait(0.002):
        part = path.with_suffix(".part")
        part.write_text(f"{round((time.monotonic() - began) * watts * 1e6)}\n")
        part.replace(path)


def test_a_timed_package_is_metered(tmp_path, monkeypatch):
    from sartor.evidence import Workspace
    from sartor.jobs import MeasureJob, PrepareJob
    from sartor.stages.data import prepare, stamp
    from sartor.stages.measure import measure
    from sartor.testing.runtimes import write_example_onnx
    from sartor.testing.tiny_package import picture
    from sartor.types import DataSource, Pipeline

    for label in ("red", "green"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "train" / label / f"{number}.png").write_bytes(picture(label, 8 + number))
    workspace = Workspace(tmp_path / "workspace")
    source = DataSource(str(tmp_path / "train"))
    card = prepare(PrepareJob(source, "image-classification", 0, stamp(source)), workspace).card
    write_example_onnx(tmp_path / "model.onnx")
    artifact = workspace.objects.take(tmp_path / "model.onnx", format="onnx", made_by="test").sha256
    labels = ("a", "b", "c", "d")
    pipeline = Pipeline("image-classification", labels, (8, 8), "model.onnx", "onnxruntime", "fp32", 1, 2)
    counter = zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 0)
    monkeypatch.setenv(PLACE, str(tmp_path / "powercap"))
    over = threading.Event()
    drawing = threading.Thread(target=draw, args=(counter, 40.0, over))
    drawing.start()
    try:
        result = measure(MeasureJob(artifact, pipeline, card.fingerprint, "device", 0.95, 0.6), workspace)
    finally:
        over.set()
        drawing.join()
    found = {one.metric.name: one for one in result.measurements}
    energy, rate = found["energy_mj"], found["throughput_per_s"]
    assert energy.low <= energy.value <= energy.high
    # 40 W for as long as an answer takes, what Python does between two calls included
    assert 0.9 < energy.value / (40e3 / rate.value) < 3.0
    assert "idle included" in energy.conditions["energy"]


def test_a_limit_that_nothing_can_judge_is_refused_at_once(digits, tmp_path, monkeypatch):
    from running import run

    monkeypatch.setenv(PLACE, str(tmp_path / "nothing"))
    ended = run(digits, tmp_path, "limits.energy_mj.max=50")
    assert ended.returncode == 1
    assert "limits.energy_mj.max cannot be judged: no energy counter of this machine can be read" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Data" not in ended.stdout, "before anything is read or probed"
