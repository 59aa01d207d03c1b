"""The pace of the processor: what is usual, learnt from a small file that may be lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.stages.measure.pace import SLOWED, pace_ns, remember_pace, usual_pace


def test_the_usual_pace_is_the_fast_one_even_if_it_is_rare():
    assert usual_pace([1.7, 1.0, 1.7, 1.01, 1.7, 1.7, 1.7]) == pytest.approx(1.01)
    assert usual_pace([3.0]) == 3.0


def test_one_boost_does_not_make_the_rest_slow():
    assert usual_pace([0.5] + [1.0] * 9) == 1.0


def test_paces_are_kept_per_device(tmp_path):
    path = tmp_path / "paces.json"
    assert remember_pace(path, "one", 100.0) == 100.0
    assert remember_pace(path, "two", 300.0) == 300.0
    assert remember_pace(path, "one", 170.0) == 100.0


def test_a_machine_that_became_slower_for_good_is_usual_again(tmp_path):
    path = tmp_path / "paces.json"
    for _ in range(10):
        remember_pace(path, "one", 100.0)
    for _ in range(40):
        usual = remember_pace(path, "one", 200.0)
    assert usual == 200.0


@pytest.mark.parametrize("content", ["", "[1]", '{"one": 3}', "\0"])
def test_a_damaged_file_is_learnt_again(content, tmp_path):
    path = tmp_path / "paces.json"
    path.write_text(content)
    assert remember_pace(path, "one", 5.0) == 5.0
    assert json.loads(path.read_text())


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60))
def test_usual_is_one_of_the_faster_ones(paces):
    usual = usual_pace(paces)
    assert usual in paces
    assert sum(pace <= usual for pace in paces) * 4 >= len(paces)
    assert sum(pace < usual for pace in paces) * 4 <= len(paces)


def test_the_pace_can_be_taken():
    assert 1_000 < pace_ns() < 100_000_000
    assert SLOWED > 1.03
