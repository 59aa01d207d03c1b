"""Warm-up and windows on a fake clock: when timing starts and when it stops."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.stages.measure.windows import (
    AGREEMENT,
    FEWEST_CALLS,
    FEWEST_WINDOWS,
    STRETCH,
    WINDOWS,
    Timings,
    run_windows,
    spread,
    warm_up,
)


class Machine:
    """Calls take the given milliseconds, one after another, and move the clock."""

    def __init__(self, *milliseconds, other_parts=0.0):
        self.now, self.calls, self._other = 0.0, 0, other_parts
        self._next = itertools.chain(milliseconds[:-1], itertools.repeat(milliseconds[-1]))

    def call(self):
        model = next(self._next)
        self.calls += 1
        self.now += (model + self._other) / 1e3
        return int(self._other * 1e6), 0, int(model * 1e6), 0

    def clock(self):
        return self.now


def windows(machine, seconds=1.0, samples=1, least_calls=8, enough_calls=10, **more):
    limits = {"samples": samples, "least_calls": least_calls, "enough_calls": enough_calls}
    return run_windows(machine.call, machine.clock, seconds, **limits, **more)


def test_warm_up_ends_as_soon_as_two_blocks_agree():
    machine = Machine(50.0, 30.0, 10.0)
    calls = warm_up(machine.call, machine.clock, 10.0)
    assert calls == machine.calls
    assert machine.now < 3.5  # blocks of 1 s: the first holds the slow calls, the next two agree


def test_warm_up_goes_on_while_it_gets_faster():
    falling = [100.0 * 0.9**step for step in range(60)]
    machine = Machine(*falling)
    calls = warm_up(machine.call, machine.clock, 1.0)
    assert calls > 10


def test_warm_up_has_an_end():
    machine = Machine(*([1.0, 100.0] * 500))
    warm_up(machine.call, machine.clock, 0.5)
    assert machine.now <= 0.7


def test_warm_up_of_a_call_longer_than_all_the_time_is_one_call():
    machine = Machine(5000.0)
    assert warm_up(machine.call, machine.clock, 0.5) == 1


def test_steady_calls_stop_early():
    machine = Machine(1.0)
    timings = windows(machine)
    assert len(timings.ends) == FEWEST_WINDOWS
    assert machine.now < 0.6
    assert timings.ends[-1] == len(timings.model) == machine.calls


def test_too_few_calls_do_not_stop_early():
    machine = Machine(1.0)
    timings = windows(machine, enough_calls=900)
    assert len(timings.model) >= 900


def test_time_is_up_even_with_too_few_calls():
    machine = Machine(1.0)
    windows(machine, enough_calls=10_000)
    assert machine.now == pytest.approx(1.0, abs=0.01)


def test_unsteady_calls_use_all_the_time():
    # Each window of 0.1 s is slower than the one before.
    steps = [value for step in range(1, 40) for value in [float(step)] * max(1, 100 // step)]
    machine = Machine(*steps)
    timings = windows(machine)
    assert machine.now >= 1.0
    assert len(timings.ends) >= WINDOWS - 2
    assert spread(timings, 1, 3) > AGREEMENT


def test_slow_calls_are_made_a_few_times_all_the_same():
    machine = Machine(400.0)
    timings = windows(machine, enough_calls=368)
    assert len(timings.model) == FEWEST_CALLS
    assert len(timings.ends) == FEWEST_CALLS


@pytest.mark.parametrize(("milliseconds", "calls"), [(5.0, 200), (20.0, 72), (40.0, 72), (100.0, 30), (800.0, 8)])
def test_time_is_exceeded_only_for_the_least_calls_and_not_without_end(milliseconds, calls):
    timings = windows(Machine(milliseconds), least_calls=72, enough_calls=368)
    # A window is longer than its tenth of a second by a part of a call.
    assert len(timings.model) == pytest.approx(calls, abs=max(2, 0.1 * calls))


def test_every_window_is_told():
    ticks = []
    timings = windows(Machine(1.0), tick=lambda: ticks.append(1))
    assert len(ticks) == len(timings.ends)


def timings_of(*each_window, decode=0.0):
    timings = Timings()
    for window in each_window:
        for model in window:
            timings.add((int(decode * 1e6), 0, int(model * 1e6), 0))
        timings.ends.append(len(timings.model))
    return timings


def test_spread_is_between_medians():
    assert spread(timings_of([1, 1, 9], [1.1, 1.1], [1, 1]), 1) == pytest.approx(0.1)
    assert spread(timings_of([5, 5], [1, 1], [1, 1]), 1, 2) == 0.0
    assert spread(timings_of([1, 1]), 1) == 0.0


def test_windows_that_see_other_samples_are_compared_on_the_model_alone():
    timings = Timings()
    for decode in (1, 5):  # the second window happens to hold large pictures
        for _ in range(4):
            timings.add((decode * 1_000_000, 0, 1_000_000, 0))
        timings.ends.append(len(timings.model))
    assert spread(timings, samples=64) == 0.0
    assert spread(timings, samples=4) == pytest.approx(1.0)


def test_totals_add_the_parts():
    timings = Timings()
    timings.add((1_000_000, 2_000_000, 3_000_000, 500_000))
    assert timings.totals() == [6.5]


@given(st.lists(st.floats(0.05, 300.0), min_size=1, max_size=200), st.floats(0.05, 2.0))
def test_windows_cover_every_call_once_and_time_is_kept(milliseconds, seconds):
    machine = Machine(*milliseconds)
    timings = windows(machine, seconds=seconds, least_calls=20, enough_calls=100)
    assert sum(len(window) for window in timings.by_window(timings.model)) == machine.calls
    assert timings.ends == sorted(set(timings.ends))
    assert machine.calls >= FEWEST_CALLS
    slowest = max(milliseconds) / 1e3
    longest_window = seconds / WINDOWS + slowest
    assert machine.now <= max(STRETCH * seconds + longest_window, FEWEST_CALLS * longest_window) + 1e-9
