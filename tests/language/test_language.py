"""Sentences in the reader's language."""

import pytest

from sartor import language
from sartor.language import NAME, say
from sartor.language.catalogue import Catalogue


@pytest.fixture
def spoken():
    return Catalogue(
        {
            "accuracy": "准确率",
            "run again": "请重新运行",
            "{path} does not exist": "{path} 不存在",
            "{path} does not exist. Did you mean {near}?": "{path} 不存在。是不是 {near}？",
            "{metric} was {value}": "{metric}为 {value}",
            "twice {word} and {word}": "两次{word}",
        }
    )


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("run again", "请重新运行"),
        ("  run again\n", "  请重新运行\n"),
        ("a b.png does not exist", "a b.png 不存在"),
        ("x does not exist. Did you mean y?", "x 不存在。是不是 y？"),  # the longer sentence wins
        ("accuracy was 0.9", "准确率为 0.9"),  # what stands for a name is said as well
        ("x does not exist; run again", "x 不存在；请重新运行"),
        ("twice a and a", "两次a"),
        ("twice a and b", "twice a and b"),
        ("nobody translated this {", "nobody translated this {"),
        ("", ""),
    ],
)
def test_sentences(spoken, english, chinese):
    assert spoken.say(english) == chinese


def test_english_is_left_alone():
    assert say("run again", "en") == "run again"
    assert language.sentences("en") == {}


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "de_DE"}, "en"),
        ({"LANG": "C", "SARTOR_LANGUAGE": "zh"}, "zh"),
        ({"SARTOR_LANGUAGE": "xx"}, "en"),
    ],
)
def test_the_language_is_the_readers(environment, code):
    assert language.language(environment) == code


def test_names_are_the_same_in_both_languages():
    for english, chinese in language.sentences("zh").items():
        assert set(NAME.findall(chinese)) <= set(NAME.findall(english)), english
        assert chinese.strip(), english
