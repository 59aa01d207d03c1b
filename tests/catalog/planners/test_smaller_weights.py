"""When the default planner stores weights in 8 bits, played in a pretend world."""

from dataclasses import replace

import pytest
import world
from world import World, findings, play

from sartor.jobs import NetworkCost

WAYS = world.WAYS | {"w8/onnxruntime": ("int8-weights", 1.0)}
EASY = (("accuracy.min", 0.75), ("size_mb.max", 8.0))  # no limit on time, which a parent in 32 bits may miss


@pytest.fixture(autouse=True)
def _ways(monkeypatch):
    monkeypatch.setattr(world, "WAYS", WAYS)


class Stored(World):
    """int8 loses ``lost``; a file of weights in 8 bits is a quarter as large and loses nothing."""

    def __init__(self, lost):
        super().__init__()
        self.lost = lost

    def _compress(self, job, dice):
        size, score, _ = self._files[job.artifact]
        return self._made("onnx", job, size, score - (self.lost if job.compressor == "int8-static" else 0), "c")

    def _measure(self, job, dice):
        result, seconds = super()._measure(job, dice)
        if job.pipeline.precision != "w8":
            return result, seconds
        found = [
            replace(m, value=m.value / 4, low=m.low / 4, high=m.high / 4) if m.metric.name == "size_mb" else m
            for m in result.measurements
        ]
        return replace(result, measurements=tuple(found)), seconds


def start(limits):
    known = findings(limits, seconds=3600.0)  # time for every way of a network
    for name, seed in known._seeds.items():
        if "/w8/" in name:
            known._seeds[name] = replace(seed, notes={**seed.notes, "stores_less": True})
    return known


def subjects(actions, stage):
    return [a.subject for a in actions if a.stage == stage and "/w8/" in a.subject]


def test_it_is_tried_once_its_parent_is_trained_and_only_where_int8_does_worse():
    actions = play(start(EASY), Stored(lost=0.05))
    trained = next(place for place, action in enumerate(actions) if action.stage == "train")
    assert not subjects(actions[:trained], "measure")
    judged = subjects(actions, "evaluate")
    assert judged
    assert set(judged) <= set(subjects(actions, "measure"))
    assert not subjects(play(start(EASY), Stored(lost=0.0)), "evaluate")


def test_4_bits_are_tried_behind_8(monkeypatch):
    monkeypatch.setattr(world, "WAYS", WAYS | {"w4/onnxruntime": ("int4-weights", 1.0)})
    known = findings(EASY, seconds=3600.0)
    for name, seed in known._seeds.items():
        if seed.candidate.precision in ("w8", "w4"):
            known._seeds[name] = replace(seed, notes={**seed.notes, "stores_less": True})
    scored = [a.subject for a in play(known, Stored(lost=0.05)) if a.stage == "evaluate"]
    networks = {name.split("/")[0] for name in scored if "/w8/" in name}
    assert networks
    for network in networks:
        places = [scored.index(f"{network}/{precision}/onnxruntime") for precision in ("w8", "w4")]
        assert places == sorted(places)


def test_it_is_measured_before_training_where_its_parent_is_too_large():
    actions = play(start((("accuracy.min", 0.5), ("size_mb.max", 0.5))), Stored(lost=0.0))
    trained = next(place for place, action in enumerate(actions) if action.stage == "train")
    assert {name.split("/")[0] for name in subjects(actions[:trained], "measure")} >= {"resnet9-m"}


def test_it_is_found_where_nothing_else_is_searched():
    known = start(EASY)
    known._seeds = {
        name: seed if "/w8/" in name or seed.notes["baseline"] else replace(seed, notes={"reference": True})
        for name, seed in known._seeds.items()
        if "/w8/" in name or "/fp32/" in name
    }
    play(known, Stored(lost=0.0))
    assert "/w8/" in known.decision().chosen


def test_tables_are_stored_smaller_though_they_multiply_nothing():
    class LookingUp(Stored):
        def _describe(self, job, dice):
            result, seconds = super()._describe(job, dice)
            return replace(
                result, costs=tuple(NetworkCost(c.network, 0, 10**5, 10**5, 0) for c in result.costs)
            ), seconds

    known = start(EASY)
    actions = play(known, LookingUp(lost=0.0))
    codes = {fate.candidate: fate.code for fate in known.decision().fates}
    assert codes["mobile-s/int8/onnxruntime"] == "NO_PRODUCTS"
    assert "NO_PRODUCTS" not in {code for name, code in codes.items() if "/w8/" in name}
    assert subjects(actions, "evaluate")
