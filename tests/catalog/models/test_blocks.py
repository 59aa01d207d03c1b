"""Building blocks and sizing rules against known answers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from sartor import blocks
from sartor.catalog.models.parts import scaling
from sartor.errors import Unsupported


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_patch_basis_is_orthonormal_and_starts_with_the_mean(side):
    basis = blocks.patch_basis(side).flatten(1)
    assert basis.shape == (3 * side**2, 3 * side**2)
    assert torch.allclose(basis @ basis.T, torch.eye(3 * side**2), atol=1e-6)
    assert torch.allclose(basis[0], basis[0, 0].expand(3 * side**2), atol=1e-6)


def test_patch_stem_starts_with_pairs_of_opposites():
    weight = blocks.PatchStem(24, side=2, stride=1).conv.weight
    assert torch.equal(weight[:12], -weight[12:])


@pytest.mark.parametrize("block", [
    blocks.ConvNorm(6, 6), blocks.ConvNorm(6, 6, 5, groups=6), blocks.InvertedResidual(6, 6, expansion=3),
    blocks.depthwise_mixer(6, kernel=7, expansion=2), blocks.Residual(blocks.ConvNorm(6, 6), active=True),
])  # fmt: skip
def test_blocks_keep_the_shape(block):
    assert block(torch.randn(2, 6, 9, 8)).shape == (2, 6, 9, 8)


def test_pooling_halves():
    assert blocks.ConvNorm(6, 4, pool=2)(torch.randn(2, 6, 9, 8)).shape == (2, 4, 4, 4)
    assert blocks.InvertedResidual(6, 4, expansion=2, pool=2)(torch.randn(2, 6, 9, 8)).shape == (2, 4, 4, 4)


def test_every_convolution_is_followed_by_its_norm():
    """So that an export can fold the two."""
    from sartor.testing import models

    for family in ("resnet9", "mobile", "convnext-small"):
        for network in models.networks(family, (32, 32)):
            parts = [part for part in models.build(network).modules() if not list(part.children())]
            for part, following in zip(parts, parts[1:], strict=False):
                if isinstance(part, torch.nn.Conv2d):
                    assert isinstance(following, torch.nn.BatchNorm2d), network.id
                    assert part.bias is None, network.id


def test_identity_start_passes_its_input_on():
    block = blocks.ConvNorm(4, 8)
    blocks.start_as_identity(block)
    x = torch.randn(1, 4, 5, 5)
    assert torch.allclose(block.conv(x)[:, :4], x, atol=1e-6)


@given(height=some.integers(1, 300), width=some.integers(1, 300), limit=some.integers(1, 16))
def test_shrink_says_how_many_features_it_gives(height, width, limit):
    shrink = blocks.Shrink((height, width), limit)
    assert shrink(torch.zeros(1, 3, height, width)).shape == (1, shrink.features)
    assert shrink.features <= 3 * limit**2


@given(side=some.integers(4, 2000))
def test_the_first_layer_leaves_a_map_of_bearable_size(side):
    stride = scaling.stem_stride((side, side))
    assert side / stride <= scaling.LARGEST_MAP
    assert stride == 1 or side / stride > scaling.LARGEST_MAP / 2


@given(side=some.integers(1, 200), stages=some.integers(0, 6), smallest=some.integers(1, 4))
def test_halvings_never_leave_less_than_the_smallest(side, stages, smallest):
    for halve in scaling.halvings(side, stages, smallest):
        if halve:
            side //= 2
            assert side >= smallest


@given(samples=some.integers(1, 10**7), side=some.sampled_from([8, 32, 96, 224]))
def test_batches_grow_with_the_data_and_shrink_with_the_picture(samples, side):
    batch = scaling.batch_size(samples, (side, side))
    assert 16 <= batch <= 512
    assert batch & (batch - 1) == 0
    assert batch <= scaling.batch_size(samples * 2, (side, side))
    assert batch <= scaling.batch_size(samples, (8, 8))


@given(samples=some.integers(1, 10**6), epochs=some.floats(0.01, 500))
def test_the_average_spans_a_part_of_training(samples, epochs):
    assert 0.9 <= scaling.averaging(samples, 64, epochs) <= 0.999


def test_inputs_too_small_are_declined():
    with pytest.raises(Unsupported, match="at least 4 pixels"):
        list(scaling.sized_variants([scaling.Size("s", {}, "quick")], [(3, 3)], "quick", 4))


def test_second_input_sizes_are_named():
    table = [scaling.Size("s", {}, "quick"), scaling.Size("m", {}, "thorough")]
    sizes = [(32, 32), (64, 48)]
    assert [v.name for v in scaling.sized_variants(table, sizes, "quick", 4)] == ["s"]
    assert [v.name for v in scaling.sized_variants(table, sizes, "balanced", 4)] == ["s", "s-64x48"]
    assert [v.name for v in scaling.sized_variants(table, sizes, "thorough", 4)] == ["s", "m", "s-64x48", "m-64x48"]
