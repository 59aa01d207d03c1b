"""The planner on a grid that was really recorded, replayed by the benchmark's own world."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def search(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search

    return search


@pytest.mark.parametrize("seed", [0, 1])
def test_no_long_training_goes_into_a_network_that_only_noise_lets_fit(search, seed):
    """Timings of a busy minute left open whether a network fits; it was trained, and nothing was left for others."""
    recording = search.read_recording(BENCHMARKS / "results" / "search" / "grid-digits.json")
    limits = search.drawn(recording, 2)[1]
    score, held, spent = search.ours(recording, limits, 0.1 * recording.exhaustive_s(), seed)
    assert score > 0.95 * recording.best(limits)
    assert held == score
    assert spent < 0.11 * recording.exhaustive_s()


def test_a_near_miss_takes_no_long_training_while_others_surely_fit(search):
    """Half of the time went into a network measured at 0.95 to 1.05 of the limit: its confirmation told nothing."""
    recording = search.read_recording(BENCHMARKS / "results" / "search" / "grid-digits.json")
    limits = search.drawn(recording, 4)[3]
    score, held, spent = search.ours(recording, limits, 0.05 * recording.exhaustive_s(), 0)
    assert held == score > 0.95 * recording.best(limits)
    assert spent < 0.055 * recording.exhaustive_s()


def test_half_a_minute_is_spent_on_training_and_not_on_what_can_wait(search):
    """A baseline, an untrained file and the score of a way that is not run left half an epoch for training."""
    recording = search.read_recording(BENCHMARKS / "results" / "search" / "grid-digits.json")
    limits = search.drawn(recording, 2)[1]
    score, held, spent = search.ours(recording, limits, 0.025 * recording.exhaustive_s(), 0)
    assert held == score > 0.9 * recording.best(limits)
    assert spent < 0.0275 * recording.exhaustive_s()


def test_a_recording_names_no_place_of_the_machine_that_made_it():
    for path in (BENCHMARKS / "results" / "search").glob("grid-*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))["requirement"]["data"]
        assert not any(Path(data[side]).is_absolute() for side in ("train", "validation", "test")), path.name
