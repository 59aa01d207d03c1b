"""The files that hold the house together agree with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_pins_and_nothing_else() -> None:
    wrong = [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)]
    assert wrong == []


def test_every_dependency_is_pinned() -> None:
    pinned = {plain(line.partition("==")[0]) for line in PINS}
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    named = {plain(re.split(r"[\[<>=!~ ]", line)[0]) for line in [*PROJECT["dependencies"], *extras]}
    assert named - pinned == {"sartor"}
    assert "setuptools" in pinned


def test_the_licence_is_apache() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert text.split()[:6] == ["Apache", "License", "Version", "2.0,", "January", "2004"]
    assert len(text.splitlines()) == 202


def test_continuous_integration_can_be_run() -> None:
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    subprocess.run(["sh", "-n", str(REPOSITORY / ".ci" / "run")], check=True)


def test_hooks_and_continuous_integration_call_tasks_that_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    tasks = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    callers = [(REPOSITORY / name).read_text() for name in (".ci/run", ".pre-commit-config.yaml")]
    called = {task for text in callers for task in re.findall(r"(?:entry:|exec) make (\w+)", text)}
    assert called
    assert called <= tasks
    assert {"demo", "test", "check", "docs", "bench", "clean"} <= tasks


@pytest.mark.parametrize("module", ["sartor", "sartor.cli", "sartor.types", "sartor.registry"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "numpy", "onnxruntime", "openvino", "onnx", "pyarrow", "pydantic", "PIL", "yaml")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, atexit; sys.argv = ['sartor', '--help']; import sartor.cli\n"
        "atexit.register(lambda: print([n for n in ('torch','numpy','onnxruntime','pydantic') if n in sys.modules]))\n"
        "sartor.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
