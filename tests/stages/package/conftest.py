import shutil
from pathlib import Path

import pytest

from sartor.testing.tiny_package import build_tiny_package


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    build_tiny_package(folder)
    return folder


@pytest.fixture
def package(made, tmp_path) -> Path:
    """A fresh copy of a sound package."""
    return Path(shutil.copytree(made / "package", tmp_path / "package"))
