"""Layouts: what is turned into blocks of channels and back, once each, and nothing where blocks go through."""

from sartor.stages.predict.kernels import fused
from sartor.stages.predict.layouts import reorders
from sartor.stages.predict.operations import Operation


def conv(given, made, channels, outer, side=8, groups=1):
    filters = (outer, channels // groups, 3, 3)
    return Operation(
        "Conv", (given, f"{made}-w"), (made,), ((1, channels, side, side), filters), (1, outer, side, side),
        (False, True), {"group": groups},
    )  # fmt: skip


def op(kind, given, made, shape=(1, 16, 8, 8), others=()):
    shapes = (shape, *(shape for _ in others))
    return Operation(kind, (given, *others), (made,), shapes, shape, (False,) * len(shapes))


def test_convolutions_in_a_row_stay_in_blocks_and_the_first_reads_a_picture_as_it_is():
    chain = [conv("x", "a", 3, 16), op("Relu", "a", "b"), conv("b", "c", 16, 16), op("Add", "c", "d", others=("b",))]
    assert reorders([*chain, conv("d", "e", 16, 32)]) == []


def test_what_is_wanted_plain_is_turned_once_and_back():
    chain = [conv("x", "a", 3, 16), op("Transpose", "a", "b"), op("Softmax", "a", "c"), conv("b", "d", 16, 16)]
    assert reorders(chain) == [16 * 64, 16 * 64]


def test_channels_that_fill_no_block_are_left_as_they_are():
    assert reorders([conv("x", "a", 3, 16), conv("a", "b", 16, 16, groups=4)]) == [16 * 64]
    assert reorders([conv("x", "a", 3, 18), conv("a", "b", 18, 16)]) == [18 * 64]


def test_a_number_per_channel_joins_without_a_turn():
    gate = Operation("Mul", ("a", "g"), ("b",), ((1, 16, 8, 8), (1, 16, 1, 1)), (1, 16, 8, 8), (False, False))
    assert reorders([conv("x", "a", 3, 16), gate, conv("b", "c", 16, 16)]) == []


def test_only_a_runtime_with_blocks_pays_for_turns():
    chain = [conv("x", "a", 3, 16), op("Transpose", "a", "b")]
    assert [one.kind for one in fused(chain, "openvino")] == ["conv", "turn", "reorder"]
    assert [one.kind for one in fused(chain, "onnxruntime")] == ["conv", "turn"]
