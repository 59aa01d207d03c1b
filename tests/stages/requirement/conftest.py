"""A task that exists only here, so that these tests hold for every task."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sartor import registry
from sartor.metrics import Metric

FRUIT = SimpleNamespace(
    name="fruit-sorting",
    metrics=(
        Metric("accuracy", "", "higher", "quality", "accuracy", bounded=True),
        Metric("ripeness_error", "", "lower", "quality", "ripeness error"),
    ),
)
NAMES = {
    "tasks": ("fruit-sorting", "fruit-weighing"),
    "models": ("pear-net", "plum-net"),
    "runtimes": ("basket", "crate"),
    "compressors": ("press",),
    "devices": ("local", "profile"),
}


@pytest.fixture
def fruit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue holds fruit."""
    plugins = {
        "tasks": FRUIT,
        "compressors": SimpleNamespace(precision="int4"),
        "devices": SimpleNamespace(names=lambda: ("apple-cart",)),
    }
    monkeypatch.setattr(registry, "names", lambda kind: NAMES[kind])
    monkeypatch.setattr(registry, "get", lambda kind, name: plugins[kind])


@pytest.fixture
def orchard(fruit: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, as the current folder."""
    for name in ("photos/train", "photos/test", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "device.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path
