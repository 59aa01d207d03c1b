"""Requirement and catalogue to candidates."""

from sartor.stages.candidates.enumerate import candidates

__all__ = ["candidates"]
