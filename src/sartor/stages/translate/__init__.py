"""Brings a trained model of a user's own, of whatever format, into one ONNX file."""

from sartor.stages.translate.formats import job_of
from sartor.stages.translate.translate import placed, translate

__all__ = ["job_of", "placed", "translate"]
