"""A really started server: what it answers, and what it refuses."""

import base64
import concurrent.futures
import contextlib
import json
import random
import socket

import httpx
import pytest

from sartor.testing.tiny_package import LABELS, picture


def tensor(*raws):
    data = [base64.b64encode(raw).decode() for raw in raws]
    return {"inputs": [{"name": "input", "shape": [len(data)], "datatype": "BYTES", "data": data}]}


def outputs_of(answer):
    return {one["name"]: one for one in answer.json()["outputs"]}


def is_problem(answer, status, word=""):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "id"}
    assert body["id"] == answer.headers["x-request-id"]
    assert word in body["error"]
    assert "/" not in body["error"].replace("image/*", "").replace("multipart/", "")
    assert "\n" not in body["error"]


def test_health_and_metadata(client):
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["name"] == "sartor"
    model = client.get("/v2/models/colours").json()
    encoding = {"content_type": "base64"}
    assert model["inputs"] == [{"name": "input", "datatype": "BYTES", "shape": [-1], "parameters": encoding}]
    assert (model["media"], model["task"], model["title"]) == ("image", "image-classification", "classify images")
    assert model["asked"][1] == {"title": "latency p95", "bound": "≤ 500 ms"}
    assert model["outputs"][-1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    assert model["labels"] == list(LABELS)
    assert client.get("/v2/models/colours/ready").json()["ready"] is True


def test_one_picture_as_the_body_as_a_form_and_by_the_protocol(client):
    raw = picture("green")
    plain = client.post("/predict", content=raw)
    form = client.post("/predict", files={"file": ("a.png", raw, "image/png")})
    octets = client.post("/v2/models/colours/infer", content=raw, headers={"content-type": "application/octet-stream"})
    asked = client.post("/v2/models/colours/infer", json={"id": "42", **tensor(raw)})
    assert plain.json()["label"] == form.json()["label"] == "green"
    assert plain.json()["confidence"] == form.json()["confidence"]
    assert set(plain.json()["latency_ms"]) == {"decode", "prepare", "model", "answer", "total"}
    assert asked.json()["id"] == "42"
    assert asked.json()["model_name"] == "colours"
    for answer in (octets, asked):
        assert json.loads(outputs_of(answer)["answer"]["data"][0])["label"] == "green"
        assert outputs_of(answer)["label"]["data"] == ["green"]
        assert outputs_of(answer)["confidence"]["data"] == pytest.approx([plain.json()["confidence"]])


def test_several_inputs_in_one_request(client):
    answer = client.post("/v2/models/colours/infer", json=tensor(*(picture(label) for label in LABELS)))
    found = outputs_of(answer)
    assert found["label"]["data"] == list(LABELS)
    assert found["probabilities"]["shape"] == [3, 3]
    assert len(found["probabilities"]["data"]) == 9


def test_only_the_outputs_asked_for(client):
    answer = client.post("/v2/models/colours/infer", json={**tensor(picture("red")), "outputs": [{"name": "label"}]})
    assert list(outputs_of(answer)) == ["label"]
    wrong = {**tensor(picture("red")), "outputs": [{"name": "logits"}]}
    is_problem(client.post("/v2/models/colours/infer", json=wrong), 400, "probabilities")


def test_the_page_is_self_contained_and_locked_down(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for header, value in (("x-frame-options", "DENY"), ("x-content-type-options", "nosniff")):
        assert answer.headers[header] == value
    assert "access-control-allow-origin" not in answer.headers


def test_metrics_count(client):
    client.post("/predict", content=picture("red"))
    client.post("/predict", content=b"no picture")
    text = client.get("/metrics").text
    assert 'sartor_requests_total{outcome="answered"}' in text
    assert 'sartor_requests_total{outcome="bad input"}' in text
    assert "sartor_ready 1" in text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_unknown_places_and_methods(client, method):
    for path, expected in (("/nothing", 404), ("/v2/models/colours/infer", 405), ("/static/../../etc/passwd", 404)):
        answer = client.request(method, path)
        if method == "POST" and expected == 405:
            expected = 400  # the body is empty
        assert answer.status_code == expected
        if method != "HEAD":
            is_problem(answer, expected)


@pytest.mark.parametrize("name", ["other", "..%2f..%2fetc", "%00", "colours%20", "COLOURS", "colours/versions/1"])
def test_other_models_are_not_there(client, name):
    is_problem(client.post(f"/v2/models/{name}/infer", json=tensor(picture("red"))), 404)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"hello", 422),
        (picture("red")[:45], 422),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422),
        (b"%!PS-Adobe", 422),
        (b"\x80\x04\x95.", 422),
    ],
)
def test_what_is_no_picture(client, content, status):
    is_problem(client.post("/predict", content=content), status)
    assert client.post("/predict", content=picture("red")).json()["label"] == "red"


