"""Checkpoints by address: folders as they are, those of the hub fetched as data only."""

import sys
import types
from pathlib import Path

import pytest

from sartor.errors import MissingExtra, SartorError
from sartor.reading.checkpoints import checkpoint_folder


@pytest.fixture
def asked(monkeypatch):
    """Stands for the hub's library: what it was asked for."""
    calls = []

    def snapshot_download(name, **options):
        calls.append((name, options))
        if name == "owner/missing":
            raise FileNotFoundError("404: no\n  such repository")
        return "/cache/models--owner--name/snapshots/0123456789abcdef"

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return calls


def test_a_folder_is_itself(asked, tmp_path):
    assert checkpoint_folder(str(tmp_path)) == tmp_path
    assert not asked


def test_the_hub_is_asked_for_data_and_nothing_that_runs(asked):
    assert checkpoint_folder("hub:owner/name") == Path("/cache/models--owner--name/snapshots/0123456789abcdef")
    checkpoint_folder("hub:owner/name@v1")
    assert [(name, options["revision"]) for name, options in asked] == [("owner/name", None), ("owner/name", "v1")]
    assert all(Path(name).suffix in (".json", ".safetensors", ".txt") for name in asked[0][1]["allow_patterns"])


def test_what_the_hub_does_not_give_is_said_in_one_sentence(asked, monkeypatch):
    with pytest.raises(SartorError, match=r"hub:owner/missing cannot be fetched \(FileNotFoundError: 404: no such"):
        checkpoint_folder("hub:owner/missing")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match="sartor\\[hub\\]"):
        checkpoint_folder("hub:owner/name")
