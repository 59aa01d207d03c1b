"""Text, YAML, JSON or objects to a Requirement; every problem reported at once."""

from sartor.stages.requirement.document import read_value
from sartor.stages.requirement.draft import Draft, check, draft
from sartor.stages.requirement.json_schema import schema
from sartor.stages.requirement.limits import measurables, parts_of
from sartor.stages.requirement.read import read_requirement
from sartor.stages.requirement.written import to_mapping

__all__ = [
    "Draft",
    "check",
    "draft",
    "measurables",
    "parts_of",
    "read_requirement",
    "read_value",
    "schema",
    "to_mapping",
]
