"""Every family for pictures keeps the contract, the day it lands; families of other tasks are tested beside them."""

import pytest

from sartor import registry
from sartor.testing import models

FAMILIES = [name for name in registry.names("models") if "image-classification" in registry.get("models", name).tasks]


OWN = [name for name in FAMILIES if models.networks(name, (32, 32))]  # the others run what a requirement names


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family):
    models.check_family(family)


@pytest.mark.parametrize("size", models.SIZES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_smallest_network_builds_and_trains(family, size):
    found = models.networks(family, size)
    for network in found:
        models.check_recipe(network)
    for network in found[:1]:
        models.check_build(network)
        models.check_trains(network)


@pytest.mark.slow
@pytest.mark.parametrize("size", models.SIZES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_networks_build_and_train(family, size):
    for network in models.networks(family, size)[1:]:
        models.check_build(network)
        models.check_trains(network)


@pytest.mark.slow
@pytest.mark.parametrize("family", OWN)
def test_the_largest_network_exports_and_the_smallest_on_large_pictures(family):
    *_, largest = models.smallest_and_largest(models.networks(family, (32, 32)))
    models.check_export(largest)
    models.check_export(models.networks(family, (96, 96))[0])


@pytest.mark.parametrize("family", [name for name in OWN if name != "transformers"])
def test_smallest_network_exports(family):
    models.check_export(models.networks(family, (8, 8))[0])
