import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sartor.reading.sample import label_text, natural_order
from sartor.stages.data.duplicates import conflicts, copies_within, group_numbers, leaked, near_pairs
from sartor.stages.data.splits import cut, share_for

samples = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=120)


@given(samples, st.floats(0.05, 0.5), st.integers(0, 5))
def test_copies_stay_together_and_no_class_is_emptied(rows, share, seed):
    labels, groups = np.array(rows).T
    aside = cut(labels, groups, share, seed)
    for group in np.unique(groups):
        assert len(set(aside[groups == group])) == 1
    owners = {group: labels[groups == group][0] for group in np.unique(groups)}
    for label in set(owners.values()):
        own = [group for group, owner in owners.items() if owner == label]
        taken = [group for group in own if aside[groups == group][0]]
        if len(own) == 1:
            assert not taken
        else:
            assert 1 <= len(taken) < len(own)


@given(st.integers(10, 400), st.floats(0.1, 0.4), st.integers(0, 9))
def test_share_is_kept_per_class(n, share, seed):
    labels = np.r_[np.zeros(n, int), np.ones(2 * n, int)]
    aside = cut(labels, np.arange(3 * n), share, seed)
    assert aside[:n].sum() == max(1, round(share * n))
    assert aside[n:].sum() == max(1, round(share * 2 * n))
    assert (aside == cut(labels, np.arange(3 * n), share, seed)).all()


def test_other_seed_other_choice():
    labels, groups = np.zeros(100, int), np.arange(100)
    assert (cut(labels, groups, 0.2, 0) != cut(labels, groups, 0.2, 1)).any()


def test_share_for():
    assert share_for(50_000, 1000) == 0.1
    assert share_for(7_000, 1000) == 1000 / 7000
    assert share_for(100, 1000) == 0.2


def test_group_numbers():
    assert group_numbers(b"a" * 16 + b"b" * 16 + b"a" * 16).tolist() == [0, 1, 0]
    assert group_numbers(b"\0" * 15 + b"\1" + b"\0" * 16).tolist() in ([0, 1], [1, 0])
    assert len(group_numbers(b"")) == 0


@given(samples, st.integers(0, 2))
def test_leaked_is_exactly_what_also_occurs_in_the_kept_split(rows, kept):
    splits, groups = np.array(rows)[:, 0] % 3, np.array(rows)[:, 1]
    cleaned = (kept + 1) % 3
    expected = [s == cleaned and bool((groups[splits == kept] == g).any()) for s, g in zip(splits, groups, strict=True)]
    assert leaked(groups, splits, kept, [cleaned]).tolist() == expected


@given(samples)
def test_conflicts_against_a_plain_count(rows):
    labels, groups = np.array(rows).T
    by_group = {}
    for label, group in rows:
        by_group.setdefault(group, []).append(label)
    expected = sum(len(found) for found in by_group.values() if len(set(found)) > 1)
    found = conflicts(groups, labels, "abcd", str)
    assert sum(problem.count for problem in found) == expected


def test_copies_within_names_pairs():
    found = copies_within(np.array([5, 6, 5, 5]), np.array([0, 0, 0, 2]), 0, "train", str)
    assert [(problem.count, problem.examples) for problem in found] == [(1, ("2 = 0",))]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=30), st.integers(0, 63), st.integers(0, 63))
def test_hashes_up_to_two_bits_apart_are_always_found(values, first, second):
    near = values[0] ^ (1 << first) ^ (1 << second)
    likeness = np.array([*values, near], np.uint64)
    groups = np.arange(len(likeness))
    pairs = near_pairs(likeness, np.zeros(len(likeness), int), groups)
    assert [0, len(values)] in pairs.tolist()
    for left, right in pairs:
        assert (int(likeness[left]) ^ int(likeness[right])).bit_count() <= 6


def test_pairs_across_splits_come_first():
    likeness = np.zeros(4, np.uint64)
    pairs = near_pairs(likeness, np.array([0, 0, 0, 2]), np.arange(4))
    assert {tuple(pair) for pair in pairs[:3].tolist()} == {(0, 3), (1, 3), (2, 3)}


def test_labels_as_text():
    values = [1, 1.0, True, " a ", b"b", None, float("nan"), "", 2.5]
    assert [label_text(value) for value in values] == ["1", "1", "True", "a", "b", None, None, None, "2.5"]


def test_natural_order():
    assert natural_order(["10", "9", "-1"]) == ["-1", "9", "10"]
    assert natural_order(["b10", "b9", "9"]) == ["9", "b10", "b9"]
    assert natural_order([]) == []
