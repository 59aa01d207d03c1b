"""The parts of training by themselves: order, rates, optimizers, averages, checkpoints, the stopping rule."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from sartor.blocks import ConvNorm, PatchStem, PooledHead
from sartor.jobs import Recipe
from sartor.stages.train import _checkpoints, _loop, _optimizers
from sartor.stages.train._average import Average, recalibrate_norms
from sartor.stages.train._feed import Feed, in_sequence, seed_of
from sartor.stages.train.hopeless import EARLIEST_SHARE, is_hopeless, reachable_score

CPU = torch.device("cpu")


def feed(samples=50, batch=8, seed=0):
    pixels = np.arange(samples, dtype=np.uint8).reshape(samples, 1, 1, 1).repeat(3, 3)
    return Feed(pixels, np.arange(samples), batch, seed, CPU)


class TestFeed:
    @given(samples=some.integers(1, 200), batch=some.integers(1, 64), seed=some.integers(0, 2**40))
    def test_no_sample_twice_in_an_epoch(self, samples, batch, seed):
        source = feed(samples, batch, seed)
        seen = [int(x) for step in range(source.steps_per_epoch) for x in source.batch(step)[1]]
        assert len(seen) == len(set(seen))
        assert len(seen) > samples - source.batch_size

    @given(step=some.integers(0, 500))
    def test_a_batch_depends_on_seed_and_step_only(self, step):
        warm = feed()
        for earlier in (3, 77, 5):
            warm.batch(earlier)
        assert torch.equal(warm.batch(step)[1], feed().batch(step)[1])
        assert not torch.equal(warm.batch(step)[1], feed(seed=1).batch(step)[1])

    def test_samples_stay_with_their_truths(self):
        inputs, truths = feed().batch(4)
        assert torch.equal(inputs[:, 0, 0, 0].long(), truths)

    def test_in_sequence_visits_all_in_order(self):
        pixels = np.zeros((11, 2, 2, 3), dtype=np.uint8)
        batches = list(in_sequence(pixels, np.arange(11), 4, CPU))
        assert [len(inputs) for inputs, _ in batches] == [4, 4, 3]
        assert torch.cat([truths for _, truths in batches]).tolist() == list(range(11))

    def test_seeds_of_neighbours_are_far_apart(self):
        seeds = {seed_of(a, b) for a in range(30) for b in range(30)}
        assert len(seeds) == 900
        assert all(0 <= seed < 2**63 for seed in seeds)


class TestRates:
    @given(steps=some.integers(1, 3000), warmup=some.floats(0, 0.9))
    def test_rate_rises_then_falls_and_stays_within_one(self, steps, warmup):
        shares = [_optimizers.rate_share(step, steps, warmup) for step in range(steps)]
        assert all(0 < share <= 1 for share in shares)
        peak = shares.index(max(shares))
        assert shares[: peak + 1] == sorted(shares[: peak + 1])
        assert shares[peak:] == sorted(shares[peak:], reverse=True)

    def test_known_values(self):
        shares = [_optimizers.rate_share(step, 10, 0.2) for step in range(10)]
        assert shares == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


class TestOptimizers:
    def test_orthogonal_keeps_directions_and_evens_lengths(self):
        torch.manual_seed(0)
        for shape in ((8, 72), (72, 8), (16, 16)):
            matrix = torch.randn(shape)
            if shape == (16, 16):
                matrix = 0.1 * matrix + torch.eye(16)
            values = torch.linalg.svdvals(_optimizers.orthogonal(matrix))
            assert values.min() > 0.4
            assert values.max() < 1.3

    def net(self):
        return nn.Sequential(
            PatchStem(24, side=2, stride=1), ConvNorm(24, 32), ConvNorm(32, 32, groups=32), PooledHead(32, 5, (7, 7))
        )

    def test_only_full_filters_with_a_norm_behind_and_not_the_first(self):
        net = self.net()
        filters = _optimizers.normed_filters(net)
        assert len(filters) == 1
        assert filters[0] is net[1].conv.weight
        plain = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))
        assert _optimizers.normed_filters(plain) == []

    @pytest.mark.parametrize("name", ["muon", "adamw", "nesterov"])
    def test_every_parameter_has_one_optimizer_and_moves(self, name):
        net = self.net()
        optimizers = _optimizers.make_optimizers(net, Recipe(1, 8, name, 0.1, 0.01), torch.float32)
        held = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in net.parameters())
        before = {key: value.clone() for key, value in net.named_parameters()}
        torch.manual_seed(0)
        nn.functional.cross_entropy(net(torch.randn(16, 3, 8, 8)), torch.arange(16) % 5).backward()
        for optimizer in optimizers:
            optimizer.step()
        assert all(not torch.equal(value, before[key]) for key, value in net.named_parameters())

    def test_muon_step_has_the_length_of_the_rate(self):
        weight = nn.Parameter(torch.randn(16, 8, 3, 3))
        weight.grad = torch.randn_like(weight)
        muon = _optimizers.Muon([weight], lr=0.1, momentum=0.6, dtype=torch.float32)
        muon.step()
        length = weight.detach().norm() / 16**0.5
        assert 0.98 < length < 1.05  # norm put to sqrt(16), then moved by 0.1 at about a right angle

    def test_a_descent_on_a_simple_problem(self):
        torch.manual_seed(0)
        net = nn.Sequential(ConvNorm(8, 16), PooledHead(16, 2, (4, 4)))
        inputs, truths = torch.randn(64, 8, 4, 4), torch.arange(64) % 2
        inputs[truths == 1] += 0.5
        optimizers = _optimizers.make_optimizers(net, Recipe(1, 64, "muon", 0.1, 0.0), torch.float32)
        losses = []
        for _ in range(30):
            loss = nn.functional.cross_entropy(net(inputs), truths)
            losses.append(loss.item())
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        assert losses[-1] < 0.25 * losses[0]


class TestAverage:
    def test_follows_weights_and_statistics(self):
        net = ConvNorm(3, 4)
        average = Average(net, decay=0.5)
        start = net.conv.weight.detach().clone()
        with torch.no_grad():
            net.conv.weight.add_(1.0)
            net.norm.running_mean.fill_(8.0)
        average.update(net, step=1000)
        assert torch.allclose(average.module.conv.weight, start + 0.5)
        assert torch.allclose(average.module.norm.running_mean, torch.full((4,), 4.0))

    def test_first_steps_forget_the_start(self):
        net = nn.Linear(1, 1)
        average = Average(net, decay=0.999)
        with torch.no_grad():
            net.weight.fill_(1.0)
        for step in range(60):
            average.update(net, step)
        assert float(average.module.weight) == pytest.approx(1.0, abs=0.02)

    def test_recalibrated_norms_hold_the_mean_of_the_batches(self):
        net = ConvNorm(3, 4).eval()
        batches = [torch.randn(16, 3, 5, 5) + shift for shift in (0.0, 2.0)]
        recalibrate_norms(net, batches)
        means = torch.stack([net.conv(batch).mean((0, 2, 3)) for batch in batches]).mean(0)
        assert torch.allclose(net.norm.running_mean, means, atol=1e-5)
        assert not net.norm.training
        assert net.norm.momentum == 0.1


class TestCheckpoints:
    def write(self, folder, step):
        tensors = {"a": torch.full((3, 2), float(step)), "b": torch.arange(4)}
        _checkpoints.write_checkpoint(folder, step, tensors, {"seconds": step / 2})

    def test_newest_of_two_generations(self, tmp_path):
        assert _checkpoints.read_checkpoint(tmp_path) is None
        for step in (5, 10, 15):
            self.write(tmp_path, step)
        step, tensors, state = _checkpoints.read_checkpoint(tmp_path)
        assert (step, state) == (15, {"seconds": 7.5})
        assert torch.equal(tensors["a"], torch.full((3, 2), 15.0))
        assert len(list(tmp_path.iterdir())) == 4

    @settings(max_examples=60, deadline=None)
    @given(data=some.data())
    def test_any_damage_is_seen(self, data, tmp_path_factory):
        folder = tmp_path_factory.mktemp("damage")
        self.write(folder, 5)
        self.write(folder, 10)
        victim = data.draw(some.sampled_from(sorted(folder.glob("*10.*"))))
        content = bytearray(victim.read_bytes())
        place = data.draw(some.integers(0, len(content) - 1))
        if data.draw(some.booleans()):
            content[place] ^= 1 << data.draw(some.integers(0, 7))
        else:
            del content[place:]
        victim.write_bytes(bytes(content))
        step, tensors, _ = _checkpoints.read_checkpoint(folder)
        assert step == 5
        assert float(tensors["a"][0, 0]) == 5.0

    def test_tidy_removes_what_a_kill_leaves(self, tmp_path):
        self.write(tmp_path, 5)
        (tmp_path / ".checkpoint-000000010.safetensors.xyz").write_bytes(b"half")
        (tmp_path / "checkpoint-000000010.safetensors").write_bytes(b"whole but without a record")
        _checkpoints.tidy(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
        assert _checkpoints.read_checkpoint(tmp_path)[0] == 5


class TestHopeless:
    unit = some.floats(0, 1)

    @given(score=unit, floor=unit, share=some.floats(0, EARLIEST_SHARE, exclude_max=True))
    def test_never_before_half(self, score, floor, share):
        assert not is_hopeless(score, share, floor)

    @given(score=unit, first=unit, second=unit)
    def test_hope_shrinks_with_time_and_is_never_below_the_score(self, score, first, second):
        early, late = sorted((first, second))
        assert reachable_score(score, early) >= reachable_score(score, late) - 1e-12
        assert reachable_score(score, late) >= score - 1e-12

    @given(score=unit, share=unit)
    def test_a_floor_already_reached_is_not_hopeless(self, score, share):
        assert not is_hopeless(score, share, score - 1e-9)

    def test_a_real_curve_with_falling_rate_is_left_alone(self):
        curve = [0.585, 0.703, 0.653, 0.799, 0.841, 0.870, 0.885, 0.899]  # an eight-epoch training of airbench94
        assert not any(is_hopeless(score, place / 8, 0.899) for place, score in enumerate(curve, 1))

    def test_far_away_is_hopeless(self):
        assert is_hopeless(0.60, 0.5, 0.95)
        assert is_hopeless(0.85, 0.9, 0.95)


@pytest.mark.parametrize(
    ("step", "seconds", "limit", "steps"),
    [
        (100, 10.0, 0.0, 1000),  # no bound
        (100, 10.0, 200.0, 1000),  # in time
        (100, 10.0, 50.0, 500),  # at half the pace hoped for
        (1, 0.5, 50.0, 1000),  # too early to tell
        (490, 49.9, 50.0, 490 + 1),  # over in a moment: one more step, no fewer
        (100, 10.0, 100.5, 1000),  # within the noise of its pace
    ],
)
def test_steps_are_planned_so_that_they_end_in_time(step, seconds, limit, steps):
    progress = _loop.Progress(step=step, seconds=seconds)
    assert _loop.planned_steps(progress, 1000, 1000, limit) == steps


def test_a_schedule_grows_back_when_the_pace_does():
    progress = _loop.Progress(step=300, seconds=15.0)
    assert _loop.planned_steps(progress, 500, 1000, 50.0) == 1000
