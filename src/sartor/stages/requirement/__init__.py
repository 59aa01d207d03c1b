"""Text, YAML, JSON or objects to a Requirement; every problem reported at once."""

from sartor.stages.requirement.json_schema import schema
from sartor.stages.requirement.limits import measurables
from sartor.stages.requirement.read import read_requirement
from sartor.stages.requirement.written import to_mapping

__all__ = ["measurables", "read_requirement", "schema", "to_mapping"]
