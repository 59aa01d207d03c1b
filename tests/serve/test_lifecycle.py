"""Starting, stopping, breaking and being locked: servers in processes of their own."""

import os
import select
import shutil
import signal
import socket
import subprocess
import time

import httpx
import numpy as np
import pytest
from running_server import COMMAND, free_port

from sartor.stages.package import manifest as manifests
from sartor.testing.tiny_package import picture

TOKEN = "a-token-of-thirty-two-letters-xx"


def begun(server, body: bytes, *, sent: int) -> socket.socket:
    """A request whose body is sent only in part."""
    link = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    link.sendall(head.encode() + body[:sent])
    return link


def test_a_token_is_asked_for_on_every_method(package, start):
    server = start(package, "--token", TOKEN).wait()
    with httpx.Client(base_url=server.url) as client:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            for path in ("/predict", "/metrics", "/v2", "/v2/models/colours", "/nothing"):
                for given in (None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"):
                    headers = {} if given is None else {"authorization": given}
                    answer = client.request(method, path, headers=headers)
                    assert answer.status_code == 401, (method, path, given)
                    assert TOKEN not in answer.text
        right = {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/predict", content=picture("red"), headers=right).json()["label"] == "red"
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/").status_code == 200


@pytest.mark.slow
def test_the_token_may_come_from_the_environment_and_other_names_be_allowed(package, start, monkeypatch):
    monkeypatch.setenv("SARTOR_TOKEN", TOKEN)
    server = start(package, "--host", "0.0.0.0", "--allow-host", "model.example").wait()
    headers = {"authorization": f"Bearer {TOKEN}"}
    for host, status in (("model.example", 200), ("10.0.0.7:80", 200), ("evil.example", 403)):
        answer = httpx.get(f"{server.url}/v2", headers={**headers, "host": host})
        assert answer.status_code == status
    assert httpx.get(f"{server.url}/v2").status_code == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_accepted_request_is_answered_before_the_end(package, start, number):
    server = start(package).wait()
    body = picture("green")
    with begun(server, body, sent=20) as link:
        time.sleep(0.3)
        os.kill(server.process.pid, number)
        time.sleep(0.5)
        link.sendall(body[20:])
        reply = link.recv(65536)
    assert reply.startswith(b"HTTP/1.1 200")
    assert b'"label":"green"' in reply
    code, _, err = server.ended()  # a second signal would end at once what is already going down
    assert code == 0
    assert "Traceback" not in err


def test_overload_is_turned_away_at_once_and_slow_senders_are_cut_off(package, start):
    server = start(package, "--max-waiting", "1", "--deadline-s", "4").wait()
    body = picture("green")
    with begun(server, body, sent=20) as slow:
        time.sleep(0.3)
        answer = httpx.post(f"{server.url}/predict", content=body)
        assert select.select([slow], [], [], 0)[0] == []  # before the one that keeps it busy is given up
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
        assert slow.recv(65536).startswith(b"HTTP/1.1 408")
    assert httpx.post(f"{server.url}/predict", content=body).json()["label"] == "green"


def test_a_killed_worker_is_replaced(package, start):
    server = start(package).wait()
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.2)
    server.wait()
    assert httpx.post(f"{server.url}/predict", content=picture("blue")).json()["label"] == "blue"
    assert server.workers() != [worker]


@pytest.mark.slow
def test_no_worker_outlives_a_killed_server(package, start):
    server = start(package).wait()
    (worker,) = server.workers()
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    pytest.fail("the worker is still there")


def test_wrong_golden_answers_close_the_server(package, start, tmp_path):
    """A model that answers otherwise on this machine is not served: no 200 with a wrong answer."""
    broken = tmp_path / "package"
    shutil.copytree(package, broken)
    outputs = np.load(broken / "golden/outputs.npy")
    outputs[0] = outputs[0, ::-1]
    np.save(broken / "golden/outputs.npy", outputs)
    (broken / "MANIFEST.json").unlink()
    manifests.write_manifest(broken, "0.1.0")
    server = start(broken).wait(ready=False)
    answer = httpx.post(f"{server.url}/predict", content=picture("red"))
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text
    assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
    assert "golden" in server.stop()[2]


# ------------------------------------------------------------------------------------------ what does not start


def refused(*arguments, code):
    done = subprocess.run([*COMMAND, "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_other_hosts_need_a_token(package):
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        assert "--token" in refused(package, "--host", host, code=5)
    assert "16" in refused(package, "--token", "short", code=1)


def test_a_damaged_package_is_not_served(package, tmp_path):
    shutil.copytree(package, tmp_path / "package")
    (tmp_path / "package/labels.json").write_text("[]")
    assert "labels.json" in refused(tmp_path / "package", code=5)
    assert "does not exist" in refused(tmp_path / "nothing", code=1)


def test_a_port_in_use_is_told(package):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in refused(package, "--port", port, code=1)
    assert "65535" in refused(package, "--port", 70_000, code=1)


def test_an_address_that_is_not_ours(package):
    message = refused(package, "--host", "192.0.2.1", "--token", TOKEN, "--port", free_port(), code=1)
    assert "192.0.2.1" in message
