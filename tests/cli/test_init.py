"""``sartor init`` and ``sartor metrics``, as commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sartor.stages.requirement import Draft, draft, read_requirement
from sartor.stages.requirement.draft import scalar


def sartor(*words: str, folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sartor.cli; sartor.cli.main()", *words]
    return subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    return tmp_path


def test_flags_are_enough(folder: Path) -> None:
    flags = ["--data", "photos/train", "--accuracy-min", "0.9", "--latency-p95-ms-max", "5", "--size-mb-max", "200 KB"]
    more = ["--limit", "throughput_per_s.min=100", "--limit", "accuracy.max_drop=0.01", "limits.memory_peak_mb.max=300"]
    done = sartor("init", "--yes", *flags, *more, "--time", "10m", "-o", "sub/req.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    requirement = read_requirement(folder / "sub/req.yaml")
    assert [str(limit) for limit in requirement.limits] == [
        "accuracy ≥ 0.9",
        "accuracy_drop ≤ 0.01",
        "latency_p95_ms ≤ 5",
        "size_mb ≤ 0.2",
        "throughput_per_s ≥ 100",
        "memory_peak_mb ≤ 300",
    ]
    assert requirement.data.train == str(folder / "photos/train")
    assert requirement.budget.seconds == 600
    text = (folder / "sub/req.yaml").read_text()
    assert "# folder, CSV" in text
    assert text in done.stdout
    schema = json.loads((folder / "sub" / yaml.safe_load(text)["$schema"]).read_text())
    assert "accuracy" in json.dumps(schema)


def test_it_never_overwrites_without_force(folder: Path) -> None:
    (folder / "requirement.yaml").write_text("mine")
    done = sartor("init", "--yes", "--data", "photos", folder=folder)
    assert done.returncode == 1
    assert "is there already" in done.stderr
    assert (folder / "requirement.yaml").read_text() == "mine"
    assert sartor("init", "--yes", "--data", "photos", "--force", folder=folder).returncode == 0
    assert read_requirement(folder / "requirement.yaml").name == "requirement"


def test_what_is_wrong_is_said_at_once_and_nothing_is_written(folder: Path) -> None:
    done = sartor("init", "--yes", "--data", "phots", "--accuracy-min", "90", "--time", "5", folder=folder)
    assert done.returncode == 1
    assert "3 problems" in done.stderr
    assert "Did you mean 0.90?" in done.stderr
    assert "Did you mean photos?" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in folder.iterdir()) == ["photos"]


@pytest.mark.parametrize(
    "flags", [["--yes"], ["--yes", "--data", "photos", "--limit", "x"], ["--data", "photos", "-o", "."]]
)
def test_bad_flags_get_one_sentence(folder: Path, flags: list[str]) -> None:
    done = sartor("init", *flags, folder=folder)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_questions_are_asked_again_until_the_answer_is_right(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    answers = ["", "photo", "photos/train", "", "ninety", "0.9", "5", "200 KB", "", "5", "2m"]
    mine, theirs = pty.openpty()
    command = [sys.executable, "-c", "import sartor.cli; sartor.cli.main()", "init"]
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
        os.close(theirs)
        os.write(mine, "".join(f"{answer}\n" for answer in answers).encode())
        out, wrong = asked.communicate(timeout=60)
    os.close(mine)
    assert asked.returncode == 0, wrong.decode()
    assert 'limits.accuracy.min is "ninety"' in wrong.decode()
    assert "Did you mean photos?" in wrong.decode()
    requirement = read_requirement(folder / "requirement.yaml")
    assert [str(limit) for limit in requirement.limits] == ["accuracy ≥ 0.9", "latency_p95_ms ≤ 5", "size_mb ≤ 0.2"]
    assert requirement.budget.seconds == 120
    assert "Next  sartor run requirement.yaml" in out.decode()


def test_metrics_are_listed(folder: Path) -> None:
    done = sartor("metrics", "image-classification", "--json", folder=folder)
    rows = {row["metric"]: row for row in json.loads(done.stdout)}
    assert rows["accuracy"]["bounds"] == ["min", "max_drop", "per_class_min"]
    assert rows["latency_p95_ms"]["bounds"] == ["max"]
    assert rows["latency_p95_ms"]["unit"] == "ms"
    table = sartor("metrics", "image-classification", folder=folder).stdout
    assert table.splitlines()[1].startswith("accuracy")
    assert "Did you mean image-classification?" in sartor("metrics", "image-clasification", folder=folder).stderr


@pytest.mark.parametrize(
    "text",
    ["photos/train", "~/x", "my photos", "a: b", "a #b", "#b", "yes", "null", "1", "- x", "é", "", "a:", "*x", "~"],
)
def test_whatever_is_written_reads_back(text: str) -> None:
    assert yaml.safe_load(f"{{k: {scalar(text)}}}" if " #" not in text else f"k: {scalar(text)}")["k"] == text
    assert yaml.safe_load(draft(Draft("image-classification", text or "x")))["data"]["train"] == (text or "x")
