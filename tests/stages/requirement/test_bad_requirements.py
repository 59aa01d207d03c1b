"""Bad files, one thing wrong in each, and the words that must come back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sartor.errors import RequirementError
from sartor.stages.requirement import read_requirement
from sartor.types import Requirement

GOOD = """task: fruit-sorting
data: {train: photos/train, test: photos/test}
target: {device: local, threads: 2, batch: 1}
limits:
  accuracy: {min: 0.9}
  latency_p95_ms: {max: 5}
objectives: {accuracy: 1}
decision: {confidence: 0.95}
budget: {time: 30m, effort: balanced}
search: {models: [pear-net]}
seed: 0
"""

BAD = [
    # replaced, by, line, words that must all be there
    ("task:", "tsk:", 1, ["tsk is not a key of a requirement", "Did you mean task?"]),
    ("fruit-sorting", "fruit_sortng", 1, ['task is "fruit_sortng"', "Did you mean fruit-sorting?"]),
    ("fruit-sorting", "zebra", 1, ['task is "zebra"', "There are: fruit-sorting, fruit-weighing."]),
    ("fruit-sorting", "7", 1, ["task is 7", "it must be the name of a task"]),
    ("photos/train", "photos/trian", 2, ['data.train "photos/trian" does not exist', "Did you mean photos/train?"]),
    ("photos/train", "fotos/train", 2, ["does not exist", "Did you mean photos/train?"]),
    ("photos/train", "req.yaml/x", 2, ["data.train", "req.yaml is not a folder"]),
    ("photos/train", '"a\\0b"', 2, ["data.train", "no text"]),
    ("photos/train", "x" * 5000, 2, ["data.train", "cannot be a path"]),
    ("photos/train", '"hub:"', 2, ["data.train", "hub:owner/name"]),
    ("train: photos/train", "trian: photos/train", 2, ["data.trian", "Did you mean train?"]),
    ("test: photos/test", "lable: x", 2, ["data.lable is not a key of data", "Did you mean label?"]),
    ("{train: photos/train, test: photos/test}", "[photos]", 2, ["data is a list", "Try: data: {train: photos}"]),
    ("threads: 2", "threads: two", 3, ['target.threads is "two"', "a whole number from 1 to 4096", "Try: threads: 2"]),
    ("threads: 2", "threads: 0", 3, ["target.threads is 0", "from 1"]),
    ("threads: 2", "threads: true", 3, ["target.threads is true", "a whole number"]),
    ("threads: 2", "threads: 1.5", 3, ["target.threads is 1.5", "a whole number"]),
    ("threads:", "treads:", 3, ["target.treads is not a key of target", "Did you mean threads?"]),
    ("device: local", "device: loacl", 3, ['target.device is "loacl"', "Did you mean local?"]),
    ("device: local", "device: aple-cart", 3, ["which is no device", "Did you mean apple-cart?"]),
    ("device: local", "device: xyzzy", 3, ["which is no device", "sartor device list"]),
    ("device: local", "device: devise.json", 3, ["does not exist", "Did you mean device.json?"]),
    ("{min: 0.9}", "{min: 90}", 5, ["limits.accuracy.min is 90", "at most 1", "Did you mean 0.90?"]),
    ("{min: 0.9}", "{min: 0}", 5, ["limits.accuracy.min is 0", "above 0"]),
    ("{min: 0.9}", "{min: -0.5}", 5, ["limits.accuracy.min is -0.5", "above 0"]),
    ("{min: 0.9}", "{min: .nan}", 5, ["limits.accuracy.min is not a finite number"]),
    ("{min: 0.9}", "{min: 1e400}", 5, ["limits.accuracy.min is not a finite number"]),
    ("{min: 0.9}", "{min: -.inf}", 5, ["limits.accuracy.min is not a finite number"]),
    ("{min: 0.9}", "{min: " + "9" * 5000 + "}", 5, ["limits.accuracy.min is not a finite number"]),
    ("{min: 0.9}", "{min: true}", 5, ["limits.accuracy.min is true", "it must be a number"]),
    ("{min: 0.9}", "{min: [1]}", 5, ["limits.accuracy.min is a list", "it must be a number"]),
    ("{min: 0.9}", "{max: 0.9}", 5, ["accuracy is better when higher", "Did you mean min: 0.9?"]),
    ("{min: 0.9}", "{mim: 0.9}", 5, ["limits.accuracy.mim is not a bound", "Did you mean min?"]),
    ("{min: 0.9}", "0.9", 5, ["limits.accuracy is 0.9", "which bound", "Try: accuracy: {min: 0.9}"]),
    ("{min: 0.9}", "{}", 5, ["limits.accuracy is an empty mapping", "Try: accuracy: {min: 0.9}"]),
    ("{min: 0.9}", "{min: 0.9, max: 0.8}", 5, ["limits.accuracy.max is 0.8 and min is 0.9", "nothing is both"]),
    ("{min: 0.9}", "{max_drop: 1}", 5, ["limits.accuracy.max_drop is 1", "Did you mean 0.01?"]),
    ("{min: 0.9}", "{max_drop: -0.1}", 5, ["limits.accuracy.max_drop is -0.1", "from 0"]),
    ("{min: 0.9}", "{per_class_min: 60}", 5, ["limits.accuracy.per_class_min is 60", "Did you mean 0.60?"]),
    (
        "accuracy: {min",
        "acuracy: {min",
        5,
        ["limits.acuracy is not a metric of fruit-sorting", "Did you mean accuracy?"],
    ),
    ("accuracy: {min", "acuracy: {min", 5, ["(sartor metrics fruit-sorting)"]),
    ("accuracy: {min: 0.9}", "ripeness_error: {per_class_min: 1}", 5, ["per_class_min works on quality metrics where"]),
    ("{max: 5}", "{max: fast}", 6, ['is "fast"', "a number of milliseconds greater than 0", "Try: max: 20"]),
    ("{max: 5}", "{max: 5 MB}", 6, ["latency p95 is a time in ms", 'not "MB"', "Try: max: 5"]),
    ("{max: 5}", "{max: 5 parsec}", 6, ['not "parsec"', "us, ms, s are understood"]),
    ("{max: 5}", "{max: 0}", 6, ["is 0", "greater than 0"]),
    ("{max: 5}", "{min: 5}", 6, ["latency p95 is better when lower", "Did you mean max: 5?"]),
    ("{max: 5}", "{max_drop: 0.1}", 6, ["max_drop works on quality metrics"]),
    ("latency_p95_ms:", "latency-p95:", 6, ["limits.latency-p95 is not a metric", "Did you mean latency_p95_ms?"]),
    ("{accuracy: 1}", "{acc: 1}", 7, ["objectives.acc is not a metric"]),
    ("{accuracy: 1}", "{accuracy: 0}", 7, ["objectives.accuracy is 0", "greater than 0"]),
    ("{accuracy: 1}", "{accuracy: high}", 7, ['objectives.accuracy is "high"', "Try: accuracy: 1"]),
    ("{accuracy: 1}", "{accuracy_drop: 1}", 7, ["compares with the uncompressed parent", "Did you mean accuracy?"]),
    ("{accuracy: 1}", "[accuracy]", 7, ["objectives is a list", "a mapping of metrics to weights"]),
    ("confidence: 0.95", "confidence: 95", 8, ["decision.confidence is 95", "Did you mean 0.95?"]),
    ("confidence: 0.95", "confidence: 1", 8, ["decision.confidence is 1", "below 1"]),
    ("confidence: 0.95", "confidence: true", 8, ["decision.confidence is true"]),
    ("time: 30m", "time: 30", 9, ["budget.time is 30", "a time with a unit"]),
    ("time: 30m", "time: 30 minuets", 9, ['budget.time is "30 minuets"', "Try: time: 30m"]),
    ("time: 30m", "time: 0s", 9, ['budget.time is "0s"', "between 1s and 30d"]),
    ("effort: balanced", "effort: thorogh", 9, ['budget.effort is "thorogh"', "Did you mean thorough?"]),
    ("[pear-net]", "[pearnet]", 10, ['search.models[0] is "pearnet"', "Did you mean pear-net?"]),
    ("[pear-net]", "pear-net", 10, ['search.models is "pear-net"', "a list of names"]),
    ("[pear-net]", "[1]", 10, ["search.models[0] is 1", "a list of names"]),
    ("{models:", "{model:", 10, ["search.model is not a key of search", "Did you mean models?"]),
    ("seed: 0", "seed: -1", 11, ["seed is -1", "from 0"]),
    ("seed: 0", "name: a/b", 11, ['name is "a/b"', "letters"]),
    ("seed: 0", "name: ../../x", 11, ["name is"]),
    ("seed: 0", "seed: 0\nseed: 1", 12, ["seed stands here and in line 11"]),
    ("seed: 0", "<<: {seed: 1}", 11, ["<<", "is not a key of a requirement"]),
    ("seed: 0", "1: 2", 11, ["1 is not a key of a requirement"]),
    ("seed: 0", "seed: &a 0\nmodel: *a", 12, ["alias"]),
    ("seed: 0", "seed: !!python/object/apply:os.system [ls]", 11, ["is a tag"]),
    ("seed: 0", "[a]: 1", 11, ["a key must be a word"]),
    ("seed: 0", "---\nseed: 0", 11, ["second document"]),
    ("seed: 0", "seed: [" + "[" * 50, 11, ["nested deeper than"]),
    ("seed: 0", "seed: {a: 1", 12, ["this is not YAML"]),
    ("seed: 0", '"\\uD800": 1', 11, ["no text"]),
    ("seed: 0", "seed: [" + "1," * 6000 + "]", 11, ["more than 5,000 values"]),
    ("seed: 0", "  seed: 0", 11, ["this is not YAML"]),
]


@pytest.mark.parametrize(("old", "new", "line", "words"), BAD, ids=[f"{old[:12]}→{new[:20]}" for old, new, *_ in BAD])
def test_one_thing_wrong(orchard: Path, old: str, new: str, line: int, words: list[str]) -> None:
    assert old in GOOD
    (orchard / "req.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(RequirementError) as caught:
        read_requirement("req.yaml")
    text = str(caught.value)
    assert text.startswith("req.yaml")
    assert f"line {line}  " in text, text
    for word in words:
        assert word in text, text
    assert max(map(len, caught.value.problems)) < 400


def test_the_good_one_is_good(orchard: Path) -> None:
    assert isinstance(read_requirement(GOOD), Requirement)


def test_everything_is_reported_at_once_in_the_order_of_the_file(orchard: Path) -> None:
    text = (
        "data: photos/trian\nlimits: {accuracy: {min: 90}, latency_p95_ms: {max: fast}}\nsede: 1\nbudget: {time: 5}\n"
    )
    with pytest.raises(RequirementError) as caught:
        read_requirement(text, ["limits.size_mb.max=big", "nonsense"])
    places = [problem.split("  ")[0] for problem in caught.value.problems]
    assert places == ["line 1", "line 1", "line 2", "line 3", "line 4", "override", "override"]
    assert "task is missing" in str(caught.value)
    assert "limits.latency_p95_ms.max" in caught.value.problems[2]  # costs are checked even without a task
    assert str(caught.value).startswith("requirement has 7 problems:\n")


@pytest.mark.parametrize("override", ["nonsense", "=1", "a..b=1", ".a=1", "seed=[", "seed=*a", "seed.x=1", "seed=\x00"])
def test_bad_overrides(orchard: Path, override: str) -> None:
    with pytest.raises(RequirementError, match="override  "):
        read_requirement(GOOD, [override])


def test_files_that_are_none(orchard: Path) -> None:
    (orchard / "pears.yaml").write_text(GOOD)
    (orchard / "empty.yaml").write_text("# nothing\n")
    (orchard / "latin.yaml").write_bytes(b"task: x\ndata: caf\xe9\n")
    (orchard / "list.yaml").write_text("- a\n")
    (orchard / "long.yaml").write_text("a" * 10_000_000)
    (orchard / "odd.json").write_text('{"task": 1,}')
    (orchard / "deep.json").write_text("[" * 50_000)
    (orchard / "elsewhere/r.yaml").write_text(GOOD)
    expected = {
        "paers.yaml": "no such file. Did you mean pears.yaml?",
        "nowhere/r.yaml": "folder nowhere does not exist",
        "elsewhere": "it is a folder; .* Did you mean elsewhere/r.yaml?",
        "empty.yaml": "it is empty",
        "latin.yaml": "line 2  it is not UTF-8",
        "list.yaml": 'it is a list; it must be lines of "key: value"',
        "long.yaml": "longer than 100,000 bytes",
        "odd.json": "line 1  this is not JSON",
        "deep.json": "nested too deeply",
        "a\0b": "no such file",
        "x" * 300: "cannot be read",
    }
    for name, words in expected.items():
        with pytest.raises(RequirementError, match=words):
            read_requirement(name)


def test_mappings_that_contain_themselves_are_refused(orchard: Path) -> None:
    values: dict[str, object] = {"task": "fruit-sorting"}
    values["data"] = values
    with pytest.raises(RequirementError, match="nested too deeply"):
        read_requirement(values)


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\ntask: *c\n",
        "{" * 90_000,
        "[" * 90_000,
        "a: " * 30_000,
        "- " * 45_000,
        "? " * 45_000,
        '"' + "\\U0010FFFF" * 9_000 + '": 1\n',
        '"\\UFFFFFFFF": 1\n',
        "task: " + "1" * 90_000 + "\n",
        "task: 0x" + "f" * 90_000 + "\n",
        "%YAML 9.9\n---\ntask: x\n",
        "%TAG ! tag:x,2000:\n---\n!y task: x\n",
        "\x07: bell\n",
        "\ufeff\ufeff: \n",
        "".join(f"k{number}: {number}\n" for number in range(5_000)),
    ],
)
def test_bombs_cost_nothing(orchard: Path, bomb: str) -> None:
    started = time.process_time()
    with pytest.raises(RequirementError):
        read_requirement(bomb + "\n")
    assert time.process_time() - started < 5


fragments = st.sampled_from([*"{}[]:,-?&*!|>'\"%@`# \n\t~", "<<", "null", ".nan", "1e999", "\\u", "é", "\ud800", "\0"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    place=st.integers(0, len(GOOD)),
    cut=st.integers(0, 6),
    added=st.lists(fragments, max_size=4).map("".join) | st.text(max_size=5),
)
def test_any_damage_ends_in_a_requirement_or_in_problems(orchard: Path, place: int, cut: int, added: str) -> None:
    text = GOOD[:place] + added + GOOD[place + cut :]
    try:
        assert isinstance(read_requirement(text), Requirement)
    except RequirementError as error:
        str(error).encode()  # can be printed


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("task", "data", "target", "limits", "objectives", "decision", "budget", "search", "model", "seed", "name")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), anything, max_size=6))
def test_any_mapping_ends_in_a_requirement_or_in_problems(orchard: Path, values: dict[str, object]) -> None:
    try:
        read_requirement({"task": "fruit-sorting", "data": "photos", **values})
    except RequirementError as error:
        str(error).encode()
