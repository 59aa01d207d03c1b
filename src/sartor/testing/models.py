"""Conformance of model families: what any family, built in or from a plug-in, has to do.

Call the checks from a test of your own; each raises ``AssertionError`` with what is wrong::

    @pytest.mark.parametrize("size", models.SIZES)
    def test_my_family(size):
        for network in models.networks("my-family", size):
            models.check_trains(network)
            models.check_export(network)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor import registry
from sartor.catalog.contracts import ModelFamily, Task
from sartor.codec import canonical_json
from sartor.errors import Unsupported
from sartor.types import DataCard, Network, SplitCard

SIZES = ((8, 8), (32, 32), (96, 96))
"""Input sizes every family is asked for: digits, thumbnails, photos."""

EFFORTS = ("quick", "balanced", "thorough")
OPTIMIZERS = ("muon", "nesterov", "adamw", "closed-form")
LABELS = tuple("abcdefg")
TOLERANCE = 1e-4  # of the largest output
_SAMPLES = 60


def card(
    samples: int = _SAMPLES,
    size: tuple[int, ...] = (32, 32),
    task: str = "image-classification",
    facts: Mapping[str, Any] | None = None,
) -> DataCard:
    """A card of balanced data with seven classes. ``facts``: what the task's own survey would find."""
    splits = {
        name: SplitCard(samples, {label: samples // len(LABELS) for label in LABELS}, name)
        for name in ("train", "validation", "test")
    }
    pictures = {"modes": {"RGB": samples}, "sizes": {"smallest": size, "median": size, "largest": size}}
    return DataCard(task, "fingerprint", LABELS, splits, (), pictures if facts is None else facts)


def networks(
    family: str, size: tuple[int, ...], effort: str = "thorough", data: DataCard | None = None
) -> list[Network]:
    """Every network a family offers for one input size; none when it declines."""
    plugin: ModelFamily = registry.get("models", family)
    declined, variants = None, []
    try:
        variants = list(plugin.variants(data or card(size=size), [size], effort))
    except Unsupported as refusal:
        declined = refusal
    if declined is not None:
        assert declined.code.isupper(), f"{family} declines with the code {declined.code!r}; it must be in capitals"
        assert declined.detail, f"{family} declines {size} without a sentence"
    return [Network(family, v.name, dict(v.options), tuple(v.input_size), len(LABELS), v.encoding) for v in variants]


def inputs(network: Network, count: int, task: str = "image-classification") -> torch.Tensor:
    """Normalised inputs (count, …) of a task for a network: noise for pictures, else a task's own stand-ins."""
    plugin: Task = registry.get("tasks", task)
    example = plugin.example(network.input_size, network.encoding)
    generator = np.random.default_rng(0)
    if example.dtype == np.uint8:
        drawn = generator.integers(0, 256, (count, *example.shape), dtype=np.uint8)
    elif example.dtype.kind in "iu":
        drawn = generator.integers(0, 2, (count, *example.shape)).astype(example.dtype)
    else:
        drawn = generator.standard_normal((count, *example.shape)).astype(example.dtype)
    return plugin.normalise(torch.from_numpy(drawn), plugin.statistics(drawn))


def check_family(family: str) -> None:
    """Provenance, kind of fitting, and that variants are named apart, survive JSON and grow with effort."""
    plugin: ModelFamily = registry.get("models", family)
    assert plugin.fitting in ("gradient", "closed-form"), f"{family}.fitting is {plugin.fitting!r}"
    assert plugin.tasks, f"{family} names no task"
    assert plugin.provenance.source, f"{family} names no source"
    assert plugin.provenance.licence, f"{family} names no licence"
    for size in SIZES:
        found = {effort: networks(family, size, effort) for effort in EFFORTS}
        for fewer, more in zip(EFFORTS, EFFORTS[1:], strict=False):
            assert len(found[fewer]) <= len(found[more]), f"{family} offers more at {fewer} than at {more}"
        ids = [network.id for network in found["thorough"]]
        assert len(ids) == len(set(ids)), f"{family} uses a variant name twice: {ids}"
        for network in found["thorough"]:
            written = json.loads(canonical_json(network.options))
            assert written == network.options, f"{network.id}: options do not survive JSON: {network.options}"
    if not networks(family, (32, 32)):
        return  # it runs what a requirement names, or declines such data
    both = [(32, 32), (48, 48)]
    names = [variant.name for variant in plugin.variants(card(), both, "thorough")]
    assert len(names) == len(set(names)), f"{family} uses a variant name twice over two input sizes: {names}"


def check_recipe(network: Network) -> None:
    """A recipe that a trainer can run, for few and for many samples."""
    plugin: ModelFamily = registry.get("models", network.model)
    for samples, epochs in ((_SAMPLES, 0.5), (1_500, 10.0), (1_000_000, 3.0)):
        recipe = plugin.recipe(network, samples, epochs)
        assert recipe.optimizer in OPTIMIZERS, f"{network.id}: optimizer {recipe.optimizer!r}"
        assert (recipe.optimizer == "closed-form") == (plugin.fitting == "closed-form"), network.id
        assert recipe.epochs > 0, network.id
        assert recipe.batch_size > 0, network.id
        assert 0 <= recipe.ema_decay < 1, network.id
        assert 0 <= recipe.label_smoothing < 1, network.id


def check_build(network: Network, task: str = "image-classification") -> nn.Module:
    """Same seed, same weights; logits of the right shape, the same for a sample alone and in a batch."""
    module = build(network)
    again = build(network)
    for (name, left), right in zip(module.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(left, right), f"{network.id}: {name} differs between two builds with one seed"
    batch = inputs(network, 3, task)
    with torch.no_grad():
        together = module.eval()(batch)
        alone = module(batch[:1])
    assert together.shape == (3, network.outputs), f"{network.id}: outputs {tuple(together.shape)}"
    assert together.isfinite().all(), f"{network.id}: outputs are not finite"
    assert torch.allclose(together[:1], alone, atol=1e-4), f"{network.id}: the answer depends on the rest of the batch"
    return module


def check_trains(network: Network, task: str = "image-classification") -> None:
    """Gradient families: every parameter gets a finite gradient. Closed-form families: fitting changes the module."""
    plugin: ModelFamily = registry.get("models", network.model)
    module = build(network)
    batch = inputs(network, 14, task)
    if batch.ndim == 4:
        batch = batch.contiguous(memory_format=torch.channels_last)
    truths = torch.arange(14) % network.outputs
    if plugin.fitting == "closed-form":
        before = {name: value.clone() for name, value in module.state_dict().items()}
        with torch.no_grad():
            plugin.fit(module, lambda: iter([(batch[:7], truths[:7]), (batch[7:], truths[7:])]))
        shapes = {name: value.shape for name, value in module.state_dict().items()}
        assert shapes == {name: value.shape for name, value in before.items()}, f"{network.id}: fit changes shapes"
        changed = any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert changed, f"{network.id}: fit sets nothing"
        return
    loss = nn.functional.cross_entropy(module.train()(batch), truths)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{network.id}: {name} gets no gradient"
        assert parameter.grad.isfinite().all(), f"{network.id}: the gradient of {name} is not finite"


def check_export(network: Network, task: str = "image-classification") -> None:
    """Exports with a fixed shape by the dynamo exporter, with standard operators, and ONNX Runtime agrees."""
    import onnx
    import onnxruntime

    module = build(network).eval()
    _settle_norms(module, network, task)
    batch = inputs(network, 1, task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch deprecates
        program = torch.onnx.export(module, (batch,), dynamo=True, input_names=["input"], verbose=False)
    assert program is not None, f"{network.id}: nothing was exported"
    model: onnx.ModelProto = program.model_proto
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    assert not foreign, f"{network.id}: operators of other domains: {foreign}"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: batch.numpy()})[0]
    with torch.no_grad():
        wanted = module(batch).numpy()
    largest = max(1.0, float(np.abs(wanted).max()))
    difference = float(np.abs(found - wanted).max()) / largest
    assert difference <= TOLERANCE, f"{network.id}: ONNX Runtime differs by {difference:.2e} of the largest output"


def build(network: Network) -> nn.Module:
    """The module with weights from a fixed seed."""
    torch.manual_seed(0)
    plugin: ModelFamily = registry.get("models", network.model)
    return plugin.build(network)


def smallest_and_largest(found: list[Network]) -> Iterator[Network]:
    """The first and the last network of a family, once each."""
    yield from {network.id: network for network in (found[:1] + found[-1:])}.values()


def _settle_norms(module: nn.Module, network: Network, task: str) -> None:
    """Give batch norms statistics that differ from their start, so that a wrong fold shows."""
    with torch.no_grad():
        module.train()(inputs(network, 8, task))
    module.eval()
