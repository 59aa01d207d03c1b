"""What the decision promises, as properties over random requirements and evidence and as cases worked by hand."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.codec import canonical_json, from_plain, to_plain
from sartor.intervals import jackknife_error
from sartor.metrics import COST_METRICS, Metric, index, quality_derivatives
from sartor.stages.decide import CODES, decide
from sartor.stages.decide.certificate import _would_do
from sartor.types import (
    Artifact,
    Budget,
    Candidate,
    DataSource,
    Decision,
    Limit,
    Measurement,
    Network,
    Objective,
    Record,
    Refusal,
    Requirement,
    Target,
)

ACCURACY = Metric("accuracy", "", "higher", "quality", "accuracy", bounded=True)
RATIO = Metric("latency_vs_parent", "×", "lower", "cost", "latency against its parent")
METRICS = (ACCURACY, *quality_derivatives(ACCURACY), *COST_METRICS, RATIO)
BY_NAME = index(METRICS)


def limit(key, value):
    metric, bound = key.rsplit(".", 1)
    return Limit(metric, bound, value, f"limits.{key}")


def requirement(limits=(), objectives=(("accuracy", 1.0),), confidence=0.95):
    return Requirement(
        "r", "image-classification", DataSource("d"), Target(), tuple(limits),
        tuple(Objective(*o) for o in objectives), confidence, Budget(60),
    )  # fmt: skip


def measured(metric, value, spread=0.0, *, split="", artifact="", trained=True, noisy=False, basis="measured"):
    n = 0 if basis == "estimated" else 1000
    return Measurement(
        BY_NAME[metric], value, value - spread, value + spread, n, basis,
        artifact=artifact, split=split, trained=trained, noisy=noisy,
    )  # fmt: skip


def record(
    name, *, validation=None, test=None, latency=None, size=None, untrained=None, precision="fp32", parent="",
    notes=None, refusals=(), extra=(), spread=0.01,
):  # fmt: skip
    network, _, runtime = name.partition("/")
    candidate = Candidate(Network(network, "", {}, (8, 8), 10), "none", runtime or "ort", precision, 1)
    sha = f"sha-{name}-{precision}"
    found = []
    if untrained is not None:
        found += [measured("latency_p95_ms", untrained, 0.01, artifact="random", trained=False)]
        found += [measured("latency_p50_ms", untrained * 0.9, 0.01, artifact="random", trained=False)]
    if validation is not None:
        found.append(measured("accuracy", validation, spread, split="validation", artifact=sha))
    if test is not None:
        found.append(measured("accuracy", test, spread, split="test", artifact=sha))
    if latency is not None:
        found += [measured("latency_p95_ms", latency, 0.01, artifact=sha)]
        found += [measured("latency_p50_ms", latency * 0.9, 0.01, artifact=sha)]
    if size is not None:
        found.append(measured("size_mb", size, artifact=sha))
    artifact = Artifact(sha, "onnx", 1000) if validation is not None or test is not None else None
    return Record(candidate, (*found, *extra), artifact, parent, tuple(refusals), notes or {})


def fates(decision):
    return {fate.candidate: fate.code for fate in decision.fates}


LIMITS = (limit("accuracy.min", 0.9), limit("latency_p95_ms.max", 2.0))


# ------------------------------------------------------------------------------------------------ worked cases


def test_a_candidate_that_keeps_every_limit_is_chosen():
    good = record("good/ort", validation=0.95, test=0.95, latency=1.0, size=1.0)
    decision = decide(requirement(LIMITS), [good], METRICS)
    assert (decision.status, decision.chosen) == ("met", "good/fp32/ort")
    assert all(v.outcome == "met" and v.final for v in decision.verdicts)


def test_validation_alone_never_accepts():
    promising = record("good/ort", validation=0.95, latency=1.0)
    decision = decide(requirement(LIMITS), [promising], METRICS)
    assert decision.status == "inconclusive"
    assert decision.next == "good/fp32/ort"


def test_untrained_timing_never_accepts():
    promising = record("good/ort", validation=0.95, test=0.95, untrained=1.0)
    decision = decide(requirement(LIMITS), [promising], METRICS)
    assert decision.status == "inconclusive"
    assert decision.next == "good/fp32/ort"


def test_an_estimate_removes_but_never_accepts():
    fast = measured("latency_p95_ms", 0.1, 0.05, basis="estimated", trained=False)
    slow = measured("latency_p95_ms", 9.0, 1.0, basis="estimated", trained=False)
    decision = decide(
        requirement(LIMITS),
        [record("fast/ort", validation=0.99, test=0.99, extra=[fast]), record("slow/ort", extra=[slow])],
        METRICS,
    )
    assert decision.chosen == ""
    assert fates(decision)["slow/fp32/ort"] == "TOO_SLOW"


def test_an_interval_across_the_limit_is_inconclusive_and_says_what_would_decide():
    straddling = record("edge/ort", validation=0.95, test=0.905, latency=1.0)
    decision = decide(requirement(LIMITS), [straddling], METRICS)
    assert decision.status == "inconclusive"
    assert any("test samples would decide" in line for line in decision.advice)
    assert any("≤ 0.895 is met" in line for line in decision.advice)


@pytest.mark.parametrize(("latency", "status"), [(0.5, "met"), (1.995, "inconclusive"), (9.0, "infeasible")])
def test_noise_is_in_the_interval_and_a_limit_beyond_it_is_missed_all_the_same(latency, status):
    noisy = measured("latency_p95_ms", latency, 0.01, artifact="sha-good/ort-fp32", noisy=True)
    decision = decide(requirement(LIMITS), [record("good/ort", validation=0.95, test=0.95, extra=[noisy])], METRICS)
    assert decision.status == status
    assert "unsteady" in next(v.sentence for v in decision.fates[0].verdicts if v.limit.metric == "latency_p95_ms")


def test_infeasible_names_the_binding_limit_the_best_value_and_the_smallest_relaxations():
    records = [
        record("net/ort", validation=0.95, test=0.95, latency=3.0),
        record("slower/ort", validation=0.95, latency=4.0),
        record("linear/ort", validation=0.60, latency=2.5),
    ]
    decision = decide(requirement(LIMITS), records, METRICS)
    assert decision.status == "infeasible"
    assert decision.certificate is not None
    assert decision.certificate.binding == ("limits.latency_p95_ms.max",)
    assert decision.certificate.best["limits.latency_p95_ms.max"].value == 3.0
    changes = [dict(r.changes) for r in decision.certificate.relaxations]
    assert changes[0] == {"limits.latency_p95_ms.max": 3.01}
    assert {"limits.accuracy.min": 0.59, "limits.latency_p95_ms.max": 2.51} in changes
    assert all("slower" not in r.candidate for r in decision.certificate.relaxations)


@given(st.floats(1e-9, 1e9), st.sampled_from(["min", "max"]))
def test_a_relaxation_holds_to_the_last_bit(end, bound):
    found = _would_do(
        Limit("latency_p95_ms", bound, 0.0, ""), replace(measured("latency_p95_ms", end), low=end, high=end)
    )
    assert found <= end if bound == "min" else found >= end
    assert found == pytest.approx(end, rel=0.011)


def test_what_the_budget_left_untrained_shows_no_limit_to_be_impossible():
    late = [
        record(f"{name}/ort", untrained=1.0, notes={"stopped": "TOO_LONG_TO_TRAIN", "why": "slow"}) for name in "ab"
    ]
    decision = decide(requirement([limit("accuracy.min", 0.5)]), late, METRICS)
    assert decision.status == "inconclusive"
    assert "budget" in decision.sentence
    assert "budget.time" in decision.advice[0]


def test_nothing_trained_is_not_infeasible():
    untried = record("net/ort", untrained=1.0)
    baseline = record("majority/ort", validation=0.1, latency=0.1, notes={"baseline": True})
    decision = decide(requirement(LIMITS), [untried, baseline], METRICS)
    assert decision.status == "inconclusive"
    assert "budget" in decision.sentence


def test_a_search_of_baselines_alone_that_was_not_reached_is_not_infeasible():
    untried = record("linear/ort", untrained=1.0, notes={"baseline": True})
    assert decide(requirement(LIMITS), [untried], METRICS).status == "inconclusive"
    judged = record("linear/ort", validation=0.1, latency=0.1, notes={"baseline": True})
    assert decide(requirement(LIMITS), [judged], METRICS).status == "infeasible"


def test_a_near_miss_is_no_refusal_while_a_family_was_not_tried():
    untried = record("other/ort", untrained=1.0)
    near = record("net/ort", validation=0.87, test=0.87, latency=1.0)
    decision = decide(requirement(LIMITS), [near, untried], METRICS)
    assert decision.status == "inconclusive"
    assert decision.sentence.endswith("others that may fit were trained (1)")
    assert decide(requirement(LIMITS), [near, record("net/openvino", untrained=1.0)], METRICS).status == "infeasible"
    assert decide(requirement(LIMITS), [near], METRICS).status == "infeasible"
    far = record("net/ort", validation=0.7, test=0.7, latency=1.0)
    decision = decide(requirement(LIMITS), [far, untried], METRICS)
    assert (decision.status, decision.certificate.binding) == ("infeasible", ("limits.accuracy.min",))


def test_what_leaves_nothing_but_a_baseline_binds_together_with_what_the_baseline_misses():
    limits = (limit("accuracy.min", 0.9), limit("size_mb.max", 0.1), limit("latency_p95_ms.max", 2.0))
    baseline = record("majority/ort", validation=0.1, latency=0.1, size=0.01, notes={"baseline": True})
    large = record("net/ort", untrained=1.0, size=5.0)
    decision = decide(requirement(limits), [baseline, large], METRICS)
    assert (decision.status, set(decision.certificate.binding)) == (
        "infeasible", {"limits.accuracy.min", "limits.size_mb.max"},
    )  # fmt: skip
    assert decision.certificate.best["limits.size_mb.max"].value == 5.0  # not the baseline's 0.01, which meets it
    poor = record("other/ort", validation=0.2, test=0.2, latency=1.0, size=0.05)
    decision = decide(requirement(limits), [baseline, large, poor], METRICS)
    assert decision.certificate.binding == ("limits.accuracy.min",)


def test_a_baseline_that_may_fit_and_was_not_tried_keeps_it_open():
    limits = (limit("accuracy.min", 0.9), limit("size_mb.max", 0.1))
    linear = record("linear/ort", untrained=1.0, size=0.05, notes={"baseline": True})
    large = record("net/ort", validation=0.95, latency=1.0, size=5.0)
    trivial = record("majority/ort", validation=0.1, latency=0.1, size=0.01, notes={"baseline": True})
    assert decide(requirement(limits), [linear, large, trivial], METRICS).status == "inconclusive"
    assert decide(requirement(limits), [large, trivial], METRICS).status == "infeasible"


def test_what_even_a_baseline_misses_by_far_is_refused_before_all_are_tried():
    untried = record("other/ort")
    slow = record("net/ort", untrained=9.0)
    baseline = record("majority/ort", validation=0.1, latency=8.0, notes={"baseline": True})
    decision = decide(requirement(LIMITS), [untried, slow, baseline], METRICS)
    assert (decision.status, decision.certificate.binding) == ("infeasible", ("limits.latency_p95_ms.max",))
    assert decide(requirement(LIMITS), [untried, baseline], METRICS).status == "inconclusive"
    near = record("majority/ort", validation=0.1, latency=2.5, notes={"baseline": True})
    assert decide(requirement(LIMITS), [untried, slow, near], METRICS).status == "inconclusive"


def test_compression_that_made_it_slower_is_refused():
    parent = record("net/ort", validation=0.95, test=0.95, latency=1.0)
    child = record("net/ort", validation=0.95, test=0.95, latency=1.5, precision="int8", parent="net/fp32/ort")
    decision = decide(requirement(LIMITS), [parent, child], METRICS)
    assert fates(decision) == {"net/fp32/ort": "CHOSEN", "net/int8/ort": "SLOWER_THAN_PARENT"}


def test_a_paired_ratio_speaks_before_separate_timings():
    parent = record("net/ort", validation=0.95, test=0.95, latency=1.0)
    ratio = measured("latency_vs_parent", 0.7, 0.05, artifact="sha-net/ort-int8")
    child = record(
        "net/ort", validation=0.95, test=0.95, latency=1.5, precision="int8", parent="net/fp32/ort", extra=[ratio]
    )
    assert fates(decide(requirement(LIMITS), [parent, child], METRICS))["net/int8/ort"] == "WORSE_OBJECTIVE"


def test_compression_that_lost_too_much_is_refused():
    parent = record("net/ort", validation=0.95, test=0.95, latency=1.0)
    drop = measured("accuracy_drop", 0.05, 0.01, split="validation", artifact="sha-net/ort-int8")
    child = record("net/ort", validation=0.93, latency=0.5, precision="int8", parent="net/fp32/ort", extra=[drop])
    assert fates(decide(requirement(LIMITS), [parent, child], METRICS))["net/int8/ort"] == "ACCURACY_DROP"
    allowed = requirement((*LIMITS, limit("accuracy_drop.max", 0.1)))
    assert fates(decide(allowed, [parent, child], METRICS))["net/int8/ort"] != "ACCURACY_DROP"


def test_what_is_not_compressed_has_lost_nothing():
    """A model of one's own under ``max_drop`` may ship as it came, where no compression keeps its quality."""
    parent = record("net/ort", validation=0.95, test=0.95, latency=1.0)
    drop = measured("accuracy_drop", 0.2, 0.01, split="validation", artifact="sha-net/ort-int8")
    child = record("net/ort", validation=0.75, latency=0.5, precision="int8", parent="net/fp32/ort", extra=[drop])
    asked = requirement((*LIMITS, limit("accuracy_drop.max", 0.02)))
    made = decide(asked, [parent, child], METRICS)
    assert (made.status, made.chosen) == ("met", "net/fp32/ort")
    unjudged = record("net/ort", latency=1.0)
    assert decide(asked, [unjudged], METRICS).status != "met"


