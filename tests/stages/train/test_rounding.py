"""Products rounded in training: the grids of the files, what stays as it was, and what it wins back."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn

from sartor import registry, rounding
from sartor.codec import digest, from_plain, to_plain
from sartor.jobs import CompressJob, ExportJob, Recipe, Start, Teacher, TrainJob
from sartor.prepared import open_data
from sartor.stages.compress import compress, export
from sartor.stages.train import train
from sartor.stages.train._average import Average
from sartor.stages.train._rounding import rounded_input, rounded_weight, simulate
from sartor.stages.train._warm_start import begun
from sartor.testing import models
from sartor.torch_onnx import torch_to_onnx

OUTLYING = 30.0


class Shown(nn.Module):
    """Every kind of product that a file has: Conv (with a norm to fold), MatMul on rows of tokens, Gemm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.tokens, self.head = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        x = self.tokens(x.flatten(2).transpose(1, 2)).relu()
        return self.head(x.mean(1))


def shown():
    torch.manual_seed(0)
    net = Shown()
    with torch.no_grad():
        net.conv.weight[1, 0, 0, 0] = OUTLYING
        net.norm.weight.uniform_(-2, 2)
        net.norm.running_var.uniform_(0.5, 4)
    return net.eval()


def quantised(folder, net, options):
    """The weights of the file that int8-static makes, as floats on their grids."""
    batch = torch.randn(16, 3, 6, 6)
    onnx.save(torch_to_onnx(net, [batch[:1]], "shown"), folder / "float.onnx")
    registry.get("compressors", "int8-static").apply(
        folder / "float.onnx", folder / "int8.onnx", batch.numpy(), options, 0
    )
    graph = onnx.load(folder / "int8.onnx").graph
    there = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in there and there[node.input[0]].dtype == np.int8:
            numbers, scale, zero = (there[name] for name in node.input)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [-1 if side == axis else 1 for side in range(numbers.ndim)]
            assert not zero.any()
            found.append(numbers.astype(np.float32) * scale.reshape(shape))
    return found


@pytest.mark.parametrize("bits", [8, 7])
def test_weights_lie_on_the_grid_of_the_file_batch_norms_folded(tmp_path, bits):
    net = shown()
    in_file = quantised(tmp_path, net, {"reduce_range": bits == 7})
    with torch.no_grad():
        fold = (net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()).view(-1, 1, 1, 1)
        wanted = [
            rounded_weight(net.conv.weight, bits, 0) * fold,
            rounded_weight(net.tokens.weight, bits, 0),
            rounded_weight(net.head.weight, bits, 0),
        ]
    assert len(in_file) == len(wanted)
    for tensor in wanted:
        ours = tensor.numpy()
        same = [w for w in in_file if w.size == ours.size]
        theirs = next(w if w.shape == ours.shape else w.T for w in same)
        step = np.abs(ours).reshape(len(ours), -1).max(1) / {8: 127, 7: 64}[bits]
        apart = np.abs(ours - theirs).reshape(len(ours), -1) / step[:, None]
        assert (apart < 1e-3).mean() > 0.99  # but for what lies in the middle between two values
        assert apart.max() < 1.001
    loss = (rounded_weight(net.conv.weight, bits, 0) - net.conv.weight)[1].abs()
    assert loss.max() > 0.1 * OUTLYING / 127  # so it does round


def test_a_transposed_convolution_has_its_grids_along_its_outputs():
    layer = nn.ConvTranspose2d(3, 5, 2)
    found = rounded_weight(layer.weight, 8, 1)
    ends = layer.weight.abs().amax((0, 2, 3))
    assert torch.allclose(found.abs().amax((0, 2, 3)), ends)
    simulate(layer, 8)
    assert torch.equal(layer.weight, found)


@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
def test_inputs_lie_on_the_grid_of_the_file(shift):
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    x = torch.randn(64, 7, generator=torch.Generator().manual_seed(0)) + shift
    low, high = (np.array(value, dtype=np.float32) for value in (min(0.0, float(x.min())), max(0.0, float(x.max()))))
    zero, scale = compute_scale_zp(low, high, np.array(0, np.uint8), np.array(255, np.uint8))
    wanted = (np.clip(np.round(x.numpy() / scale) + zero, 0, 255) - zero) * scale
    found = rounded_input(x).numpy()
    assert len(np.unique(found)) <= 256
    assert (np.abs(found - wanted) < 1e-3 * scale).mean() > 0.99
    assert np.abs(found - wanted).max() < 1.001 * scale


def test_zeros_stay_zeros():
    assert not rounded_weight(torch.zeros(2, 3), 8, 0).any()
    assert not rounded_input(torch.zeros(2, 3)).any()


def test_gradients_pass_straight_and_the_state_keeps_its_names():
    net = shown()
    names = list(net.state_dict())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batch = torch.randn(8, 3, 6, 6)
    plain = net(batch)
    simulate(net, 7)
    net.train()
    rounded = net(batch)
    assert not torch.equal(rounded, plain)
    rounded.square().sum().backward()
    assert list(net.state_dict()) == names
    for name, value in net.state_dict().items():  # norms did not follow the batch
        assert torch.equal(value, before[name])
    for weight in net.parameters():
        assert weight.grad is not None
        assert weight.grad.any()
    again = Average(net, 0.9).module(batch)
    assert torch.equal(again, net.eval()(batch))


