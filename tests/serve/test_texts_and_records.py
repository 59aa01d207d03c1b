"""A server of a task about texts: bodies as text and as JSON, explanations, outputs of the protocol."""

import contextlib
import json
import os
import signal

import httpx
import pytest
from running_server import Running

from sartor.serve.bodies import inference, one_input
from sartor.serve.guard import Problem
from sartor.serve.served import Served
from sartor.testing.tiny_package import picture

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def words(word_package):
    running = Running(word_package)
    try:
        with httpx.Client(base_url=running.wait().url, timeout=20) as client:
            yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.communicate()


def test_a_text_comes_as_text_as_json_and_as_a_file(words):
    plain = words.post("/predict", content="free Brötchen", headers={"content-type": "text/plain; charset=utf-8"})
    quoted = words.post("/predict", json="free Brötchen")
    raw = words.post("/predict", content="free Brötchen".encode("latin-1"),
                     headers={"content-type": "text/plain; charset=ISO-8859-1"})  # fmt: skip
    form = words.post("/predict", files={"file": ("a.txt", "free Brötchen".encode(), "text/plain")})
    for answer in (plain, quoted, raw, form):
        assert answer.status_code == 200, answer.text
        assert (answer.json()["label"], answer.json()["letters"]) == ("spam", 13)


def test_why(words):
    body = words.post("/explain", json="see free you").json()
    assert (body["kind"], body["causes"][0]["name"], body["picture"]) == ("words", "free", "")
    assert words.post("/explain", json=" ").status_code == 422
    assert words.get("/explain").status_code == 405
    assert words.post("/explain", content=b"x", headers={"origin": "http://evil.example"}).status_code == 403


def test_the_protocol_takes_texts_as_they_are(words):
    model = words.get("/v2/models/fake-words").json()
    assert (model["media"], model["title"], model["labels"]) == ("text", "tell spam from ham", ["ham", "spam"])
    assert model["inputs"][0]["parameters"] == {"content_type": "str"}
    assert [one["name"] for one in model["outputs"]] == ["answer", "label", "confidence", "probabilities"]
    data = ["free money", "see you", "tomorrow"]
    body = {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [3], "data": data}]}
    found = {one["name"]: one for one in words.post("/v2/models/fake-words/infer", json=body).json()["outputs"]}
    assert found["label"]["data"] == ["spam", "ham", "ham"]
    assert found["probabilities"]["shape"] == [3, 2]
    assert [json.loads(answer)["letters"] for answer in found["answer"]["data"]] == [10, 7, 8]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", JSON, 400),
        (b"3", JSON, 400),
        (b'"\\ud800"', JSON, 400),
        (b"\xff", {"content-type": "text/plain"}, 422),
        (b"\xff", {"content-type": "text/plain; charset=utf-16"}, 400),
        (b"x", {"content-type": "text/plain; charset=idna"}, 400),
    ],
)
def test_what_is_no_text(words, content, headers, status):
    answer = words.post("/predict", content=content, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "id"}


def test_records_pass_as_they_are():
    assert one_input(b'{"a": 1}', "application/json", "record") == b'{"a": 1}'
    assert one_input(b"42", "text/plain", "record") == b"42"
    request = {"inputs": [{"datatype": "BYTES", "data": ['{"a": 1}', "42"]}]}
    assert inference(json.dumps(request).encode(), "application/json", "record").inputs == (b'{"a": 1}', b"42")
    for wrong in (3, "\ud800", None, {"a": 1}):
        request["inputs"][0]["data"] = [wrong]
        with pytest.raises(Problem):
            inference(json.dumps(request).encode(), "application/json", "record")


def test_a_task_whose_outputs_are_no_probabilities_gives_answers(count_package):
    served = Served(str(count_package))
    assert served.outputs == ("answer",)
    assert [one["name"] for one in served.metadata()["outputs"]] == ["answer"]
    (found,) = served.infer([b"[1, 2, 3]"], ())
    assert json.loads(found["data"][0])["label"] == "1 cat, 2 dog, 4 owl"
    served.check(all_pairs=True)
    assert served.wrong == ""


def test_pictures_are_explained_too(client):
    body = client.post("/explain", content=picture("green")).json()
    assert body["kind"] == "regions"
    assert body["picture"]