def test_within_one_standard_error_the_faster_wins():
    slow = record("slow/ort", validation=0.951, test=0.95, latency=1.5)
    fast = record("fast/ort", validation=0.950, test=0.95, latency=0.5)
    worse = record("worse/ort", validation=0.92, test=0.92, latency=0.1)
    assert decide(requirement(LIMITS), [slow, fast, worse], METRICS).chosen == "fast/fp32/ort"


def paired(name, value, replicates, **known):
    """A record whose validation score stands in pairs with that of others."""
    made = record(name, validation=value, test=value, **known)
    with_pairs = [replace(m, replicates=tuple(replicates)) if m.split == "validation" else m for m in made.measurements]
    return replace(made, measurements=tuple(with_pairs))


def test_on_the_same_samples_a_small_difference_can_be_told():
    common = [0.001 * chance for chance in (-2, 1, 0, 3, -1, 2, -3, 0)]
    slow = paired("slow/ort", 0.951, [0.951 + each for each in common], latency=1.5)
    always_worse = paired("fast/ort", 0.947, [0.947 + each for each in common], latency=0.5)
    assert decide(requirement(LIMITS), [slow, always_worse], METRICS).chosen == "slow/fp32/ort"
    in_turn = paired("fast/ort", 0.947, [0.947 - 2 * each for each in common], latency=0.5)
    assert decide(requirement(LIMITS), [slow, in_turn], METRICS).chosen == "fast/fp32/ort"
    unpaired = record("fast/ort", validation=0.947, test=0.947, latency=0.5)
    assert decide(requirement(LIMITS), [slow, unpaired], METRICS).chosen == "fast/fp32/ort"
    equal = paired("fast/ort", 0.951, [0.951 + each for each in common], latency=0.5)
    assert decide(requirement(LIMITS), [slow, equal], METRICS).chosen == "fast/fp32/ort"


