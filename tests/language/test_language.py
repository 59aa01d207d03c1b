"""Sentences in the reader's language."""

import subprocess
import sys

import pytest

from sartor import language
from sartor.language import NAME, layout, say
from sartor.language.matching import Catalogue


@pytest.fixture
def spoken():
    return Catalogue(
        {
            "accuracy": "准确率",
            "test": "测试集",
            "estimated": "估计",
            "run again": "请重新运行",
            "Try another.": "请换一个。",
            "{path} does not exist": "{path} 不存在",
            "{path} does not exist. Did you mean {near}?": "{path} 不存在。是不是 {near}？",
            "{title} was {value}": "{title}为 {value}",
            "{title} {amount} against {amount2}": "{title} {amount}（对 {amount2}）",
            "twice {word} and {word}": "两次{word}",
            "{places} of {total} samples {words}": "{total} 个样本中有 {places} 个{words}",
            "are empty": "是空的",
            "is {truth}": "实为 {truth}",
        }
    )


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("run again", "请重新运行"),
        ("  run again\n", "  请重新运行\n"),
        ("run again\n  run again", "请重新运行\n  请重新运行"),
        ("a b.png does not exist", "a b.png 不存在"),
        ("x does not exist. Did you mean y?", "x 不存在。是不是 y？"),  # the longer sentence wins
        ("x does not exist. Try another.", "x 不存在。请换一个。"),
        ("x does not exist.", "x 不存在。"),
        ("accuracy was 0.9", "准确率为 0.9"),  # a word of ours
        ("test does not exist", "test 不存在"),  # a path that reads like one
        ("x does not exist; run again", "x 不存在；请重新运行"),
        ("a.yaml: x does not exist", "a.yaml：x 不存在"),
        ("x does not exist (estimated)", "x 不存在（估计）"),
        ("accuracy 0.9 against 0.8, accuracy 1 against 2", "准确率 0.9（对 0.8），准确率 1（对 2）"),
        ("2 of 10 samples are empty", "10 个样本中有 2 个是空的"),
        ("3 accuracy", "3 准确率"),
        ("twice a and a", "两次a"),
        ("is nobody there", "is nobody there"),  # two fixed letters tell nothing
        ("nobody translated this {", "nobody translated this {"),
        ("", ""),
    ],
)
def test_sentences(spoken, english, chinese):
    assert spoken.say(english) == chinese


def test_a_sentence_known_by_its_parts_is_not_known_as_a_whole(spoken):
    assert spoken.knows("x does not exist")
    assert not spoken.knows("x does not exist; run again")


def test_values_are_put_in_as_they_are():
    assert say("{count} shown", "en", count=3) == "3 shown"
    assert say("{candidate} would be chosen.", "zh", candidate="test") == "将选中 test。"


def test_a_language_can_be_spoken_for_a_while(monkeypatch):
    monkeypatch.setenv("SARTOR_LANGUAGE", "en")
    with language.speaking("zh"):
        assert say("accuracy") == "准确率"
    assert say("accuracy") == "accuracy"


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


def test_wide_letters_take_two_columns():
    assert layout.width("a大") == 3
    assert layout.padded("大小", 6) + "|" == "大小  |"
    assert layout.cut("大小", 3) == "大"
    assert layout.labelled("", "x", 4) == "    x"


def test_chinese_breaks_anywhere_but_before_a_stop():
    lines = layout.wrapped("这个候选在验证集上达到了 0.990，是“最好的”（见下）。", 12)
    assert "".join(lines).replace(" ", "") == "这个候选在验证集上达到了0.990，是“最好的”（见下）。"
    assert all(layout.width(line) <= 12 for line in lines)
    assert not any(line.startswith(("，", "。", "”", "）")) for line in lines)
    assert layout.wrapped("plain words wrap as ever", 11) == ["plain words", "wrap as", "ever"]


def test_english_readers_do_not_load_the_catalogue():
    code = "import sys, sartor.language as l; l.say('x', 'en'); print('sartor.language.matching' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
