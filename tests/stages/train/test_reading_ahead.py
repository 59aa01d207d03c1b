"""Batches read ahead on a thread, and data larger than memory in blocks: the same bits, the same errors, no leak."""

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from sartor.codec import digest
from sartor.errors import DataError
from sartor.stages.train import _feed, _order, _steps, train
from sartor.stages.train._ahead import Ahead, all_ahead
from sartor.stages.train._feed import Feed, in_sequence
from sartor.stages.train._order import block_rows, read_rows, shuffled_in_windows, window_for

CPU = torch.device("cpu")


def threads_of_readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sartor-ahead")]


def on_disk(folder, rows, shape=(5,), dtype=np.float32):
    """An array file whose every value tells its row."""
    values = np.arange(rows, dtype=dtype).reshape(rows, *[1] * len(shape)) * np.ones((1, *shape), dtype)
    np.save(folder / "rows.npy", values)
    return np.load(folder / "rows.npy", mmap_mode="r")


class TestAhead:
    def test_the_next_ones_are_made_before_they_are_asked_for_and_no_more(self):
        made, waits = [], threading.Event()

        def make(number):
            made.append(number)
            if number == 3:
                waits.set()
            return number * 10

        reader = Ahead(make, 3)
        assert reader.take(0) == 0
        assert waits.wait(10)
        time.sleep(0.01)
        assert made == [0, 1, 2, 3]
        assert [reader.take(number) for number in (1, 2, 3)] == [10, 20, 30]
        reader.close()

    def test_a_number_out_of_turn_is_right(self):
        reader = Ahead(lambda number: number, 2)
        assert [reader.take(number) for number in (4, 5, 0, 9, 9, 10)] == [4, 5, 0, 9, 9, 10]
        reader.close()

    def test_what_it_raises_reaches_the_caller_who_may_go_on(self):
        def make(number):
            if number == 1:
                raise DataError("row 1 is gone")
            return number

        reader = Ahead(make, 2)
        assert reader.take(0) == 0
        with pytest.raises(DataError, match="row 1 is gone"):
            reader.take(1)
        assert reader.take(2) == 2
        reader.close()

    def test_nothing_is_made_from_the_end_on_and_the_thread_ends(self):
        made = []
        assert list(all_ahead(lambda number: made.append(number) or number, 3, 2)) == [0, 1, 2]
        assert made == [0, 1, 2]
        assert not threads_of_readers()

    def test_it_ends_where_the_reader_of_all_stops_early(self):
        for number in all_ahead(lambda number: number, 100, 2):
            if number == 3:
                break
        assert not threads_of_readers()


