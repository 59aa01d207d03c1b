import contextlib
import os
import signal

import httpx
import pytest
from running_server import Running

from sartor.testing.tiny_package import build_tiny_package


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    build_tiny_package(folder)
    return folder / "package"


@pytest.fixture
def start():
    """Starts servers and ends them."""
    started = []

    def begin(*args, **options) -> Running:
        started.append(Running(*args, **options))
        return started[-1]

    yield begin
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.communicate()


@pytest.fixture(scope="session")
def server(package):
    """One server for all tests that only ask."""
    running = Running(package, "--max-body-mb", "0.5")
    try:
        yield running.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.communicate()


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=20) as made:
        yield made
