"""Which level a processor is of, and where an int8 file holds."""

from dataclasses import replace

import pytest

from sartor.levels import DOT_PRODUCTS, LEVELS, X86, least, level_of, levels_within, reach_of, unshown
from sartor.metrics import Metric
from sartor.types import Device, Limit, Measurement, Pipeline, Verdict

ACCURACY = Metric("accuracy", "", "higher", "quality", "accuracy", True)
LIMIT = Limit("accuracy", "min", 0.9, "limits.accuracy.min")
INT8 = Pipeline("image-classification", ("a", "b"), (8, 8), "model.onnx", "openvino", "int8", 1, 1)


@pytest.mark.parametrize(
    ("sets", "own", "others"),
    [
        ((), "", ()),
        (("sse2", "avx"), "", ()),
        (("avx2", "fma"), "avx2", ()),
        (("avx2", "avx512f", "avx512_vnni", "avx512_bf16"), "avx512-vnni", {"avx2", "avx512"}),
        (("avx2", "avx_vnni"), "avx2-vnni", {"avx2"}),
        (
            ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"),
            "amx",
            {"avx2", "avx2-vnni", "avx512", "avx512-vnni"},
        ),
        (("neon", "asimddp"), "neon-dot", {"neon"}),
    ],
)
def test_levels_of_processors(sets, own, others):
    assert level_of(sets) == own
    assert levels_within(sets)[1:] == tuple(name for name in LEVELS if name in others)
    assert levels_within(sets)[:1] == ((own,) if own else ())
    assert DOT_PRODUCTS < X86 < set(LEVELS)


def verdict(same_on=(), on_levels=None, limit=LIMIT):
    conditions = {"level": "avx512-vnni", "same_on": list(same_on), "on_levels": on_levels or {}}
    measurement = Measurement(ACCURACY, 0.95, 0.93, 0.97, 500, "measured", split="test", conditions=conditions)
    return Verdict(limit, "met", True, measurement, "met")


def test_a_file_holds_where_it_was_measured_or_is_the_same():
    found = reach_of([verdict(["amx"], {"avx2": [0.94, 0.92, 0.96], "avx512": [0.85, 0.8, 0.89]})], INT8)
    assert (found.own, found.holds) == ("avx512-vnni", ("avx2", "avx512-vnni", "amx"))
    assert found.fails == {"avx512": "accuracy is 0.850 (0.800 … 0.890)"}
    assert "not on avx512, where accuracy is 0.850" in found.sentence


def test_what_straddles_a_limit_elsewhere_does_not_hold_there():
    assert "avx2" not in reach_of([verdict([], {"avx2": [0.92, 0.89, 0.94]})], INT8).holds


def test_every_limit_must_hold_on_a_level():
    strict = verdict([], {"avx2": [0.94, 0.92, 0.96]}, limit=replace(LIMIT, value=0.93))
    assert "avx2" not in reach_of([verdict(["avx2"]), strict], INT8).holds


def test_nothing_is_said_of_other_precisions_and_of_evidence_without_levels():
    assert reach_of([verdict()], replace(INT8, precision="fp32")) is None
    plain = verdict()
    assert reach_of([replace(plain, measurement=replace(plain.measurement, conditions={}))], INT8) is None
    assert reach_of([replace(plain, measurement=None)], INT8) is None


@pytest.mark.parametrize(
    ("levels", "left"),
    [
        (("avx2",), ("fma", "avx2")),
        (("avx2", "amx"), ("fma", "avx2")),
        (("avx512-vnni", "amx"), ("fma", "avx2", "avx512f", "avx512_vnni")),
        (("amx",), ("fma", "avx2", "avx512f", "avx512_vnni", "amx_int8")),
    ],
)
def test_a_family_may_count_on_what_all_of_it_have(levels, left):
    sets = ("fma", "avx2", "avx512f", "avx512_vnni", "amx_int8")
    device = Device("id", "name", 2, 8, sets, {}, 1e10, {})
    assert least(device, levels).instruction_sets == left


def test_a_family_needs_every_level_shown():
    shown = verdict(["amx"], {"avx2": [0.94, 0.92, 0.96]})
    assert unshown([shown], ("avx2", "avx512-vnni", "amx")) == ""
    assert unshown([shown], ("avx2", "avx512")).startswith("on avx512 it may be another model")
    low = verdict(["amx"], {"avx2": [0.85, 0.8, 0.89]})
    assert unshown([low], ("avx2",)) == "on avx2 its accuracy is 0.850 (0.800 … 0.890)"
    assert unshown([low], ("amx",)) == ""


def test_before_the_test_split_a_level_is_out_only_where_a_limit_is_missed():
    straddling = verdict([], {"avx2": [0.9, 0.88, 0.92]})
    assert unshown([straddling], ("avx2",))
    assert not unshown([replace(straddling, final=False)], ("avx2",))
    missed = replace(verdict([], {"avx2": [0.8, 0.78, 0.82]}), final=False)
    assert unshown([missed], ("avx2",))
