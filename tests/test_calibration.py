"""A calibration that was killed goes on where it was, and what it found serves estimates of that device."""

from dataclasses import replace

import pytest

from sartor import calibration
from sartor.calibration import Setting, calibrate_device, speeds_of
from sartor.catalog.devices.local import identify
from sartor.drawings import draw
from sartor.errors import DeviceError
from sartor.evidence import Workspace, write_json
from sartor.jobs import NetworkCost
from sartor.stages.predict import estimate, kernels_of
from sartor.types import Candidate, Ceiling, Network

TINY = [(family, number, 1) for number in range(8) for family in ("mlp", "items", "look_ups", "products")]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A workspace that knows this machine, and a calibration of 32 small graphs in one runtime."""
    workspace = Workspace(tmp_path)
    device = replace(identify(), ceilings={"fp32": Ceiling(1e11, "x")}, bandwidth_bytes_per_s=1e10)
    write_json(tmp_path / "devices" / f"{device.id}.json", device)
    monkeypatch.setattr(calibration, "TIMED_S", 0.004)
    monkeypatch.setattr(calibration, "NOISY", 2.0)
    monkeypatch.setattr(calibration, "is_off_pace", lambda pace, usual: False)
    monkeypatch.setattr(calibration, "settings_of", lambda device: [Setting("onnxruntime", "fp32", 1)])
    monkeypatch.setattr(calibration, "_graphs", lambda number: iter(TINY))
    return workspace, device


def timings(workspace):
    evidence = workspace.evidence()
    try:
        return len(evidence.of_stage("time_graphs"))
    finally:
        evidence.close()


def test_a_killed_calibration_goes_on(place):
    workspace, device = place
    turns = 0

    def tell(text, share=None):
        nonlocal turns
        turns += text.startswith("timing")
        if turns == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate_device(workspace, tell=tell, rounds=1)
    assert timings(workspace) == 2  # of four chunks
    assert speeds_of(device, workspace) is None
    found = calibrate_device(workspace, rounds=1)
    assert timings(workspace) == 4
    assert found.graphs == len(TINY)
    again = calibrate_device(workspace, rounds=1, seconds=0)
    assert timings(workspace) == 4  # nothing is timed twice
    assert again.of == found.of
    assert again.seconds >= 0
    assert speeds_of(device, workspace).of == found.of

    kernels = kernels_of(draw("mlp", 3), "onnxruntime", 1)
    cost = NetworkCost("net", 10, 10, 10, 1, kernels={"onnxruntime": kernels})
    candidate = Candidate(Network("mlp", "s", {}, (8,), 2), "none", "onnxruntime", "fp32", 1)
    plain = estimate(cost, candidate, device)[0]
    better = estimate(cost, candidate, device, speeds=found)[0]
    assert (plain.conditions["by"], better.conditions["by"]) == ("roofline", "calibration")
    assert better.low <= better.value <= better.high
    assert better.high < plain.high or better.value != plain.value


def test_no_time_is_said_so(place):
    with pytest.raises(DeviceError, match="too few graphs"):
        calibrate_device(place[0], rounds=1, seconds=-1)
