"""Low-rank factorisation: exact at full rank, best for what inputs are, and thin where the network minds least."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sartor import registry
from sartor.catalog.compressors.low_rank import read_settings
from sartor.catalog.compressors.parts.factors import factored, products_of, ranks, spaces_of
from sartor.errors import Unsupported

DICE = np.random.default_rng(0)
SHAPE = (2, 8, 8, 6)  # of the input: batch, channels, height, width
SAMPLES = DICE.normal(0, 1, (24, *SHAPE[1:])).astype(np.float32) + 0.5


def normal(*shape):
    return DICE.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)


def write_network(path, *, narrow=False):
    """A strided 3×3 convolution, a 1×1, and every form of a product; ``narrow``: the first one's outputs lie in 4."""
    first = normal(32, 8, 3, 3)
    if narrow:
        first = np.tensordot(normal(32, 4), normal(4, 8, 3, 3), 1).astype(np.float32)
    constants = {
        "w0": first, "b0": normal(32, 1)[:, 0], "w1": normal(24, 32, 1, 1), "w2": normal(24, 40), "w3": normal(32, 40),
        "b3": normal(32, 1)[:, 0], "w4": normal(32, 20), "b4": normal(20, 1)[:, 0],
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["input", "w0", "b0"], ["c0"], strides=[2, 1], pads=[1, 1, 1, 1], dilations=[1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"]),
        helper.make_node("GlobalAveragePool", ["c1"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["m2"]),
        helper.make_node("Relu", ["m2"], ["r2"]),
        helper.make_node("Gemm", ["r2", "w3", "b3"], ["m3"], transB=1),
        helper.make_node("Relu", ["m3"], ["r3"]),
        helper.make_node("Gemm", ["r3", "w4", "b4"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes, "all", [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (2, 20))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return onnx.load(path)


def answers(model, samples=SAMPLES):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": samples[i : i + 2]})[0] for i in range(0, len(samples), 2)])


def test_full_rank_gives_the_same_answers_in_every_form(tmp_path):
    model = write_network(tmp_path / "m")
    products = products_of(model)
    assert [product.output for product in products] == ["c0", "c1", "m2", "m3", "output"]
    spaces = spaces_of(model, products, SAMPLES)
    full = {p.output: (p, s, len(p.matrix)) for p, s in zip(products, spaces, strict=True)}
    made = factored(model, full)
    onnx.checker.check_model(made, full_check=True)
    assert len(made.graph.node) == len(model.graph.node) + len(products)
    other = DICE.normal(0, 3, SAMPLES.shape).astype(np.float32)  # not only on the samples
    assert np.abs(answers(made, other) - answers(model, other)).max() < 1e-4
    assert answers(made, other).std() > 0.1


def test_outputs_that_lie_in_few_directions_need_no_more(tmp_path):
    model = write_network(tmp_path / "m", narrow=True)
    (product, *_) = products_of(model)
    (space,) = spaces_of(model, [product], SAMPLES)
    assert space.lost(4) < 1e-6 < 1e-3 < space.lost(3)
    assert space.positions == 2 * 4 * 6  # of a batch, at stride 2 × 1
    assert np.abs(answers(factored(model, {"c0": (product, space, 4)})) - answers(model)).max() < 1e-4
    assert np.abs(answers(factored(model, {"c0": (product, space, 2)})) - answers(model)).max() > 1e-2


def test_what_inputs_are_like_is_heeded_as_no_svd_of_weights_alone_would(tmp_path):
    model = write_network(tmp_path / "m")
    product = next(p for p in products_of(model) if p.output == "m2")
    (space,) = spaces_of(model, [product], SAMPLES)
    rank = 6
    asked = onnx.load(tmp_path / "m")
    del asked.graph.output[:]
    asked.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("f", "m2"))
    session = onnxruntime.InferenceSession(asked.SerializeToString(), providers=["CPUExecutionProvider"])
    pairs = [session.run(None, {"input": SAMPLES[i : i + 2]}) for i in range(0, len(SAMPLES), 2)]
    inputs, outputs = (np.concatenate(column).astype(np.float64) for column in zip(*pairs, strict=True))
    u, s, v = np.linalg.svd(product.matrix)
    plain = inputs @ ((u[:, :rank] * s[:rank]) @ v[:rank]).T
    ours = outputs @ space.basis[:, :rank] @ space.basis[:, :rank].T
    assert ((ours - outputs) ** 2).sum() < 0.5 * ((plain - outputs) ** 2).sum()


def apply(tmp_path, samples=SAMPLES, **options):
    source, target = tmp_path / "source", tmp_path / "target"
    said = registry.get("compressors", "low-rank").apply(source, target, samples, options, 0)
    return onnx.load(target), said


def test_the_share_asked_for_is_left_and_the_layer_that_minds_least_is_thin(tmp_path):
    whole = write_network(tmp_path / "source", narrow=True)
    made, said = apply(tmp_path, share=0.6)
    outputs = [node.output[0] for node in made.graph.node]
    assert "c0_thin" in outputs
    assert "c1_thin" not in outputs
    assert "of their operations" in said
    assert np.abs(answers(made) - answers(whole)).max() < 1e-4
    smaller, said = apply(tmp_path, share=0.6, of="weights")
    assert "of their weights" in said
    assert smaller.ByteSize() < 0.75 * whole.ByteSize()


def test_the_channels_between_carry_about_as_much_each(tmp_path):
    model = write_network(tmp_path / "m")
    product = next(p for p in products_of(model) if p.output == "m3")
    (space,) = spaces_of(model, [product], SAMPLES)
    made = factored(model, {"m3": (product, space, 8)})
    made.graph.output.append(helper.make_tensor_value_info("m3_thin", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    thin = np.concatenate([session.run(["m3_thin"], {"input": SAMPLES[i : i + 2]})[0] for i in range(0, 24, 2)])
    spread = thin.var(axis=0)
    assert spread.max() / spread.mean() < 0.6 * space.variance[0] / space.variance[:8].mean()


@pytest.mark.parametrize(
    ("options", "says"),
    [({"share": 0}, "share is 0"), ({"share": 1.0}, "below 1"), ({"of": "bytes"}, "operations or weights"),
     ({"rank": 3}, "no option 'rank'")],
)  # fmt: skip
def test_options_are_checked(options, says):
    with pytest.raises(Unsupported, match=says):
        read_settings(options)


def test_what_cannot_be_made_thin_enough_is_declined(tmp_path):
    write_network(tmp_path / "source")
    with pytest.raises(Unsupported, match="NOT_FACTORED"):
        apply(tmp_path, share=0.01)
    with pytest.raises(Unsupported, match="NO_CALIBRATION"):
        apply(tmp_path, samples=SAMPLES[:0])


def test_shared_grouped_and_computed_products_are_left_alone(tmp_path):
    model = write_network(tmp_path / "source")
    model.graph.node[0].attribute.append(helper.make_attribute("group", 2))
    model.graph.node[5].input[1] = "f"
    model.graph.node.append(helper.make_node("Gemm", ["r2", "w3", "b3"], ["more"], transB=1))
    model.graph.node[9].attribute.append(helper.make_attribute("alpha", 2.0))
    assert [product.output for product in products_of(model)] == ["c1"]
    assert ranks(products_of(model)[0], 0.8) == [8, 4]
