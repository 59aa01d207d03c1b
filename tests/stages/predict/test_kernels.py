"""Graphs as kernels: counted by hand, fused as the runtime fuses, the same from torch, ONNX and a quantised file."""

import numpy as np
import pytest

from sartor.drawings import KERNELS, NETWORKS, draw
from sartor.drawings._drawing import Drawing
from sartor.stages.predict.kernels import as_run, fused, in_batch, kernels_of, total
from sartor.stages.predict.operations import read_operations

RUNTIMES = ("onnxruntime", "openvino", "torch")


def residual():
    """Convolution, normalisation, activation; a second one summed with the input; mean; a dense layer."""
    draw = Drawing(np.random.default_rng(0), (16, 8, 8))
    x = draw.block(draw.input, 32, 3, stride=2)
    y = draw.batch_norm(draw.conv(x, 32, 1))
    x = draw.act(draw.add(y, x), "Relu")
    return draw.model(draw.dense(draw.mean_pool(x), 10))


def by_kind(kernels):
    found = {}
    for kernel in kernels:
        found.setdefault(kernel.kind, []).append(kernel)
    return found


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_residual_block_is_four_kernels_counted_by_hand(runtime):
    found = by_kind(kernels_of(residual(), runtime, 2))
    turned = ["reorder"] if runtime == "openvino" else []  # what was pooled, out of its blocks
    assert sorted(found) == ["conv", "conv-1x1", "free", "pool-whole", "product", *turned]
    (conv,) = found["conv"]
    assert conv.operations == 2 * 2 * 4 * 4 * 32 * 16 * 9
    assert (conv.m, conv.n, conv.k, conv.images) == (16, 32, 144, 2)
    assert (conv.read, conv.written, conv.weights) == (2 * 16 * 64, 2 * 32 * 16, 32 * 16 * 9)
    assert conv.light == 2 * 32 * 16  # its activation
    (pointwise,) = found["conv-1x1"]
    assert pointwise.light == 2 * 2 * 32 * 16  # the sum, and the activation after it
    assert pointwise.read == 2 * 2 * 32 * 16  # its input, and what is summed
    (product,) = found["product"]
    assert (product.m, product.n, product.k, product.weights) == (2, 10, 32, 330)


def test_nothing_is_fused_in_torch():
    found = by_kind(kernels_of(residual(), "torch"))
    assert sum(kernel.count for kernel in found["scale"]) == 2
    assert sum(kernel.count for kernel in found["elementwise"]) == 3


def test_depthwise_grouped_and_transposed_are_told_apart():
    draw = Drawing(np.random.default_rng(0), (8, 4, 4))
    x = draw.conv(draw.conv(draw.input, 8, 3, groups=8), 16, 3, groups=2)
    found = by_kind(kernels_of(draw.model(draw.up_conv(x, 4)), "onnxruntime"))
    assert found["conv-depthwise"][0].operations == 2 * 16 * 8 * 9
    assert found["conv-grouped"][0].operations == 2 * 16 * 16 * 4 * 9
    assert found["conv-transposed"][0].operations == 2 * 16 * 16 * 4 * 4


def test_attention_is_two_computed_products():
    draw = Drawing(np.random.default_rng(0), (10, 32))
    found = by_kind(kernels_of(draw.model(draw.attention(draw.input, 4)), "onnxruntime", 3))
    computed = found["product-computed"]
    assert [(one.m, one.n, one.k, one.groups) for one in computed] == [(10, 10, 8, 12), (10, 8, 10, 12)]
    assert sum(one.count for one in found["product"]) == 4


def test_a_recurrence_counts_every_step():
    draw = Drawing(np.random.default_rng(0), (7, 5))
    (found,) = by_kind(kernels_of(draw.model(draw.recurrence(draw.input, "LSTM", 6)), "onnxruntime"))["lstm"]
    assert found.operations == 2 * 7 * 4 * 6 * (5 + 6)
    assert found.images == 7


def test_a_look_up_reads_rows_and_not_the_table():
    draw = Drawing(np.random.default_rng(0), (9,), integers=True)
    (found,) = by_kind(kernels_of(draw.model(draw.embed(draw.input, 1000, 4)), "onnxruntime"))["look-up"]
    assert (found.read, found.weights, found.table) == (36, 0, 4000)


@pytest.mark.parametrize("family", sorted({*NETWORKS, *KERNELS}))
def test_every_family_is_read_whole(family):
    model = draw(family, 0)
    for runtime in RUNTIMES:
        one, eight = kernels_of(model, runtime, 1), kernels_of(model, runtime, 8)
        assert "other" not in {kernel.kind for kernel in one}
        assert total(eight) == pytest.approx(8 * total(one))
        assert all(kernel.written > 0 for kernel in one if kernel.kind != "free")


@pytest.mark.parametrize("family", ["resnet", "bert", "lstm", "detector"])
def test_a_batch_can_be_reckoned_from_one_sample(family):
    model = draw(family, 1)
    counted = kernels_of(model, "onnxruntime", 8)
    reckoned = in_batch(kernels_of(model, "onnxruntime", 1), 8)
    products = {"conv", "conv-1x1", "conv-depthwise", "product", "product-computed", "lstm"}

    def known(kernels):
        return sorted((k.kind, k.operations, k.m, k.n, k.k, k.images, k.weights) for k in kernels if k.kind in products)

    assert known(reckoned) == known(counted)


def test_a_quantised_file_is_read_as_its_float_parent_in_int8(tmp_path):
    import onnx

    from sartor.stages.measure.graphs import file_of

    plain = onnx.load(file_of(tmp_path, "mlp", 2, "fp32"))
    rounded = onnx.load(file_of(tmp_path, "mlp", 2, "int8"))
    expected = as_run(kernels_of(plain, "onnxruntime"), "int8")
    found = kernels_of(rounded, "onnxruntime")
    assert [(k.kind, k.m, k.n, k.k, k.int8) for k in found] == [(k.kind, k.m, k.n, k.k, k.int8) for k in expected]


def test_torch_and_its_export_are_the_same_kernels(tmp_path):
    torch = pytest.importorskip("torch")
    import onnx

    from sartor.stages.compress.convert import _write_onnx
    from sartor.stages.predict.describe import counting_mode
    from sartor.stages.predict.tracing import Tracer
    from sartor.testing import models

    network = models.networks("mobile", (32, 32))[0]
    module = models.build(network).eval().requires_grad_(False)
    example = np.zeros((1, 3, 32, 32), np.float32)
    tracer = Tracer(module)
    with torch.no_grad(), counting_mode(tracer.seen):
        module(torch.from_numpy(example))
    _write_onnx(module, example, "mobile", tmp_path / "model.onnx")
    exported = kernels_of(onnx.load(tmp_path / "model.onnx"), "onnxruntime")
    traced = fused(tracer.operations, "onnxruntime")
    for kind in ("conv", "conv-1x1", "conv-depthwise", "product"):
        sides = [
            sorted((k.m, k.n, k.k, k.groups, k.count) for k in kernels if k.kind == kind)
            for kernels in (traced, exported)
        ]
        assert sides[0] == sides[1], kind
    assert sum(k.count for k in traced) == pytest.approx(sum(k.count for k in exported), rel=0.25)


def test_operations_of_an_unknown_shape_are_refused_or_read():
    from onnx import TensorProto, helper

    node = helper.make_node("Relu", ["input"], ["out"])
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([node], "g", [given], [out]))
    assert read_operations(model, 3)[0].made == (3, 4)
