"""Every compressor of the catalogue against the conformance suite."""

import pytest

from sartor import registry
from sartor.testing.compressors import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", registry.names("compressors"))
def test_conformance(name, check, tmp_path):
    check(name, tmp_path)
