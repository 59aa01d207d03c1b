"""Somebody else's package: installed beside Sartor, it is in the catalogue, and no file of Sartor was edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "example_plugin"

USE = """
import json, sys
from sartor import registry

listed = registry.names("models")
assert not any(name in sys.modules for name in ("torch", "sartor_mean_colour")), "listing imports nothing"

from sartor.stages.requirement import read_requirement, schema
from sartor.types import DataCard, Network

requirement = read_requirement({"task": "image-classification", "data": ".", "search": {"models": ["mean-colour"]}})
card = DataCard("image-classification", "", ("a", "b", "c"), {}, ())
family = registry.get("models", "mean-colour")
variants = list(family.variants(card, ((32, 32),), "quick"))
assert "torch" not in sys.modules, "planning imports no torch"

import torch

networks = [Network(family.name, each.name, each.options, each.input_size, 3) for each in variants]
shapes = [list(family.build(network)(torch.zeros(5, 3, *network.input_size)).shape) for network in networks]
print(json.dumps({
    "listed": listed,
    "ids": [network.id for network in networks],
    "shapes": shapes,
    "searched": requirement.search.models,
    "licence": family.provenance.licence,
    "in_schema": "mean-colour" in json.dumps(schema()),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed for real and offline into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    target = folder / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target


def python(code: str, *more: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, more))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_an_installed_plug_in_is_found_and_used(installed: Path, tmp_path: Path) -> None:
    done = python(USE, installed, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "mean-colour" in seen["listed"]
    assert seen["ids"] == ["mean-colour-g1", "mean-colour-g2", "mean-colour-g4"]
    assert seen["shapes"] == [[5, 3]] * 3
    assert seen["searched"] == ["mean-colour"]
    assert seen["licence"] == "Apache-2.0"
    assert seen["in_schema"] is True


def test_without_the_package_the_name_is_unknown(tmp_path: Path) -> None:
    done = python("from sartor import registry; registry.get('models', 'mean-colour')", folder=tmp_path)
    assert done.returncode != 0
    assert "'mean-colour' is not among the models" in done.stderr
