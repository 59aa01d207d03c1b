"""Data: clean, split, fingerprint; ``prepare`` is the stage, ``stamp`` says when it must run again."""

from sartor.stages.data.preparing import prepare
from sartor.stages.data.stamping import stamp

__all__ = ["prepare", "stamp"]
