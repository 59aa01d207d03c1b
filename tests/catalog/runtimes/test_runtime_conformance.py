"""Every runtime of the catalogue against the conformance suite."""

import pytest

from sartor import registry
from sartor.errors import MissingExtra
from sartor.testing.runtimes import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", registry.names("runtimes"))
def test_conformance(name, check, tmp_path):
    try:
        registry.get("runtimes", name).version()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    check(name, tmp_path)
