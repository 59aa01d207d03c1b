import json
import subprocess
import sys

import pytest

from sartor.testing.tiny_package import build_tiny_package

COMMAND = (sys.executable, "-c", "from sartor.cli import main; main()")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    build_tiny_package(folder)
    return folder


def sartor(*arguments):
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done


def test_one_file_is_written_and_read(place, tmp_path):
    done = sartor("package", place / "package", "--output", tmp_path / "colours.sartor")
    assert done.returncode == 0
    assert "every byte as it was made" in done.stdout
    assert sartor("package", tmp_path / "colours.sartor").returncode == 0
    again = sartor("package", tmp_path / "colours.sartor", "-o", tmp_path / "again.sartor", "--json")
    assert json.loads(again.stdout)["file_bytes"] == (tmp_path / "again.sartor").stat().st_size
    assert (tmp_path / "again.sartor").read_bytes() == (tmp_path / "colours.sartor").read_bytes()


def test_a_run_folder_stands_for_its_package(place):
    assert sartor("package", place).returncode == 0


def test_what_cannot_be_packaged(place, tmp_path):
    done = sartor("package", place / "package", "--output", tmp_path / "x.zip")
    assert done.returncode == 1
    assert ".sartor" in done.stderr
    assert sartor("package", tmp_path).returncode == 5
    assert sartor("package", tmp_path / "no").returncode == 1


def test_a_place_that_cannot_be_written(place):
    for target in ("/proc/x.sartor", place / "made.onnx" / "x.sartor"):
        done = sartor("package", place / "package", "--output", target)
        assert done.returncode == 1
        assert "cannot be written" in done.stderr
        assert len(done.stderr.splitlines()) == 1
