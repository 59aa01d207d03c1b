"""Classes, numbers and structures; stratified, random and by-label cuts; data that is only judged by."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_tasks import PlainTask

from sartor.errors import DataError
from sartor.prepared import Truths, open_data
from sartor.stages.data.splits import cut_labels

SPLITS = ("train", "validation", "test")


def rows(start, count, **more):
    return [{"text": str(start + i), **{name: make(i) for name, make in more.items()}} for i in range(count)]


def sizes(card):
    return {name: split.samples for name, split in card.splits.items()}


def codes(card):
    return [problem.code for problem in card.problems]


def truths_by_text(card, workspace):
    data = open_data(card.fingerprint, workspace)
    splits = {name: data.split(name) for name in SPLITS}
    return {name: {s.raw(i).decode(): s.truths[i] for i in range(len(s))} for name, s in splits.items()}


# ------------------------------------------------------------------------------------------------------ numbers


def test_numbers(use, prepare_rows, workspace):
    task = use(PlainTask("number", "random"))
    card = prepare_rows(task, train=rows(1000, 40, label=lambda i: i / 4))
    assert card.labels == ()
    assert sizes(card) == {"train": 26, "validation": 6, "test": 8}
    assert "at random" in card.facts["split"]["test"]
    assert all(split.classes == {} for split in card.splits.values())
    found = truths_by_text(card, workspace)
    assert {int(text) - 1000: value * 4 for held in found.values() for text, value in held.items()} == {
        i: i for i in range(40)
    }
    train = open_data(card.fingerprint, workspace).split("train")
    assert train.truths.dtype == np.float64
    assert train.targets((3,)) is train.truths
    middle = sorted(found["train"].values())
    assert card.facts["truth_range"] == {"smallest": middle[0], "median": np.median(middle), "largest": middle[-1]}


def test_answers_that_are_no_numbers_are_left_out(use, prepare_rows, problem):
    task = use(PlainTask("number", "random"))
    odd = [{"text": "1", "label": "many"}, {"text": "2", "label": "inf"}, {"text": "3", "label": "nan"}, {"text": "4"}]
    card = prepare_rows(task, train=[*rows(1000, 20, label=float), *odd])
    broken = problem(card, "BROKEN")
    assert [example.partition(": ")[2] for example in broken.examples] == [
        "its answer 'many' is not a number",
        "its answer 'inf' is not finite",
        "its answer 'nan' is not finite",
    ]
    assert problem(card, "UNLABELLED").count == 1


def test_numbers_that_are_refused(use, prepare_rows):
    task = use(PlainTask("number", "random"))
    with pytest.raises(DataError, match="all answers are 3; there is nothing to predict"):
        prepare_rows(task, train=rows(1000, 20, label=lambda i: 3.0))
    with pytest.raises(DataError, match="only 3 different samples; at least 4 .* validation and test"):
        prepare_rows(task, train=rows(1000, 3, label=float))


def test_other_numbers_other_fingerprint(use, prepare_rows):
    task = use(PlainTask("number", "random"))
    first, again, other = (
        prepare_rows(task, train=rows(1000, 20, label=lambda i, factor=factor: i * factor)) for factor in (1, 1, 1.5)
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint


# --------------------------------------------------------------------------------------------------- structures


def animals(i):
    return ["cat"] * (i % 3) + ["dog"] * (i % 2)


def test_structures(use, prepare_rows, workspace):
    task = use(PlainTask("structure", "random"))
    card = prepare_rows(task, train=rows(1000, 40, truth=animals), test=rows(2000, 9, truth=animals))
    assert card.labels == ("cat", "dog")
    assert sizes(card)["test"] == 9
    assert card.splits["test"].classes == {"cat": 9, "dog": 4}
    found = truths_by_text(card, workspace)
    for held in found.values():
        for text, truth in held.items():
            assert truth == b"kept:" + json.dumps(animals(int(text) % 1000)).encode()
    for name in SPLITS:
        held = [name for truth in found[name].values() for name in json.loads(truth.removeprefix(b"kept:"))]
        assert card.splits[name].classes == {word: held.count(word) for word in card.labels}


def test_a_structure_that_is_missing_is_unlabelled(use, prepare_rows, problem):
    task = use(PlainTask("structure", "random"))
    card = prepare_rows(task, train=[*rows(1000, 20, truth=animals), {"text": "1"}])
    assert problem(card, "UNLABELLED").count == 1
    assert sum(sizes(card).values()) == 20


def test_remarks_are_counted_per_sample(use, prepare_rows, problem):
    task = use(PlainTask("structure", "random"))
    card = prepare_rows(task, train=rows(1000, 20, truth=lambda i: ["odd", "odd"] if i < 3 else ["cat"]))
    remark = problem(card, "ODD")
    assert (remark.count, remark.sentence) == (3, "3 of 20 samples hold something odd")
    assert remark.examples == ("train.jsonl row 1", "train.jsonl row 2", "train.jsonl row 3")


def test_declared_names_come_first(use, prepare_rows):
    task = use(PlainTask("structure", "random", names=("dog", "emu", "cat")))
    card = prepare_rows(task, train=rows(1000, 20, truth=lambda i: [*animals(i), "ant"]))
    assert card.labels == ("dog", "cat", "ant")
    assert codes(card) == ["ABSENT_CLASS", "SEEN"]


def test_all_declared_names_are_kept_where_structures_name_none(use, prepare_rows):
    task = use(PlainTask("structure", "random", names=("dog", "emu", "cat")))
    card = prepare_rows(task, train=rows(1000, 20, truth=lambda i: []))
    assert card.labels == ("dog", "emu", "cat")
    assert card.splits["train"].classes == {}


def test_classes_that_train_lacks(use, prepare_rows):
    data = {"train": rows(1000, 20, truth=animals), "test": rows(2000, 5, truth=lambda i: ["emu"])}
    with pytest.raises(DataError, match=r"data\.test: train has no samples of 'emu'"):
        prepare_rows(use(PlainTask("structure", "random")), **data)
    assert prepare_rows(use(PlainTask("structure", "random", names=("cat", "dog", "emu"))), **data).labels == (
        "cat",
        "dog",
        "emu",
    )


def test_other_structures_other_fingerprint(use, prepare_rows):
    task = use(PlainTask("structure", "random"))
    first = prepare_rows(task, train=rows(1000, 20, truth=animals))
    other = prepare_rows(task, train=rows(1000, 20, truth=lambda i: animals(i) if i else ["cat", "dog", "dog"]))
    assert first.fingerprint != other.fingerprint
    assert prepare_rows(task, train=rows(1000, 20, truth=animals)).fingerprint == first.fingerprint


def test_truths_are_read_one_by_one(tmp_path):
    pieces = [b"one", b"", b"three", b"4"]
    (tmp_path / "t.bin").write_bytes(b"".join(pieces))
    truths = Truths(tmp_path / "t.bin", np.cumsum([len(piece) for piece in pieces]))
    assert list(truths) == pieces == [truths[i] for i in range(4)]
    assert truths[-1] == b"4"
    assert truths[np.int64(2)] == b"three"
    assert truths[1:3] == pieces[1:3]
    assert truths[[2, 0]] == truths[np.array([2, 0])] == [b"three", b"one"]
    assert truths[[]] == []
    assert truths[np.array([True, False, False, True])] == [b"one", b"4"]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            truths[outside]


# ------------------------------------------------------------------------------------------------------- labels


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=80), st.floats(0.05, 0.9), st.integers(0, 5), st.integers(2, 4)
)
def test_whole_labels_are_cut(values, share, seed, left):
    labels = np.array(values)
    aside = cut_labels(labels, share, seed, left)
    taken, kept = set(labels[aside]), set(labels[~aside])
    assert not taken & kept
    if len(set(values)) >= 2 + left:
        assert len(taken) >= 2
        assert len(kept) >= left
        assert len(taken) <= max(2, round(share * len(set(values))))
    else:
        assert not taken
    assert (aside == cut_labels(labels, share, seed, left)).all()


def people(start, names, count=6):
    return [{"text": str(start + 100 * n + i), "label": name} for n, name in enumerate(names) for i in range(count)]


def test_by_label(use, prepare_rows):
    task = use(PlainTask(splitting="by-label"))
    card = prepare_rows(task, train=people(1000, [f"p{i:02}" for i in range(20)]))
    held = {name: set(split.classes) for name, split in card.splits.items()}
    assert [len(held[name]) for name in SPLITS] == [13, 3, 4]
    assert not held["train"] & held["test"] | held["train"] & held["validation"] | held["validation"] & held["test"]
    assert set(card.labels[:13]) == held["train"]  # a head over train's labels needs no gaps
    assert list(card.labels[:13]) == sorted(held["train"])
    assert "of train's labels" in card.facts["split"]["test"]
    assert codes(card) == ["SEEN"]


def test_labels_that_only_test_has_are_fine(use, prepare_rows, workspace):
    task = use(PlainTask(splitting="by-label"))
    card = prepare_rows(task, train=people(1000, "bcde"), validation=people(3000, "yx"), test=people(5000, "za"))
    assert card.labels == ("b", "c", "d", "e", "a", "x", "y", "z")
    found = truths_by_text(card, workspace)
    assert {card.labels[number] for number in found["test"].values()} == {"a", "z"}


def test_identities_on_two_sides_are_taken_from_train(use, prepare_rows):
    task = use(PlainTask(splitting="by-label"))
    card = prepare_rows(task, train=people(1000, "abcd"), validation=people(3000, "dx"), test=people(5000, "ay"))
    shared = [problem for problem in card.problems if problem.code == "IDENTITY_IN_TWO_SPLITS"]
    assert [(problem.split, problem.examples) for problem in shared] == [("train", ("a",)), ("train", ("d",))]
    assert "their 6 samples were removed from train" in shared[0].sentence
    assert {name: set(split.classes) for name, split in card.splits.items()} == {
        "train": {"b", "c"},
        "validation": {"d", "x"},
        "test": {"a", "y"},
    }


def test_by_label_that_is_refused(use, prepare_rows):
    task = use(PlainTask(splitting="by-label"))
    with pytest.raises(DataError, match="only 5 different labels; at least 6 are needed, because validation and test"):
        prepare_rows(task, train=people(1000, "abcde"))
    with pytest.raises(DataError, match="nothing is left of it, all of it also occurs"):
        prepare_rows(task, train=people(1000, "ab"), test=people(5000, "ab"))
    with pytest.raises(DataError, match=r"label 'a' \(and 5 more labels\) has 6 different samples; at least 7"):
        prepare_rows(task, train=people(1000, "abcdef"), options={"min_class_samples": 7})


def test_copies_under_two_labels_do_not_leak(use, prepare_rows):
    task = use(PlainTask(splitting="by-label"))
    twins = [{"text": "1000", "label": name} for name in "bcdefgh"]
    card = prepare_rows(task, train=[*people(1000, "abcdefgh"), *twins])
    leaks = {problem.split for problem in card.problems if problem.code == "LEAK"}
    assert leaks == {"train", "validation"}


# ------------------------------------------------------------------------------------------------------- judged


def test_data_that_is_only_judged_by(use, prepare_rows, workspace):
    task = use(PlainTask())
    card = prepare_rows(task, ("yes", "no", "maybe"), judged=True, test=rows(1000, 9, label=lambda i: "no"))
    assert card.labels == ("yes", "no", "maybe")
    assert sizes(card) == {"train": 0, "validation": 0, "test": 9}
    assert set(truths_by_text(card, workspace)["test"].values()) == {1}
    assert task.surveyed == []
    data = open_data(card.fingerprint, workspace)
    assert data.split("train").prepared((2,)).shape == (0, 2)
    with pytest.raises(DataError, match="no training samples to learn from"):
        data.calibration((2,), 5, 0)


def test_judged_by_a_test_part_alone(use, prepare_rows):
    data = {"train": rows(1, 9, label=lambda i: "b"), "test": people(100, "a")}
    card = prepare_rows(use(PlainTask()), ("a",), judged=True, **data)
    assert sizes(card) == {"train": 0, "validation": 0, "test": 6}


def test_judged_labels_that_the_model_lacks(use, prepare_rows):
    data = {"test": rows(1000, 9, label=lambda i: "cats")}
    with pytest.raises(DataError, match=r"the model has no label 'cats'.*Did you mean 'cat'\?"):
        prepare_rows(use(PlainTask()), ("cat", "dog"), judged=True, **data)
    assert prepare_rows(use(PlainTask()), judged=True, **data).labels == ("cats",)
    by_label = prepare_rows(use(PlainTask(splitting="by-label")), ("dog", "ant"), judged=True, **data)
    assert by_label.labels == ("dog", "ant", "cats")
    structures = {"test": rows(1000, 9, truth=animals)}
    with pytest.raises(DataError, match="the model has no label 'dog'"):
        prepare_rows(use(PlainTask("structure", "random")), ("cat",), judged=True, **structures)


def test_judged_numbers(use, prepare_rows):
    card = prepare_rows(use(PlainTask("number", "random")), judged=True, test=rows(1000, 3, label=float))
    assert sizes(card) == {"train": 0, "validation": 0, "test": 3}
    assert card.facts["truth_range"]["largest"] == 2


# ------------------------------------------------------------------------------------------------- what is seen


def test_the_survey_sees_train_decoded(use, prepare_rows):
    task = use(PlainTask())
    card = prepare_rows(task, train=people(1000, "ab", 30))
    [(values, truths, facts)] = task.surveyed
    assert len(values) == len(truths) == sizes(card)["train"]
    assert [int(value >= 1100) for value in values] == list(truths)
    assert facts["lengths"] == {"smallest": [4], "median": [4], "largest": [4]}
    assert card.facts["total"] == sum(values)
    assert card.problems[-1].code == "SEEN"


@pytest.mark.parametrize(("likeness", "expected"), [(False, 0), (True, 38)])  # neighbours among 20 numbers, twice
def test_near_copies_are_judged_by_the_task(use, prepare_rows, likeness, expected):
    card = prepare_rows(use(PlainTask(likeness=likeness)), train=people(1000, "ab", 20))
    assert sum(problem.count for problem in card.problems if problem.code.startswith("NEAR_")) == expected


def test_options_of_a_task(use, prepare_rows):
    task = use(PlainTask())
    prepare_rows(task, train=people(1000, "ab"), options={"flavour": "sweet"})
    with pytest.raises(DataError, match="Did you mean flavour"):
        prepare_rows(task, train=people(1000, "ab"), options={"flavor": "sweet"})
