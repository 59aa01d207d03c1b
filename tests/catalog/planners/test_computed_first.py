"""What the default planner promises of families that are computed in one pass, played in a pretend world."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from world import WAYS, World, findings, play

from sartor import registry
from sartor.catalog.contracts import Action, Outcome
from sartor.findings import Findings
from sartor.jobs import TrainResult
from sartor.run import metrics_of
from sartor.types import Candidate, Network, Record, Refusal

EASY = (("accuracy.min", 0.75), ("latency_p95_ms.max", 3.0), ("size_mb.max", 5.0))
SHARE = 0.3  # of the time for training, that may be spent before the last of them is begun
JUDGED = 15.0  # seconds of the pretend world: files, measurements and scores of one network
COMPUTED = "majority-class"  # a closed-form family; here it stands for several that are no baselines
SIZES = {"a": 2.0, "b": 0.5, "c": 1.0, "d": 4.0}  # million operations


def known(seconds=3600.0, limits=EASY):
    """The usual candidates, and one network per size that is computed."""
    usual = findings(limits, seconds=seconds)
    records = list(usual.records())
    for variant, size in SIZES.items():
        network = Network(COMPUTED, variant, {"million": size}, (32, 32), 10)
        for way, (compressor, _) in WAYS.items():
            precision, runtime = way.split("/")
            parent = "" if compressor == "none" else f"{network.id}/fp32/{runtime}"
            records.append(Record(Candidate(network, compressor, runtime, precision, 2), parent=parent))
    task = registry.get("tasks", usual.requirement.task)
    return Findings(usual.requirement, usual.card, usual.device, metrics_of(task), records)


class Fits(World):
    """Computing a network takes ``each`` seconds, or ends in a crash for those in ``crashing``."""

    def __init__(self, each, crashing=()):
        super().__init__()
        self.each, self.crashing = each, crashing

    def _do(self, action: Action, key: str) -> Outcome:
        if action.stage != "train" or action.job.network.model != COMPUTED:
            return super()._do(action, key)
        if action.job.network.variant in self.crashing:
            return Outcome(key, None, Refusal("CRASHED", "pretend crash"), self.each, False)
        done = super()._do(action, key)
        assert isinstance(done.result, TrainResult)
        return Outcome(key, replace(done.result, seconds=self.each - 1.0), None, self.each, False)


def trainings(actions):
    """Of networks that are no baselines: what was trained, in its order."""
    return [a for a in actions if a.stage == "train" and _network(a) != "linear-pixels"]


def _network(action):
    return action.job.network.id


def fits(actions):
    return [a for a in actions if a.stage == "train" and a.job.network.model == COMPUTED]


@settings(max_examples=10, deadline=None)
@example(seconds=600.0, each=2.0)
@given(seconds=st.floats(120, 3600), each=st.floats(0.5, 400))
def test_they_come_first_each_in_one_pass_and_no_further_one_is_begun_beyond_their_share(seconds, each):
    actions = play(known(seconds), Fits(each))
    order = trainings(actions)
    fitted = fits(order)
    measured = {a.subject.split("/")[0] for a in actions if a.stage == "measure" and a.purpose == "probe"}
    of_them = {name for name in measured if name.startswith(COMPUTED)}
    assert bool(fitted) == bool(of_them)  # a small budget does not see them all
    assert all(action.job.recipe.epochs == 1.0 and action.job.floor == 0.0 for action in fitted)
    assert len({_network(action) for action in fitted}) == len(fitted)
    before = next((place for place, action in enumerate(order) if action not in fitted), len(order))
    first = fits(order[:before])
    sizes = [action.job.network.options["million"] for action in first]
    assert sizes == sorted(sizes)
    # evaluations of those already fitted count as well, so that the share is never more than this
    assert each * max(0, len(first) - 1) <= SHARE * seconds
    if (each + JUDGED) * len(SIZES) < 0.2 * seconds:
        assert fitted == first
        assert {_network(action) for action in first} == of_them


def test_a_crash_in_one_of_them_stops_nothing():
    found, world = known(), Fits(2.0, crashing=("c",))
    actions = play(found, world)
    assert [a.job.network.variant for a in fits(actions)] == ["b", "c", "a", "d"]
    assert any(a.stage == "train" and a.job.network.model == "resnet9" for a in actions)
    assert found.decision().status == "met"
    validated = {r.candidate.network.variant for r in _validated(found) if r.candidate.network.model == COMPUTED}
    assert validated == {"a", "b", "d"}
    crashed = [fate for fate in found.decision().fates if fate.candidate.startswith(f"{COMPUTED}-c/")]
    assert crashed
    assert all(fate.code not in ("CHOSEN", "INCONCLUSIVE") for fate in crashed)


def test_every_family_has_its_turn_then_the_one_that_does_best_goes_on():
    usual = known()
    task = registry.get("tasks", usual.requirement.task)
    records = list(usual.records())
    for variant, million in (("e", 3.0), ("f", 5.0)):  # larger than most of the other family, and worse
        network = Network("nearest-neighbours", variant, {"million": million}, (32, 32), 10)
        records += [Record(Candidate(network, "none", "onnxruntime", "fp32", 2))]
    found = Findings(usual.requirement, usual.card, usual.device, metrics_of(task), records)

    class Worse(Fits):
        def _do(self, action, key):
            done = super()._do(action, key)
            if action.stage == "train" and action.job.network.model == "nearest-neighbours":
                return replace(done, result=replace(done.result, score=0.2))
            return done

    order = [_network(a) for a in play(found, Worse(2.0)) if a.stage == "train"]
    computed = [name for name in order if name.startswith((COMPUTED, "nearest-neighbours"))]
    first = f"{COMPUTED}-b", "nearest-neighbours-e"
    assert tuple(computed[:2]) == first
    assert computed[2:] == [f"{COMPUTED}-c", f"{COMPUTED}-a", f"{COMPUTED}-d", "nearest-neighbours-f"]


def _validated(found):
    return [r for r in found.records() if any(m.split == "validation" for m in r.measurements)]


def test_where_all_of_them_crash_the_others_are_trained_and_one_is_chosen():
    found = known()
    actions = play(found, Fits(2.0, crashing=tuple(SIZES)))
    assert len(fits(actions)) == len(SIZES)
    decision = found.decision()
    assert decision.status == "met"
    assert not decision.chosen.startswith(COMPUTED)


def test_where_nothing_else_is_left_they_alone_are_confirmed():
    usual = known(limits=(("accuracy.min", 0.2), ("size_mb.max", 5.0)))
    only = [r for r in usual.records() if r.candidate.network.model == COMPUTED]
    task = registry.get("tasks", usual.requirement.task)
    found = Findings(usual.requirement, usual.card, usual.device, metrics_of(task), only)
    actions = play(found, Fits(2.0))
    assert {_network(a) for a in trainings(actions)} == {f"{COMPUTED}-{variant}" for variant in SIZES}
    assert found.decision().status == "met"
    assert any(a.stage == "evaluate" and a.job.split == "test" for a in actions)