def test_the_best_of_many_owes_more_to_luck():
    """A difference of 1.5 standard errors tells two candidates apart, and not the best of twenty from another."""
    swings = [0.001 * (-1) ** place for place in range(8)]
    error = jackknife_error(swings)
    best = paired("best/ort", 0.95, [0.95] * 8, latency=1.5)
    other = paired("fast/ort", 0.95 - 1.5 * error, [0.95 + swing for swing in swings], latency=0.5)
    crowd = [paired(f"n{n}/ort", 0.95 - 1.5 * error, [0.95 + s for s in swings], latency=1.0) for n in range(20)]
    assert 1.5 * error < 0.005
    assert decide(requirement(LIMITS), [best, other], METRICS).chosen == "best/fp32/ort"
    assert decide(requirement(LIMITS), [best, other, *crowd], METRICS).chosen == "fast/fp32/ort"


def test_the_test_split_does_not_choose():
    first = record("first/ort", validation=0.97, test=0.92, latency=1.0)
    lucky = record("lucky/ort", validation=0.93, test=0.99, latency=1.0)
    assert decide(requirement(LIMITS), [first, lucky], METRICS).chosen == "first/fp32/ort"


def test_weights_trade_percent_for_percent():
    accurate = record("accurate/ort", validation=0.96, test=0.96, latency=1.9)
    quick = record("quick/ort", validation=0.95, test=0.95, latency=0.2)
    assert decide(requirement(LIMITS, [("accuracy", 1), ("latency_p95_ms", 1)]), [accurate, quick], METRICS).chosen == (
        "quick/fp32/ort"
    )
    assert decide(
        requirement(LIMITS, [("accuracy", 100), ("latency_p95_ms", 1)]), [accurate, quick], METRICS
    ).chosen == ("accurate/fp32/ort")


