"""Mixed precision: the operator that loses most goes back to float, and no more of them than it takes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.compressors import int8_mixed
from sartor.catalog.compressors.int8_mixed import read_settings
from sartor.catalog.compressors.parts.trials import Trials
from sartor.errors import Unsupported

WIDTH, LAYERS = 8, 5
LOUD = 2  # the layer whose weights differ so much within a channel that 8 bits hold the small ones badly


def write_chain(path):
    """Linear layers with ReLU between; one computes what matters from small inputs beside a huge one."""
    dice = np.random.default_rng(0)
    nodes, constants, name = [], [], "input"
    for layer in range(LAYERS):
        weights = dice.normal(0, 1 / np.sqrt(WIDTH), (WIDTH, WIDTH)).astype(np.float32)
        if layer == LOUD - 1:
            weights[:, 0] = 300 * np.abs(weights[:, 0])  # a loud channel takes the whole range of the next inputs …
        if layer == LOUD:
            weights[0, :] = 0  # … and is not used at all
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{layer}"], [f"m{layer}"], name=f"m{layer}"))
        name = f"m{layer}"
        if layer < LAYERS - 1:
            nodes.append(helper.make_node("Relu", [name], [f"r{layer}"], name=f"r{layer}"))
            name = f"r{layer}"
    nodes.append(helper.make_node("Softmax", [name], ["output"], name="output"))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, WIDTH])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


SAMPLES = np.abs(np.random.default_rng(1).normal(0, 1, (64, WIDTH))).astype(np.float32)


def mixed(tmp_path, **options):
    source, target = tmp_path / "source", tmp_path / "target"
    write_chain(source)
    said = registry.get("compressors", "int8-mixed").apply(source, target, SAMPLES, options, 0)
    return onnx.load(target), said


def floats(model):
    """Products whose weights are not made from 8 bits."""
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    return [n.name for n in model.graph.node if n.op_type == "MatMul" and made.get(n.input[1]) != "DequantizeLinear"]


def test_without_a_tolerance_only_the_ranges_are_chosen(tmp_path):
    model, said = mixed(tmp_path)
    assert floats(model) == []
    assert said.startswith(f"0 of {LAYERS} products stay in float")


def test_the_two_operators_that_share_the_loud_tensor_go_back_to_float(tmp_path):
    model, said = mixed(tmp_path, tolerance=0.05, smooth=False)
    assert floats(model) == [f"m{LOUD - 1}", f"m{LOUD}"]
    assert said.startswith(f"2 of {LAYERS} products stay in float")


def test_the_loud_channel_goes_into_weights_before_any_operator_goes_back_to_float(tmp_path):
    model, said = mixed(tmp_path, tolerance=0.05)
    assert floats(model) == []
    assert said.startswith(f"0 of {LAYERS} products stay in float")
    assert said.endswith("loud channels of activations smoothed into weights")


def test_what_half_of_the_operators_do_not_repair_is_declined(tmp_path):
    with pytest.raises(Unsupported, match="NOT_REPAIRED"):
        mixed(tmp_path, tolerance=1e-9)


class Pretend(Trials):
    """Operators that each make a known noise; ranges by entropy halve all of it."""

    def __init__(self, noises, loud=1.0, multiplied=1.0):
        self.noises, self.weighted, self.judged = noises, list(range(len(noises))), 0
        self.left = {False: loud, True: multiplied}  # shares of noise that smoothing leaves; 1 where it cannot be done

    def smoothed(self, share, *, multiply=False):
        left = self.left[multiply] + abs(share - 0.65)
        return Pretend([left * noise for noise in self.noises]) if self.left[multiply] < 1 else None

    def ranges(self, method):
        return 0.5 if method == "Entropy" else 1.0

    def made(self, ranges, weighted):
        return ranges, tuple(weighted)

    def noise(self, model, *, roughly=False):
        self.judged += 1
        return model[0] * sum(self.noises[place] for place in model[1])


def test_ranges_come_first_and_cost_no_operator():
    (_, kept), said = int8_mixed.repaired(Pretend([1, 2, 3, 4]), 0.5)
    assert kept == (0, 1, 2, 3)
    assert said.endswith("ranges by entropy")


def test_smoothing_by_the_best_share_is_taken_where_it_leaves_less_noise():
    model, said = int8_mixed.repaired(Pretend([2, 2], loud=0.1), 0.06)
    assert model == (0.5, (0, 1))
    assert said == (
        "0 of 2 products stay in float, ranges by entropy; loud channels of activations smoothed into weights"
    )
    assert "smoothed" not in int8_mixed.repaired(Pretend([2, 2], loud=0.1), 1.0, smooth=False)[1]


@pytest.mark.parametrize(("tolerance", "multiplied", "floats"), [(0.2, 0.1, 0), (0.2, 0.45, 1), (0.3, 0.1, 0)])
def test_multiplications_are_put_in_where_they_are_needed_and_pay(tolerance, multiplied, floats):
    """Constants alone leave a quarter of the noise of plain int8, multiplications 0.05 or, of four parts, too much."""
    (_, kept), said = int8_mixed.repaired(Pretend([1, 1, 1, 1], loud=0.5, multiplied=multiplied), tolerance)
    assert 4 - len(kept) == floats
    assert said.endswith("smoothed into weights")


@pytest.mark.parametrize(("tolerance", "left"), [(0.4, {3}), (0.2, {2, 3})])
def test_as_few_as_it_takes_stay_in_float(tolerance, left):
    (_, kept), _ = int8_mixed.repaired(Pretend([1, 2, 3, 4]), tolerance)
    assert set(range(4)) - set(kept) == left


def test_neighbours_are_ranked_together_where_there_are_many_and_bisection_judges_few_sets():
    trials = Pretend([1.0] * 60 + [9.0] * 4)
    (_, kept), said = int8_mixed.repaired(trials, 0.4)
    assert kept == tuple(range(60))
    assert said.startswith("4 of 64")
    assert trials.judged <= 3 + 32 + 1 + 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tolerence": 0.5}, "Did you mean tolerance"),
        ({"tolerance": 0}, "above 0"),
        ({"tolerance": True}, "above 0"),
        ({"tolerance": "low"}, "above 0"),
        ({"per_channel": 1}, "true or false"),
        ({"smooth": "yes"}, "true or false"),
        ({"activation": "int4"}, "uint8 or int8"),
    ],
)
def test_bad_options_are_told(options, words):
    with pytest.raises(Unsupported, match="BAD_OPTION") as refusal:
        read_settings(options)
    assert words in refusal.value.detail


def test_nothing_is_done_without_samples_or_products(tmp_path):
    source = tmp_path / "source"
    write_chain(source)
    with pytest.raises(Unsupported, match="NO_CALIBRATION"):
        registry.get("compressors", "int8-mixed").apply(source, tmp_path / "t", SAMPLES[:0], {}, 0)
    model = onnx.load(source)
    del model.graph.node[:-1]
    model.graph.node[0].input[0] = "input"
    onnx.save(model, source)
    with pytest.raises(Unsupported, match="NOTHING_TO_QUANTISE"):
        registry.get("compressors", "int8-mixed").apply(source, tmp_path / "t", SAMPLES, {}, 0)
