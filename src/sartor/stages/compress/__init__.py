"""Weights to files a runtime takes, and those to smaller ones."""

from sartor.stages.compress.apply import compress
from sartor.stages.compress.convert import export

__all__ = ["compress", "export"]