def test_a_refusal_is_a_fate():
    refused = record("net/ort", refusals=[Refusal("NO_INT8", "no int8 here")])
    decision = decide(requirement(LIMITS), [refused, record("ok/ort", untrained=1.0)], METRICS)
    assert fates(decision)["net/fp32/ort"] == "NO_INT8"


def test_at_most_two_finalists_see_the_test_split():
    failed = [record(f"failed{i}/ort", validation=0.95, test=0.8, latency=1.0) for i in range(2)]
    third = record("third/ort", validation=0.93, latency=1.0)
    assert decide(requirement(LIMITS), [*failed[:1], third], METRICS).next == "third/fp32/ort"
    assert decide(requirement(LIMITS), [*failed, third], METRICS).next == ""


# ------------------------------------------------------------------------------------------------ properties

numbers = st.floats(0.01, 10, allow_nan=False)
shares = st.floats(0, 1)


@st.composite
def records(draw):
    made = []
    for place in range(draw(st.integers(0, 7))):
        made.append(
            record(
                f"net{place}/ort",
                validation=draw(st.none() | shares),
                test=draw(st.none() | shares),
                latency=draw(st.none() | numbers),
                untrained=draw(st.none() | numbers),
                size=draw(st.none() | numbers),
                spread=draw(st.floats(0, 0.2)),
                notes=draw(st.sampled_from([{}, {"baseline": True}])),
            )
        )
    return made


