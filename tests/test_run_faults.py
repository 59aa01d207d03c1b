"""The main job killed, interrupted, out of space, started twice: nothing is lost and it says what is wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import psutil
import pytest

from running import ONE_CANDIDATE, count_as_probed, finished_work, the_run, wait_until, workers_of
from running import arguments as all_arguments
from running import run as run_to_its_end
from sartor.run import load_run

pytestmark = pytest.mark.slow


def arguments(digits, home, *more):
    return all_arguments(digits, home, *ONE_CANDIDATE, *more)


def run(digits, home, *more):
    return run_to_its_end(digits, home, *ONE_CANDIDATE, *more)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_any_moment_the_same_command_continues(digits, tmp_path, seed):
    if seed:  # the first is killed while it looks at the machine, too
        count_as_probed(tmp_path / "ws")
    moments = random.Random(seed)
    kept: dict[str, float] = {}
    for _ in range(3):
        process = subprocess.Popen(
            arguments(digits, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=digits
        )
        time.sleep(moments.uniform(0.5, 9))
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=10)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        if (tmp_path / "ws" / "evidence.db").is_file():
            now = finished_work(tmp_path)
            assert kept.items() <= now.items()
            kept = now
    ended = run(digits, tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert kept.items() <= finished_work(tmp_path).items()
    assert load_run(the_run(tmp_path)).decision.status == "met"


def test_ctrl_c_says_that_nothing_is_lost_and_a_killed_worker_costs_at_most_the_action_in_flight(digits, tmp_path):
    count_as_probed(tmp_path / "ws")
    process = subprocess.Popen(
        arguments(digits, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=digits
    )
    workers_of(process)
    time.sleep(1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command continues" in output
    assert "Traceback" not in output
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    process = subprocess.Popen(
        arguments(digits, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=digits
    )
    for victim in workers_of(process):
        victim.kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output


def test_two_runs_of_the_same_requirement_do_not_mix(digits, tmp_path):
    count_as_probed(tmp_path / "ws")
    first = subprocess.Popen(
        arguments(digits, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=digits
    )
    try:
        wait_until(lambda: [path for path in (tmp_path / "runs").glob("*/.lock") if path.read_text()])
        second = run(digits, tmp_path)
        assert second.returncode == 1
        assert f"in use by process {first.pid}" in second.stderr
    finally:
        first.kill()
        first.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small file system")
@pytest.mark.parametrize("kilobytes", [300, pytest.param(1200, marks=pytest.mark.long)])
def test_a_full_disk_is_told_and_loses_nothing(digits, tmp_path, kilobytes):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        count_as_probed(small / "ws")
        ended = run(digits, small)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert "no space left" in ended.stderr
        assert "Traceback" not in ended.stderr
        subprocess.run(["mount", "-o", "remount,size=300m", str(small)], check=True)
        again = run(digits, small)
        assert again.returncode == 0, again.stdout + again.stderr
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_a_folder_that_cannot_be_written_is_named(digits, tmp_path):
    (tmp_path / "ws").write_text("a file where the workspace should be")
    ended = run(digits, tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert str(tmp_path / "ws") in ended.stderr
