"""Every plug-in shown in docs/extend works: found by a real entry point, held to the conformance suites."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from sartor import registry
from sartor.types import Pipeline

REPOSITORY = Path(__file__).parents[2]
PAGES = REPOSITORY / "docs" / "extend"
PLUGINS = {
    "model": ("models", "grid-perceptron"),
    "runtime": ("runtimes", "onnx-reference"),
    "compressor": ("compressors", "half-weights"),
    "device": ("devices", "sheet"),
    "planner": ("planners", "smallest-first"),
    "task": ("tasks", "image-grading"),
}


def forget():
    registry._modules.cache_clear()
    registry.get.cache_clear()


@pytest.fixture
def shown(request, tmp_path, monkeypatch):
    """The plug-in of a page, installed: its code as a module, its entry points as pip would write them."""
    page = request.param
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (points,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    site = tmp_path / "site"
    info = site / f"shown_{page}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"shown_{page}.py").write_text(code, encoding="utf-8")
    entries = re.sub(r'\[project\.entry-points\."([^"]+)"\]', r"[\1]", points)
    entries = re.sub(r'= "[^"]+"', f"= shown_{page}", entries)
    (info / "entry_points.txt").write_text(entries, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: shown-{page}\nVersion: 1.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    importlib.invalidate_caches()
    forget()
    yield PLUGINS[page][1]
    for key in [key for key, plugin in registry._classes.items() if plugin.__module__ == f"shown_{page}"]:
        del registry._classes[key]
    sys.modules.pop(f"shown_{page}", None)
    forget()


def on(page):
    return pytest.mark.parametrize("shown", [page], indirect=True)


def test_there_is_a_page_for_every_plug_in():
    assert {path.stem for path in PAGES.glob("*.md")} == set(PLUGINS)


@pytest.mark.parametrize("shown", PLUGINS, indirect=True)
def test_it_is_found_and_names_itself(shown):
    kind = next(kind for kind, name in PLUGINS.values() if name == shown)
    assert shown in registry.names(kind)
    assert registry.get(kind, shown).name == shown


@on("model")
@pytest.mark.parametrize("size", [(8, 8), (32, 32)], ids=str)
def test_the_model_family_conforms(shown, size):
    from sartor.testing import models

    models.check_family(shown)
    found = models.networks(shown, size)
    assert found
    for network in found:
        models.check_recipe(network)
        models.check_build(network)
        models.check_trains(network)
    if size == (8, 8):
        models.check_export(found[-1])


@on("runtime")
def test_the_runtime_conforms(shown, tmp_path):
    from sartor.testing.runtimes import CHECKS

    for check in CHECKS:
        check(shown, tmp_path)


@on("compressor")
def test_the_compressor_conforms_and_halves_the_file(shown, tmp_path):
    from sartor.testing import compressors
    from sartor.testing.runtimes import write_example_onnx

    for check in compressors.CHECKS:
        folder = tmp_path / check.__name__
        folder.mkdir()
        check(shown, folder)
    big = tmp_path / "big"
    write_example_onnx(big, width=512)
    compressor = registry.get("compressors", shown)
    compressor.apply(big, tmp_path / "small", compressors.calibration(), {}, 0)
    assert (tmp_path / "small").stat().st_size < 0.6 * big.stat().st_size


@on("device")
def test_the_device_is_reached_by_a_requirement(shown, tmp_path):
    from sartor.devices import device_of
    from sartor.errors import DeviceError
    from sartor.evidence import Workspace
    from sartor.stages.requirement import read_requirement

    target = {"device": "sheet://raspberry-pi-5"}
    asked = read_requirement({"task": "image-classification", "data": str(tmp_path), "target": target})
    device = device_of(asked.target.device, Workspace(tmp_path / "workspace"))
    assert device.basis == "quoted"
    assert device.cores == 4
    with pytest.raises(DeviceError, match="Did you mean sheet://raspberry-pi-5"):
        device_of("sheet://raspbery-pi-5", Workspace(tmp_path / "workspace"))


@on("planner")
def test_the_planner_meets_a_requirement_with_the_smallest_network(shown, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "catalog" / "planners"))
    world = importlib.import_module("world")
    known = world.findings((("accuracy.min", 0.82), ("latency_p95_ms.max", 3.0)), seconds=3600.0)
    actions = world.play(known, world.World(), planner=shown)
    assert known.decision().status == "met"
    trained = [action.job.network for action in actions if action.stage == "train"]
    sizes = [network.options["million"] for network in trained]
    assert sizes == sorted(sizes)
    assert known.decision().chosen.startswith(trained[-1].id)
    again = world.findings((("accuracy.min", 0.82), ("latency_p95_ms.max", 3.0)), seconds=3600.0)
    assert world.play(again, world.World(), planner=shown) == actions


@on("planner")
def test_the_planner_survives_crashes(shown, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "catalog" / "planners"))
    world = importlib.import_module("world")
    known = world.findings((("accuracy.min", 0.82),), seconds=3600.0)
    world.play(known, world.World(refusing=0.3), planner=shown)
    assert known.decision().status in ("met", "infeasible", "inconclusive")


@on("task")
def test_the_task_judges_by_distance(shown):
    task = registry.get("tasks", shown)
    truths = np.array([0, 1, 2, 3])
    outputs = np.eye(4, dtype=np.float32)[[0, 2, 2, 0]]  # right, one off, right, three off
    scores = task.score(outputs, truths, ("0", "1", "2", "3"), 0.95)
    assert scores.values["within_one"][0] == 0.75
    assert scores.values["accuracy"][0] == 0.5
    assert scores.values["grade_error"][0] == 1.0
    assert list(scores.correct) == [1, 1, 1, 0]
    for value, low, high in scores.values.values():
        assert low <= value <= high
    pipeline = Pipeline(shown, ("0", "1", "2", "3"), (8, 8), "model.onnx", "onnxruntime", "fp32", 1, 1)
    assert task.answer(np.array([0.0, 0.5, 0.5, 0.0], np.float32), pipeline)["expected_grade"] == 1.5


@on("task")
def test_the_task_has_data_limits_and_candidates(shown, tmp_path):
    from sartor.catalog.devices.local import identify
    from sartor.evidence import Workspace
    from sartor.jobs import PrepareJob
    from sartor.media.image import to_png
    from sartor.stages.candidates import candidates
    from sartor.stages.data import prepare, stamp
    from sartor.stages.requirement import read_requirement
    from sartor.storage import write_bytes

    dice = np.random.default_rng(0)
    for grade in range(3):
        for number in range(12):
            pixels = dice.integers(60 * grade, 60 * grade + 100, (16, 16, 3), dtype=np.uint8)
            write_bytes(tmp_path / "pictures" / str(grade) / f"{number}.png", to_png(pixels))
    limits = {"within_one": {"min": 0.9, "max_drop": 0.01}, "grade_error": {"max": 0.4}}
    asked = read_requirement({"task": shown, "data": str(tmp_path / "pictures"), "limits": limits})
    assert {limit.metric for limit in asked.limits} == {"within_one", "within_one_drop", "grade_error"}
    job = PrepareJob(asked.data, asked.task, asked.seed, stamp(asked.data))
    card = prepare(job, Workspace(tmp_path / "workspace")).card
    assert card.labels == ("0", "1", "2")
    models = {record.candidate.network.model for record in candidates(asked, card, identify())}
    assert models == {"grading-resnet9"}
