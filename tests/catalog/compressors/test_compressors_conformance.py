"""Every compressor of the catalogue against the conformance suite."""

import pytest

from sartor import registry
from sartor.errors import MissingExtra
from sartor.testing.compressors import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", registry.names("compressors"))
def test_conformance(name, check, tmp_path):
    try:
        check(name, tmp_path)
    except MissingExtra as missing:
        pytest.skip(str(missing))
