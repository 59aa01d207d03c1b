"""The parts of the server by themselves."""

import asyncio
import contextlib
import json
import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import DataError, Refused, SartorError
from sartor.serve import lane as lanes
from sartor.serve.bodies import inference, one_input
from sartor.serve.guard import Problem
from sartor.serve.lane import Lane
from sartor.serve.settings import VARIABLE, Settings, is_loopback

TOKEN = "a" * 32


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("evil", False)],
)
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_settings_that_open_the_server_are_refused():
    Settings("p").check()
    Settings("p", host="0.0.0.0", token=TOKEN).check()
    with pytest.raises(Refused, match="--token"):
        Settings("p", host="0.0.0.0").check()
    for wrong in (Settings("p", token="short"), Settings("p", token="ä" * 20), Settings("p", token="a b" * 10)):
        with pytest.raises(SartorError, match="--token"):
            wrong.check()
    with pytest.raises(SartorError, match="--port"):
        Settings("p", port=0).check()


def test_settings_travel_once():
    settings = Settings("p", names=("a",), token=TOKEN)
    settings.to_environment()
    assert Settings.from_environment() == settings
    assert VARIABLE not in os.environ


# ------------------------------------------------------------------------------------------------------- forms


def form(content: bytes, boundary: bytes = b"xyz", before: bytes = b"") -> bytes:
    head = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return before + b"--" + boundary + b"\r\n" + head + content + b"\r\n--" + boundary + b"--\r\n"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_a_file_in_a_form_comes_out_as_it_went_in(content):
    if b"--xyz" in content:
        return
    assert one_input(form(content), "multipart/form-data; boundary=xyz") == content
    field = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue\r\n'
    assert one_input(form(content, before=field), 'multipart/form-data; boundary="xyz"') == content


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=60))
def test_any_form_is_read_or_declined(body, kind):
    with contextlib.suppress(Problem):
        one_input(body, f"multipart/form-data; {kind}")


KEYS = st.sampled_from(["inputs", "outputs", "id", "datatype", "data", "name"])
LEAVES = st.none() | st.integers() | st.text() | st.booleans()


@settings(max_examples=200, deadline=None)
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_any_json_is_read_or_declined(value):
    with contextlib.suppress(Problem):
        inference(json.dumps(value).encode(), "application/json")


# -------------------------------------------------------------------------------------------------------- lane


def test_calls_run_one_at_a_time_in_order():
    lane, running, most, order = Lane(100, 10, 60), [], [], []

    def work(number):
        running.append(number)
        most.append(len(running))
        order.append(number)
        time.sleep(0.001)
        running.remove(number)
        return number

    async def main():
        return await asyncio.gather(*(lane.call(lambda n=n: work(n)) for n in range(30)))

    assert asyncio.run(main()) == list(range(30))
    assert max(most) == 1
    assert order == list(range(30))
    assert lane.outcomes == {"answered": 30}


def test_the_queue_is_bounded():
    lane = Lane(2, 10, 60)
    with lane.place(), lane.place():
        with pytest.raises(Problem) as caught, lane.place():
            pass
        assert caught.value.status == 503
        assert caught.value.headers == {"retry-after": "1"}
    with lane.place():
        assert lane.admitted == 1
    assert lane.admitted == 0


def test_late_calls_are_given_up_and_those_behind_them_never_begin():
    lane, release, begun = Lane(10, 0.1, 60), threading.Event(), []

    async def main():
        first = asyncio.create_task(lane.call(lambda: release.wait(5)))
        second = asyncio.create_task(lane.call(lambda: begun.append("second")))
        problems = await asyncio.gather(first, second, return_exceptions=True)
        release.set()
        return problems, await lane.call(lambda: "third")

    problems, third = asyncio.run(main())
    assert [problem.status for problem in problems] == [504, 504]
    assert third == "third"
    assert begun == []
    assert lane.outcomes == {"late": 2, "answered": 1}


def test_bad_input_and_our_own_faults_are_told_apart():
    lane = Lane(10, 5, 60)

    def raising(error):
        raise error

    with pytest.raises(Problem) as caught:
        asyncio.run(lane.call(lambda: raising(DataError("not a picture"))))
    assert (caught.value.status, caught.value.sentence) == (422, "not a picture")
    with pytest.raises(ZeroDivisionError):
        asyncio.run(lane.call(lambda: 1 / 0))
    assert lane.outcomes == {"bad input": 1, "failed": 1}


def test_a_hung_call_ends_the_process(monkeypatch):
    ended, release = [], threading.Event()

    class Ended(BaseException):
        pass

    def end(code):
        ended.append(code)
        release.set()
        raise Ended

    monkeypatch.setattr(lanes.os, "_exit", end)
    lane = Lane(10, 0.05, 0.1)

    async def main():
        with pytest.raises(Problem):
            await lane.call(lambda: release.wait(10))
        await lane.watch()

    with pytest.raises(Ended):
        asyncio.run(main())
    assert ended == [70]
