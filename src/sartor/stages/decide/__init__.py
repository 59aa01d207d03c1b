"""Requirement and records to a Decision; a pure function."""

from sartor.stages.decide.decide import MOST_FINALISTS, decide
from sartor.stages.decide.fates import CODES

__all__ = ["CODES", "MOST_FINALISTS", "decide"]
