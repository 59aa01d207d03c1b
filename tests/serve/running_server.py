"""Servers in processes of their own, for tests."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx

COMMAND = (sys.executable, "-c", "from sartor.cli import main; main()")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A server in a process of its own."""

    def __init__(self, package, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [*COMMAND, "serve", str(package), "--port", str(self.port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait(self, *, ready: bool = True, seconds: float = 60) -> "Running":
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.process.communicate()}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/v2/health/ready").status_code == (200 if ready else 503):
                    return self
            time.sleep(0.05)
        raise AssertionError("the server did not become ready")

    def workers(self) -> list[int]:
        listed = subprocess.run(["ps", "-o", "pid=,ppid=", "-A"], capture_output=True, text=True).stdout
        pairs = [tuple(map(int, re.findall(r"\d+", line))) for line in listed.splitlines()]
        return [pid for pid, parent in pairs if parent == self.process.pid]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        """Its exit code and what it said, once it has come to the end it was told of before."""
        try:
            out, err = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        return self.process.returncode, out, err
