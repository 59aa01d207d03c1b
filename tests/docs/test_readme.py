"""What README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sartor.cli import _console
from sartor.errors import Refused, VerifyError
from sartor.stages.requirement import read_requirement
from sartor.testing.tiny_package import build_tiny_package, picture

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


def test_the_requirement_is_one(tmp_path, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir(parents=True)
    file = tmp_path / "req.yaml"
    file.write_text(block("yaml"), encoding="utf-8")
    asked = read_requirement(file)
    assert {limit.metric: limit.value for limit in asked.limits}["size_mb"] == 0.5
    assert asked.budget.seconds == 1800


def test_the_python_answers(tmp_path, monkeypatch, capsys):
    code = block("python")
    package, image = re.findall(r'"([^"]+/[^"]+)"', code)
    build_tiny_package(tmp_path / Path(package).parent)
    (tmp_path / image).parent.mkdir(parents=True)
    (tmp_path / image).write_bytes(picture("green"))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "green\n"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (_console.EXIT_MET, "met"),
        (_console.EXIT_INFEASIBLE, "infeasible"),
        (_console.EXIT_INCONCLUSIVE, "inconclusive"),
        (VerifyError.exit_code, "regression"),
        (Refused.exit_code, "refused"),
    ],
)
def test_the_exit_codes_are_those(code, word):
    assert re.search(rf"^\| {code} \| {word}", README, re.MULTILINE)


def test_every_folder_of_the_tree_is_there():
    source = Path(__file__).parents[2] / "src" / "sartor"
    tree = re.search(r"```\nsrc/sartor/\n(.*?)```", README, re.DOTALL)[1]
    named = set(re.findall(r"\b([a-z]+)/(?=\s)", tree)) - {"docs", "examples", "tests", "example_plugin"}
    parts = {path.name for path in source.rglob("*") if path.is_dir()}
    assert named <= parts
    assert {name for name in re.findall(r"\b([a-z]+\.py)", tree)} <= {path.name for path in source.glob("*.py")}
