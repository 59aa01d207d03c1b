"""A linear classifier on features of a frozen network: what hardly varies decides nothing."""

import pytest

torch = pytest.importorskip("torch")

from sartor.catalog.models.parts.frozen_features import fit_head  # noqa: E402


def data(count, seed):
    """Two classes that the first of eight features tells apart; the last is constant but for rounding."""
    generator = torch.Generator().manual_seed(seed)
    truths = torch.arange(count) % 2
    vectors = torch.randn(count, 8, generator=generator)
    vectors[:, 0] += 4.0 * truths
    vectors[:, -1] = 0.5 + 1e-7 * torch.randn(count, generator=generator) + 1e-7 * truths
    return vectors, truths


def head(vectors, truths):
    weight, bias = torch.zeros(2, 8), torch.zeros(2)
    fit_head(weight, bias, vectors, truths)
    return weight, bias


def test_a_feature_that_hardly_varies_does_not_decide_when_it_is_rounded():
    weight, bias = head(*data(200, 0))
    vectors, truths = data(200, 1)
    vectors[:, -1] = (vectors[:, -1] / 0.02).round() * 0.02 + 0.02  # a step of int8 off
    assert ((vectors @ weight.T + bias).argmax(1) == truths).float().mean() > 0.95
    assert weight.abs().max() < 10


def test_constant_features_give_finite_weights():
    vectors, truths = data(100, 0)
    vectors[:, 1:] = 3.0
    weight, bias = head(vectors, truths)
    assert torch.isfinite(weight).all()
    assert torch.isfinite(bias).all()
    assert ((vectors @ weight.T + bias).argmax(1) == truths).float().mean() > 0.95
