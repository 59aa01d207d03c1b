"""Estimates: the interval holds together whatever the numbers, and known cases come out as by hand."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.jobs import NetworkCost
from sartor.stages.predict import calibrate, estimate
from sartor.stages.predict.estimate import CACHE_HEADROOM, COMPUTE_HEADROOM, METRICS, latency_floor_ms
from sartor.types import Candidate, Ceiling, Device, Measurement, Network

NETWORK = Network("net", "s", {}, (32, 32), 10)
FP32 = Candidate(NETWORK, "none", "onnxruntime", "fp32", 2)
INT8 = Candidate(NETWORK, "int8-static", "onnxruntime", "int8", 2)
BF16 = Candidate(NETWORK, "none", "openvino", "bf16", 2)
W8 = Candidate(NETWORK, "int8-weights", "onnxruntime", "w8", 2)
DEVICE = Device(
    "d", "test", 2, 1 << 34, (), {"fp32": Ceiling(3e11, "a"), "int8": Ceiling(3e12, "a")}, 2.5e10, {"onnxruntime": "1"}
)
COST = NetworkCost("net-s", 750_000_000, 6_500_000, 4_000_000, 9)

sizes = st.integers(0, 10**13)
costs = st.builds(NetworkCost, st.just("net-s"), sizes, sizes, sizes, st.integers(0, 5000))
rates = st.floats(1e6, 1e16)
devices = st.builds(
    lambda fp32, int8, bandwidth, cores: replace(
        DEVICE,
        cores=cores,
        bandwidth_bytes_per_s=bandwidth,
        ceilings={"fp32": Ceiling(fp32, "x"), "int8": Ceiling(int8, "x")},
    ),
    rates, rates, st.floats(1e6, 1e14), st.integers(1, 256),
)  # fmt: skip
candidates = st.sampled_from([FP32, INT8, BF16, W8])


def measured(value, cost=COST, candidate=FP32):
    latency = Measurement(METRICS["latency_p50_ms"], value, value * 0.9, value * 1.1, n=500, basis="measured")
    return cost, candidate, latency


@st.composite
def calibrations(draw):
    pairs = [
        measured(draw(st.floats(0.01, 1000)), draw(costs), draw(candidates)) for _ in range(draw(st.integers(0, 12)))
    ]
    return calibrate(pairs)


def by_name(measurements):
    return {found.metric.name: found for found in measurements}


@settings(deadline=None)
@given(costs, candidates, devices, st.none() | calibrations(), st.integers(1, 64))
def test_floor_value_and_high_are_in_order(cost, candidate, device, calibration, batch):
    floor = latency_floor_ms(cost, candidate, device, batch=batch)
    for found in estimate(cost, candidate, device, calibration, batch=batch):
        assert 0 <= found.low <= found.value <= found.high
        assert found.basis == "estimated"
        assert found.n == 0
        if found.metric.name.startswith("latency"):
            assert floor <= found.low


@settings(deadline=None)
@given(costs, candidates, devices, st.none() | calibrations(), st.floats(1, 1000))
def test_more_operations_never_take_less(cost, candidate, device, calibration, factor):
    more = replace(cost, operations=int(cost.operations * factor))
    before = by_name(estimate(cost, candidate, device, calibration))
    after = by_name(estimate(more, candidate, device, calibration))
    for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"):
        assert after[name].value >= before[name].value * (1 - 1e-12)
    assert latency_floor_ms(more, candidate, device) >= latency_floor_ms(cost, candidate, device)


@settings(deadline=None)
@given(costs, candidates, devices)
def test_a_higher_percentile_is_never_estimated_lower(cost, candidate, device):
    found = by_name(estimate(cost, candidate, device))
    p50, p95, p99 = (found[f"latency_p{rank}_ms"] for rank in (50, 95, 99))
    assert p50.value <= p95.value <= p99.value
    assert p50.high <= p95.high <= p99.high


def test_the_floor_by_hand():
    assert latency_floor_ms(COST, FP32, DEVICE) == pytest.approx(0.75e9 / (3e11 * COMPUTE_HEADROOM) * 1e3)
    weights = replace(COST, operations=0)
    assert latency_floor_ms(weights, FP32, DEVICE) == pytest.approx(26e6 / (2.5e10 * CACHE_HEADROOM) * 1e3)
    assert latency_floor_ms(weights, INT8, DEVICE) == pytest.approx(6.5e6 / (2.5e10 * CACHE_HEADROOM) * 1e3)


def test_nothing_is_quicker_than_decoding_alone():
    usual, slow = by_name(estimate(COST, FP32, DEVICE)), by_name(estimate(COST, FP32, DEVICE, decoding_ms=10.0))
    for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms"):
        assert slow[name].low == pytest.approx(usual[name].low + 7.0), "seven tenths of what was measured"
        assert slow[name].low <= slow[name].value <= slow[name].high
    assert slow["size_mb"] == usual["size_mb"]


def test_weights_in_8_bits_are_small_in_the_file_and_computed_like_their_parent():
    small, whole, int8 = (by_name(estimate(COST, way, DEVICE)) for way in (W8, FP32, INT8))
    assert small["size_mb"].value == int8["size_mb"].value < 0.3 * whole["size_mb"].value
    assert latency_floor_ms(COST, W8, DEVICE) == latency_floor_ms(COST, FP32, DEVICE)
    assert latency_floor_ms(COST, INT8, DEVICE) < latency_floor_ms(COST, W8, DEVICE)


def test_a_precision_without_a_ceiling_gets_the_fastest_one_as_floor():
    assert latency_floor_ms(COST, BF16, DEVICE) == pytest.approx(0.75e9 / (3e12 * COMPUTE_HEADROOM) * 1e3)


def test_a_device_of_which_nothing_is_known_has_no_floor():
    unknown = replace(DEVICE, ceilings={}, bandwidth_bytes_per_s=0.0)
    assert latency_floor_ms(COST, FP32, unknown) == 0
    assert by_name(estimate(COST, FP32, unknown))["latency_p50_ms"].value > 0


def test_what_a_profile_does_not_tell_widens_the_range():
    known, unknown = DEVICE, replace(DEVICE, bandwidth_bytes_per_s=0.0)
    widths = [
        (found := by_name(estimate(COST, FP32, it))["latency_p50_ms"]).high / found.value for it in (known, unknown)
    ]
    assert widths[1] > 1.5 * widths[0]


def test_a_card_has_the_floor_of_its_fastest_format_and_no_cores():
    card = replace(DEVICE, kind="gpu", cores=1)
    top = max(ceiling.operations_per_s for ceiling in card.ceilings.values())
    assert latency_floor_ms(COST, FP32, card) == pytest.approx(0.75e9 / (top * COMPUTE_HEADROOM) * 1e3)
    one, four = (by_name(estimate(COST, replace(FP32, threads=n), card))["latency_p50_ms"].value for n in (1, 4))
    assert one == four


def test_fewer_threads_are_estimated_slower_but_have_the_same_floor():
    one = replace(FP32, threads=1)
    assert latency_floor_ms(COST, one, DEVICE) == latency_floor_ms(COST, FP32, DEVICE)
    slow, fast = (by_name(estimate(COST, it, DEVICE))["latency_p50_ms"].value for it in (one, FP32))
    assert slow > 1.5 * fast


def test_known_resnet9_latencies_lie_in_the_interval():
    """ResNet-9, 0.759 GFLOP, 6.57 M parameters, measured on two AMX cores at batch 1 (p50, ms)."""
    cost = NetworkCost("resnet9", 759_000_000, 6_570_000, 4_000_000, 9)
    ceilings = {"fp32": Ceiling(3.5e11, "x"), "bf16": Ceiling(3.27e12, "x"), "int8": Ceiling(3.99e12, "x")}
    device = replace(DEVICE, ceilings=ceilings, bandwidth_bytes_per_s=2.6e10)
    for candidate, value in ((FP32, 2.54), (replace(FP32, runtime="openvino"), 2.65), (INT8, 0.44), (BF16, 0.66)):
        found = by_name(estimate(cost, candidate, device))["latency_p50_ms"]
        assert found.low < value < found.high
        assert value / 2.5 < found.value < value * 2.5


def test_known_file_sizes_lie_in_the_interval():
    """A 1.97 M parameter net had 7.9 MB in fp32 and bf16 (one file) and 2.03 MB in int8."""
    cost = NetworkCost("air", 236_000_000, 1_970_000, 2_000_000, 8)
    for candidate, value in ((FP32, 7.9), (BF16, 7.9), (INT8, 2.03)):
        found = by_name(estimate(cost, candidate, DEVICE))["size_mb"]
        assert found.low < value < found.high
        assert found.value == pytest.approx(value, rel=0.1)
        assert found.device == ""


def test_calibration_replaces_the_roofline_only_for_its_own_runtime_and_precision():
    pairs = [measured(0.3 + ops * 4e-9, replace(COST, operations=ops)) for ops in (10**8, 2 * 10**8, 4 * 10**8, 10**9)]
    calibration = calibrate(pairs)
    fitted = by_name(estimate(replace(COST, operations=5 * 10**8), FP32, DEVICE, calibration))["latency_p50_ms"]
    assert fitted.value == pytest.approx(0.3 + 2.0, rel=0.02)
    assert fitted.conditions["pairs"] == 4
    assert fitted.high / fitted.value < 1.5
    assert estimate(COST, INT8, DEVICE, calibration) == estimate(COST, INT8, DEVICE)
    assert estimate(COST, FP32, DEVICE, calibration, batch=8) == estimate(COST, FP32, DEVICE, batch=8)


def test_no_fit_goes_below_the_floor():
    pairs = [measured(1e-6 * k, replace(COST, operations=k * 10**8)) for k in (1, 2, 3, 4, 5)]
    found = by_name(estimate(COST, FP32, DEVICE, calibrate(pairs)))["latency_p50_ms"]
    assert found.value == found.low == latency_floor_ms(COST, FP32, DEVICE)


def test_estimating_needs_no_torch():
    code = (
        "import sys; from sartor.stages.predict import estimate, calibrate; calibrate([]); "
        "assert not {'torch', 'onnxruntime', 'openvino'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
