"""Package: build what ships, pack it into one file, open and load it again."""

from sartor.stages.package.archive import pack
from sartor.stages.package.build import GOLDEN_PAIRS, build_package
from sartor.stages.package.golden import GoldenResult, compare
from sartor.stages.package.model import Model, load, read_input, to_bytes
from sartor.stages.package.read import Contents, facts, open_package

__all__ = [
    "GOLDEN_PAIRS",
    "Contents",
    "GoldenResult",
    "Model",
    "build_package",
    "compare",
    "facts",
    "load",
    "open_package",
    "pack",
    "read_input",
    "to_bytes",
]