def test_a_picture_too_large_in_pixels(client):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 500_000
    is_problem(client.post("/predict", content=buffer.getvalue()), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"inputs": 1}',
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": [{"datatype": "FP32", "data": [1.0]}]}',
        b'{"inputs": [{"datatype": "BYTES", "data": []}]}',
        b'{"inputs": [{"datatype": "BYTES", "data": [1]}]}',
        b'{"inputs": [{"datatype": "BYTES", "data": ["not base64!"]}]}',
        b'{"inputs": [{"datatype": "BYTES", "data": ["aGk="]}], "outputs": 3}',
        b'{"inputs": [{"datatype": "BYTES", "data": ["aGk="]}], "outputs": [{}]}',
        json.dumps(tensor(*[b"x"] * 65)).encode(),
        b"\xff\xfe",
    ],
)
def test_requests_that_are_none(client, body):
    headers = {"content-type": "application/json"}
    is_problem(client.post("/v2/models/colours/infer", content=body, headers=headers), 400)


def test_binary_tensors_are_declined(client):
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": "10"}
    is_problem(client.post("/v2/models/colours/infer", content=b"x" * 20, headers=headers), 400, "in JSON")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "y" * 99]
)
def test_forms_without_a_file(client, kind):
    is_problem(client.post("/predict", content=b"--x\r\n\r\nnothing", headers={"content-type": kind}), 400)


def test_bodies_over_the_cap(client, server):
    is_problem(client.post("/predict", content=bytes(500_001)), 413, "500,000")

    def chunks():
        for _ in range(200):
            yield bytes(4096)

    with contextlib.suppress(httpx.TransportError):  # the server may close while the client still sends
        is_problem(client.post("/predict", content=chunks()), 413)
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in link.recv(4096)
    assert client.get("/v2/health/ready").status_code == 200


# ----------------------------------------------------------------------------------------------- who may ask

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/", "/predict", "/v2/health/live"])
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.7", "[::", "a b"]
)
def test_foreign_hosts(client, method, path, host):
    answer = client.request(method, path, headers={"host": host})
    assert answer.status_code in (400, 403)  # some are no header at all
    if answer.status_code == 403:
        is_problem(answer, 403)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"origin": "file://"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_foreign_pages(client, method, headers):
    is_problem(client.request(method, "/predict", headers=headers), 403)


def test_its_own_page_may_ask(client, server):
    for name in (f"127.0.0.1:{server.port}", f"localhost:{server.port}"):
        headers = {"host": name, "origin": f"http://{name}", "sec-fetch-site": "same-origin"}
        assert client.post("/predict", content=picture("blue"), headers=headers).json()["label"] == "blue"


def test_two_host_headers(server):
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert link.recv(4096).split()[1] in (b"400", b"403")


# --------------------------------------------------------------------------------------------------- many ask


def test_concurrent_requests_get_their_own_answers(server):
    def ask(number):
        label = LABELS[number % 3]
        for _ in range(5):  # the queue may be full for a moment
            answer = httpx.post(f"{server.url}/predict", content=picture(label, 8 + number % 5), timeout=30)
            if answer.status_code != 503:
                break
        return answer.json()["label"] == label

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(120)))


def test_noise_on_the_line_does_no_harm(server):
    generator = random.Random(0)
    for number in range(150):
        start = generator.choice([b"", b"GET / HTTP/1.1\r\n", b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"])
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
            link.sendall(start + generator.randbytes(generator.randrange(1, 400)))
            if number % 3:
                link.shutdown(socket.SHUT_WR)
                link.settimeout(12)
                reply = link.recv(64)
                assert reply == b"" or reply.startswith(b"HTTP/1.1 4")
    assert httpx.post(f"{server.url}/predict", content=picture("red")).json()["label"] == "red"
