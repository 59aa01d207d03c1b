"""Text as it is looked at: decoding, words of any script, scripts, digests, likeness."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import DataError
from sartor.media import text as media


def test_decode_refuses_what_is_no_text():
    assert media.decode(b"\xef\xbb\xbfhi") == "hi"
    with pytest.raises(DataError, match="byte 1"):
        media.decode(b"a\xff")
    for nothing in (b"", b" \n\t", "\u3000".encode()):
        with pytest.raises(DataError, match="empty"):
            media.decode(nothing)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World! it's £5", ["hello", ",", "world", "!", "it", "'", "s", "£", "5"]),
        ("酒店very好。", ["酒", "店", "very", "好", "。"]),
        ("ＦＵＬＬ width ﬁ", ["full", "width", "fi"]),
        ("e\u0301te\u0301 a\u00adb\u200bc", ["été", "abc"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 좋아요", ["한국어", "좋아요"]),
        ("a\x00b\nc", ["a", "b", "c"]),
        ("", []),
    ],
)
def test_words(text, words):
    assert media.words(text) == words


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_nothing_breaks_on_any_text(text):
    words = media.words(text)
    assert all(word and not word.isspace() for word in words)
    assert 0 <= media.likeness(text) < 1 << 64
    assert len(bytes.fromhex(media.content(text))) == 16
    assert media.script(text)
    assert media.nearly_same(text, text)
    for start, end in media.word_places(text):
        assert text[start:end].strip()


def test_word_places_are_places():
    text = "It's a 好酒店 2024!"
    assert [text[start:end] for start, end in media.word_places(text)] == ["It's", "a", "好", "酒", "店", "2024"]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("plain words 123", "Latin"), ("naïve café", "Latin"), ("这是一段中文文本, ok", "Han"),
        ("これは日本語", "Kana"), ("привет", "Cyrillic"), ("한국어", "Hangul"), ("half 中文一半 word", "mixed"),
        ("123 !?", "none"), ("ꦄꦄ", "other"),
    ],
)  # fmt: skip
def test_script(text, script):
    assert media.script(text) == script


def test_content_is_of_the_meaning():
    assert media.content("Hello  WORLD\n") == media.content("hello world")
    assert media.content("ｆｕｌｌ") == media.content("full")
    assert media.content("hello world") != media.content("hello, world")


def test_likeness_is_near_for_near_copies():
    base = "A friendly stay in the middle of town, with a breakfast that we still talk about when at home."
    near, far = base.replace("friendly", "pleasant"), "Totally different words about a broken phone and its battery."
    distance = [bin(media.likeness(base) ^ media.likeness(other)).count("1") for other in (near, far)]
    assert distance[0] <= 10 < 20 < distance[1]
    assert media.nearly_same(base, near)
    assert not media.nearly_same(base, far)


def test_remains_of_markup_and_control():
    assert media.has_markup("a <br /> b")
    assert media.has_markup("AT&amp;T")
    assert media.has_markup("it #39;s")
    assert not media.has_markup("1 < 2 & #1 & me")
    assert media.has_control("a\x07b")
    assert media.has_control("caf\ufffd")
    assert not media.has_control("two\nlines\tand a tab")


def test_encodings_are_told_apart():
    def guessed(raw):
        return media.guess_encoding(lambda: io.BytesIO(raw))

    assert guessed("好".encode()) == guessed(b"") == "utf-8-sig"
    assert guessed("很好的酒店".encode("gb18030")) == "gb18030"
    assert guessed(b"\xff\xff\xff") == guessed("h\u00e9t\u00e9".encode("latin-1")) == ""
    assert guessed("ab好".encode("utf-16")) == "utf-16"
    assert guessed("ab好".encode("utf-16-be")) == "utf-16-be"