@pytest.mark.parametrize(
    ("family", "size", "task", "facts"),
    [
        ("resnet9", (8, 8), "image-classification", None),
        ("mobile", (8, 8), "image-classification", None),
        ("convnext-small", (32, 32), "image-classification", None),
        ("text-cnn", (16,), "text-classification", {}),
        ("text-transformer", (16,), "text-classification", {}),
        ("text-gru", (16,), "text-classification", {}),
        ("tabular-mlp", (4,), "tabular-classification", {"inputs": 4}),
    ],
)
def test_products_of_pictures_texts_and_tables_are_rounded(family, size, task, facts):
    network = models.networks(family, size, "thorough", models.card(400, size, task, facts))[0]
    module = registry.get("models", family).build(network).eval()
    batch = models.inputs(network, 4, task)
    wanted = module(batch)
    expected = sum(isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d)) for part in module.modules())
    simulate(module, 7)
    assert sum(hasattr(part, "weight_bits") for part in module.modules()) == expected > 0
    found = module(batch)
    assert not torch.equal(found, wanted)
    assert torch.isfinite(found).all()
    assert (found - wanted).abs().max() < 0.5 * wanted.abs().max()
    rounding.gentle(registry.get("models", family).recipe(network, 400, 3.0), rounding.rounded(network, 7))


def test_a_recipe_that_rounds_nothing_is_written_as_it_was_before_there_were_any():
    recipe = Recipe(2.0, 64, "muon", 0.1, 0.01)
    assert "weight_bits" not in to_plain(recipe)
    assert digest(recipe) == "36f3c04a1f027cae02110471a735ad4316efac8dc376b496116faaed12b42dde"
    rounding_one = replace(recipe, weight_bits=7)
    assert from_plain(Recipe, to_plain(rounding_one)) == rounding_one


def test_a_network_and_its_twin_for_8_bits_are_told_apart_and_led_back(digits):
    network = digits.job("resnet9", 1).network
    twin = rounding.rounded(network, 7)
    assert twin.id == f"{network.id}-qat"
    assert rounding.unrounded(twin) == network == rounding.unrounded(network)
    nameless = replace(network, variant="")
    assert rounding.unrounded(rounding.rounded(nameless, 8)) == nameless


# --------------------------------------------------------------------------------------------- on handwritten digits


@pytest.fixture(scope="module")
def outlying(digits):
    """A trained network made hard to quantise, which answers as before: a channel of a layer is far larger."""
    job = digits.job("resnet9", 3, variant="xs", seed=1)
    state = load_file(digits.workspace.objects.path(train(job, digits.workspace).weights.sha256))
    torch.manual_seed(0)
    module = begun(job, open_data(digits.card.fingerprint, digits.workspace), digits.workspace)
    convs = [name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    norms = [name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)]
    state[f"{norms[0]}.weight"][:2] *= OUTLYING
    state[f"{norms[0]}.bias"][:2] *= OUTLYING
    state[f"{convs[1]}.weight"][:, :2] /= OUTLYING
    path = digits.workspace.root / "outlying.safetensors"
    save_file(state, path)
    made = digits.workspace.objects.take(path, format="safetensors", made_by="train")
    return Start(job.network, made.sha256)


def aware_job(digits, start, epochs, bits=7, **more):
    job = digits.job("resnet9", epochs, variant="xs", seed=1)
    network = rounding.rounded(start.network, bits)
    recipe = replace(rounding.gentle(job.recipe, network), start=start, **more)
    return replace(job, network=network, recipe=recipe)


def answers(digits, network, weights, *, int8):
    """Probabilities (n, classes) on validation of the float file, or of the one with 7-bit weights."""
    fingerprint, workspace, task = digits.card.fingerprint, digits.workspace, "image-classification"
    file = export(ExportJob(task, network, fingerprint, weights, 1, 0), workspace).artifact
    if int8:
        options = {"reduce_range": True}
        job = CompressJob("int8-static", file.sha256, task, fingerprint, network.input_size, 1, 0, options)
        file = compress(job, workspace).artifact
    session = onnxruntime.InferenceSession(str(workspace.objects.path(file.sha256)))
    samples = open_data(fingerprint, workspace).split("validation").prepared(network.input_size, "")
    return np.concatenate([session.run(None, {"input": np.array(samples[i : i + 1])})[0] for i in range(len(samples))])


def apart(found, wanted):
    """Mean Kullback-Leibler divergence of answers from others."""
    return float((wanted * (np.log(wanted + 1e-9) - np.log(found + 1e-9))).sum(1).mean())


def test_it_wins_back_what_8_bits_lost(digits, outlying):
    job = aware_job(digits, outlying, 2, teacher=Teacher(outlying.network, outlying.weights))
    result = train(job, digits.workspace)
    assert result.conditions["precision"] == "fp32"
    wanted = answers(digits, outlying.network, outlying.weights, int8=False)
    plain = answers(digits, outlying.network, outlying.weights, int8=True)
    aware = answers(digits, job.network, result.weights.sha256, int8=True)
    assert apart(plain, wanted) > 0.005
    assert apart(aware, wanted) < 0.75 * apart(plain, wanted)


def test_it_resumes_to_the_same_bits(digits, outlying, resumes):
    resumes(aware_job(digits, outlying, 1), 5)


def test_a_rate_can_be_found_without_weights_to_begin_with(digits, outlying):
    job = aware_job(digits, outlying, 1)
    assert from_plain(TrainJob, to_plain(job)) == job
    torch.manual_seed(0)
    module = begun(job, open_data(digits.card.fingerprint, digits.workspace), None)
    assert any(hasattr(part, "weight_bits") for part in module.modules())