class TestWindows:
    @given(
        rows=some.integers(1, 300), block=some.integers(1, 20), blocks=some.integers(1, 9), seed=some.integers(0, 2**30)
    )
    def test_every_row_comes_once_and_blocks_stay_in_their_window(self, rows, block, blocks, seed):
        order, bounds = shuffled_in_windows(np.random.default_rng(seed), rows, block, block * blocks)
        assert sorted(order) == list(range(rows))
        assert bounds[0] == 0
        assert bounds[-1] == rows
        windows = [set((order[a:b] // block).tolist()) for a, b in zip(bounds, bounds[1:], strict=False)]
        assert all(0 < len(held) <= blocks for held in windows)
        assert sum(map(len, windows)) == -(-rows // block)

    def test_rows_of_a_window_are_mixed_and_epochs_differ(self):
        order, bounds = shuffled_in_windows(np.random.default_rng(0), 1000, 10, 100)
        first = order[: bounds[1]]
        assert len(set((first[:10] // 10).tolist())) > 3
        assert not np.array_equal(order, shuffled_in_windows(np.random.default_rng(1), 1000, 10, 100)[0])

    def test_only_what_is_larger_than_half_of_the_memory_is_read_in_windows(self):
        assert window_for(1000, 10**6, 2 * 10**9) == 0
        window = window_for(1001, 10**6, 2 * 10**9)
        assert window == 15  # a 128th of the memory, in blocks of one row
        assert window_for(10**6, 1000, 10**9) % block_rows(1000) == 0
        assert window_for(10**9, 10**5, 10**13) * 10**5 <= _order.WINDOW_BYTES

    def test_a_row_larger_than_a_window_is_read_all_the_same(self):
        assert window_for(100, 10**9, 10**10) == 1

    def test_rows_of_a_file_are_those_of_its_map(self, tmp_path):
        stored = on_disk(tmp_path, 100, (3, 2))
        rows = np.array([0, 1, 2, 7, 40, 41, 99])
        assert np.array_equal(read_rows(stored, rows), stored[rows])
        assert not isinstance(read_rows(stored, rows), np.memmap)
        flat = on_disk(tmp_path, 30, (), np.float16)
        assert read_rows(flat, np.array([3, 4, 29])).tolist() == [3, 4, 29]

    def test_a_file_that_is_gone_or_cut_short_is_named(self, tmp_path):
        stored = on_disk(tmp_path, 1000)
        path = tmp_path / "rows.npy"
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(DataError, match=r"rows\.npy cannot be read any more \(it ends too early\)"):
            read_rows(stored, np.array([5, 900]))
        path.unlink()
        with pytest.raises(DataError, match=r"rows\.npy cannot be read any more \(No such file"):
            read_rows(stored, np.array([5]))


class TestFeed:
    def feed(self, folder, rows=400, batch=32, seed=0, window=0):
        path = folder / "rows.npy"
        stored = np.load(path, mmap_mode="r") if path.exists() else on_disk(folder, rows)
        return Feed(stored, np.arange(rows), batch, seed, CPU, window)

    @pytest.mark.parametrize("window", [0, 60])
    def test_ahead_or_not_the_bits_are_the_same(self, tmp_path, monkeypatch, window):
        monkeypatch.setattr(_order, "BLOCK_BYTES", 300)
        monkeypatch.setattr(_feed, "SMALL_BYTES", 0)
        feed = self.feed(tmp_path, window=window)
        assert feed.ahead == _feed.AHEAD
        monkeypatch.setattr(_feed, "AHEAD", 0)
        other = self.feed(tmp_path, window=window)
        other._reader = Ahead(other._read, 0)
        for step in (*range(30), 3, 100, 0):
            for one, same in zip(feed.batch(step), other.batch(step), strict=True):
                assert torch.equal(one, same)
        feed.close()
        other.close()
        assert not threads_of_readers()

    @given(
        rows=some.integers(1, 200),
        batch=some.integers(1, 64),
        blocks=some.integers(1, 6),
        block=some.integers(1, 400),
        step=some.integers(0, 40),
    )
    @settings(max_examples=60, deadline=None)
    def test_in_windows_too_an_epoch_has_no_sample_twice(self, tmp_path_factory, rows, batch, blocks, block, step):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_order, "BLOCK_BYTES", block)
            folder = tmp_path_factory.mktemp("rows")
            feed = self.feed(folder, rows, batch, window=blocks * block_rows(28))
            batches = [feed.batch(number) for number in range(feed.steps_per_epoch)]
            seen = [int(x) for _, targets in batches for x in targets]
            assert len(seen) == len(set(seen)) > rows - feed.batch_size
            assert all(torch.equal(inputs[:, 0].long(), targets) for inputs, targets in batches)
            again = self.feed(folder, rows, batch, window=blocks * block_rows(28))
            assert torch.equal(feed.batch(step)[1], again.batch(step)[1])
            feed.close()
            again.close()

    def test_small_data_on_a_cpu_takes_no_thread(self, tmp_path):
        feed = self.feed(tmp_path)
        feed.batch(0)
        assert feed.ahead == 0
        assert feed.held_bytes == feed.row_bytes
        assert not threads_of_readers()

    def test_large_batches_are_bounded_in_memory(self):
        row = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1000, 10**7), (0, 0))
        feed = Feed(row, np.arange(1000), 20, 0, CPU)
        assert feed.ahead == 1
        assert feed.held_bytes == 2 * feed.row_bytes

    def test_the_window_is_part_of_what_is_held(self, tmp_path):
        feed = self.feed(tmp_path, window=100)
        assert feed.held_bytes == (1 + feed.ahead) * feed.row_bytes + 300 * 28
        feed.close()

    def test_in_sequence_is_the_same_on_a_thread(self, tmp_path, monkeypatch):
        stored = on_disk(tmp_path, 100)
        plain = list(in_sequence(stored, np.arange(100), 30, CPU))
        monkeypatch.setattr(_feed, "SMALL_BYTES", 0)
        ahead = list(in_sequence(stored, np.arange(100), 30, CPU))
        assert [len(inputs) for inputs, _ in ahead] == [30, 30, 30, 10]
        pairs = zip(plain, ahead, strict=True)
        assert all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


class TestTraining:
    @pytest.fixture(autouse=True)
    def little_memory(self, monkeypatch):
        monkeypatch.setattr(_feed, "SMALL_BYTES", 0)
        monkeypatch.setattr(_order, "BLOCK_BYTES", 1000)
        monkeypatch.setattr(_steps, "whole_memory", lambda: 400_000)

    def test_killed_and_continued_it_ends_in_the_same_bits(self, digits, resumes):
        resumes(digits.job("resnet9", 1, batch_size=128), 5)
        assert not threads_of_readers()

    def test_the_order_is_told_and_stays_with_the_training(self, digits, monkeypatch):
        result = train(digits.job("resnet9", 1, batch_size=256, seed=3), digits.workspace)
        assert result.conditions["order"] == "blocks of 5 rows, then the rows of 15 among each other"
        monkeypatch.setattr(_steps, "whole_memory", lambda: 10**12)
        job = digits.job("resnet9", 1, batch_size=256, seed=4)
        assert train(job, digits.workspace).conditions["order"] == "all rows"

    def test_data_that_is_gone_ends_the_training_in_its_own_words(self, digits, monkeypatch):
        job = digits.job("resnet9", 1, batch_size=256, seed=5)

        def gone(array, rows):
            raise DataError("rows.npy cannot be read any more (it ends too early); prepare the data again")

        monkeypatch.setattr(_order, "read_rows", gone)
        with pytest.raises(DataError, match="it ends too early"):
            train(job, digits.workspace)
        assert not threads_of_readers()
        digits.workspace.clear_scratch(digest(job))