@st.composite
def requirements(draw):
    limits = []
    if draw(st.booleans()):
        limits.append(limit("accuracy.min", draw(shares)))
    if draw(st.booleans()):
        limits.append(limit("latency_p95_ms.max", draw(numbers)))
    if draw(st.booleans()):
        limits.append(limit("size_mb.max", draw(numbers)))
    objectives = draw(
        st.sampled_from([(("accuracy", 1.0),), (("latency_p95_ms", 1.0),), (("accuracy", 3.0), ("size_mb", 1.0))])
    )
    return requirement(limits, objectives)


@settings(max_examples=300, deadline=None)
@given(requirements(), records(), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(asked, known, shuffler):
    first = decide(asked, known, METRICS)
    shuffled = list(known)
    shuffler.shuffle(shuffled)
    assert canonical_json(decide(asked, shuffled, METRICS)) == canonical_json(first)


@settings(max_examples=300, deadline=None)
@given(requirements(), records())
def test_what_is_chosen_keeps_every_limit_with_its_whole_interval(asked, known):
    decision = decide(asked, known, METRICS)
    assert (decision.status == "met") == bool(decision.chosen)
    for verdict in decision.verdicts if decision.chosen else ():
        assert verdict.measurement is not None
        assert verdict.measurement.basis == "measured"
        assert verdict.measurement.trained
        assert verdict.limit.holds(verdict.measurement.low)
        assert verdict.limit.holds(verdict.measurement.high)


@settings(max_examples=300, deadline=None)
@given(requirements(), records())
def test_every_candidate_has_one_known_reason(asked, known):
    decision = decide(asked, known, METRICS)
    assert sorted(f.candidate for f in decision.fates) == sorted(r.candidate.id for r in known)
    assert {f.code for f in decision.fates} <= set(CODES)
    assert all(f.detail for f in decision.fates)
    assert sum(f.code == "CHOSEN" for f in decision.fates) == (decision.status == "met")


@settings(max_examples=300, deadline=None)
@given(requirements(), records())
def test_a_looser_limit_never_loses_a_met_requirement(asked, known):
    if decide(asked, known, METRICS).status != "met":
        return
    for place, one in enumerate(asked.limits):
        looser = replace(one, value=one.value * (0.5 if one.bound == "min" else 2.0))
        limits = (*asked.limits[:place], looser, *asked.limits[place + 1 :])
        assert decide(replace(asked, limits=limits), known, METRICS).status == "met"


@settings(max_examples=200, deadline=None)
@given(requirements(), records())
def test_relaxations_do_what_they_say(asked, known):
    decision = decide(asked, known, METRICS)
    for relaxation in decision.certificate.relaxations if decision.certificate else ():
        eased = tuple(
            replace(x, value=relaxation.changes[x.key]) if x.key in relaxation.changes else x for x in asked.limits
        )
        again = decide(replace(asked, limits=eased), known, METRICS)
        fate = next(f for f in again.fates if f.candidate == relaxation.candidate)
        assert all(v.outcome == "met" for v in fate.verdicts), relaxation


@settings(max_examples=100, deadline=None)
@given(requirements(), records())
def test_a_decision_survives_its_file(asked, known):
    decision = decide(asked, known, METRICS)
    assert from_plain(Decision, to_plain(decision)) == decision


@settings(max_examples=200, deadline=None)
@given(requirements(), records())
def test_nothing_on_the_front_is_dominated(asked, known):
    decision = decide(asked, known, METRICS)
    assert set(decision.front) == {f.candidate for f in decision.fates if f.on_front}


def test_a_thousand_candidates_decide_quickly_enough_to_replan():
    generator = random.Random(0)
    many = [
        record(f"net{i}/ort", validation=generator.random(), untrained=generator.random() * 5, size=generator.random())
        for i in range(1000)
    ]
    assert decide(requirement(LIMITS), many, METRICS).next


@pytest.mark.parametrize("bound", ["min", "max"])
def test_a_limit_met_exactly_is_met(bound):
    exact = record("net/ort", validation=0.95, test=0.95, latency=1.0)
    value = {"min": 0.94, "max": 0.96}[bound]
    decision = decide(requirement([Limit("accuracy", bound, value, f"limits.accuracy.{bound}")]), [exact], METRICS)
    assert decision.status == "met"


SMALLER = {"stores_less": True}


def test_what_only_stores_less_pays_by_its_size_not_by_its_speed():
    parent = record("net/ort", validation=0.95, test=0.95, latency=1.0, size=4.0)
    child = {"precision": "w8", "parent": "net/fp32/ort", "notes": SMALLER, "validation": 0.95, "test": 0.95}
    slower = record("net/ort", latency=1.5, size=1.0, **child)
    assert fates(decide(requirement(LIMITS), [parent, slower], METRICS))["net/w8/ort"] == "WORSE_OBJECTIVE"
    tight = requirement((*LIMITS, limit("size_mb.max", 2.0)))
    assert decide(tight, [parent, slower], METRICS).chosen == "net/w8/ort"
    as_large = record("net/ort", latency=0.9, size=3.95, **child)
    assert fates(decide(requirement(LIMITS), [parent, as_large], METRICS))["net/w8/ort"] == "NOT_SMALLER"


def test_of_those_as_fast_the_smaller_wins():
    fast = record("fast/ort", validation=0.95, test=0.95, latency=1.0, size=4.0)
    small = record("small/ort", validation=0.95, test=0.95, latency=1.08, size=1.0)
    slow = record("slow/ort", validation=0.95, test=0.95, latency=1.3, size=0.1)
    assert decide(requirement(LIMITS), [fast, small, slow], METRICS).chosen == "small/fp32/ort"
    assert decide(requirement(LIMITS), [fast, slow], METRICS).chosen == "fast/fp32/ort"


def test_how_the_chosen_file_was_made_is_said():
    plain = record("net/ort", validation=0.95, test=0.95, latency=1.0)
    told = record("net/ort", validation=0.95, test=0.95, latency=1.0, notes={"remarks": ["made with care"]})
    assert "made with care" in decide(requirement(LIMITS), [told], METRICS).why
    assert "made with care" not in decide(requirement(LIMITS), [plain], METRICS).why
