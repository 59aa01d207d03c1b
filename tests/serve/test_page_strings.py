"""What the page says, without a browser."""

import pytest

from sartor.language import LANGUAGES, sentences
from sartor.language.pages import said_by
from sartor.serve.page import page, reader_language


def test_the_page_carries_its_sentences_in_every_language():
    said = said_by(page())
    assert "Drop a picture here, click to choose one, or paste it" in said
    for code in LANGUAGES:
        if code != "en":
            assert said <= set(sentences(code)), said - set(sentences(code))
            assert sentences(code)["Why?"] in page()


@pytest.mark.parametrize(
    ("accepted", "code"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("de,en", "en"), ("", "en"), ("*", "en"), ("fr-FR, zh;q=0.1", "zh")],
)
def test_the_readers_language(accepted, code):
    assert reader_language(accepted) == code


def test_errors_are_said_in_the_readers_language(client):
    answer = client.post("/predict", content=b"no picture", headers={"accept-language": "zh-CN"})
    assert any("\u4e00" <= letter <= "\u9fff" for letter in answer.json()["error"])
    assert client.post("/predict", content=b"no picture").json()["error"].isascii()
