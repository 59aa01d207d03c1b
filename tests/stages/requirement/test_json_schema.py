"""The published schema is the one the code makes, and it agrees with the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sartor.errors import RequirementError
from sartor.stages.requirement import read_requirement, schema

REPOSITORY = Path(__file__).parents[3]
PUBLISHED = REPOSITORY / "docs" / "requirement.schema.json"


def problems_of(values: Any, by: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(by).iter_errors(values)]


def test_the_published_schema_is_up_to_date() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema(), "run: make docs"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("file", sorted((REPOSITORY / "examples").rglob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_hold_it_and_refer_to_it(file: Path) -> None:
    values = yaml.safe_load(file.read_text())
    assert problems_of(values, schema()) == []
    assert (file.parent / values["$schema"]).resolve() == PUBLISHED


BASE = {"task": "fruit-sorting", "data": "photos"}
RIGHT = [
    {},
    {"data": {"train": "photos", "anything": 3}},
    {"limits": None, "target": None},
    {"limits": {"accuracy": {"min": 0.9, "max_drop": 0.01, "per_class_min": "50 %"}}},
    {"limits": {"latency_p95_ms": {"max": "5 ms"}, "size_mb": {"max": "200 KB"}, "accuracy_drop": {"max": 0}}},
    {"objectives": {"accuracy": 3, "throughput_per_s": 0.5}},
    {"target": {"threads": 2}, "budget": {"time": "30m"}, "search": {"models": ["pear-net"]}},
]
WRONG = [
    {"task": "zebra"},
    {"data": {"test": "photos"}},
    {"data": 3},
    {"taks": "x"},
    {"limits": {"acuracy": {"min": 0.9}}},
    {"limits": {"accuracy": {"min": 90}}},
    {"limits": {"accuracy": {"max": 0.9}}},
    {"limits": {"accuracy": {}}},
    {"limits": {"latency_p95_ms": {"max": "5 MB"}}},
    {"limits": {"latency_p95_ms": {"max": 0}}},
    {"limits": {"accuracy": {"max_drop": 1}}},
    {"objectives": {"accuracy": 0}},
    {"objectives": {"accuracy_drop": 1}},
    {"target": {"threads": 0}},
    {"target": {"cores": 1}},
    {"decision": {"confidence": 1}},
    {"budget": {"effort": "lazy"}},
    {"search": {"models": ["cherry-net"]}},
    {"seed": -1},
    {"name": "a/b"},
]


@pytest.mark.parametrize("values", RIGHT, ids=str)
def test_schema_and_reader_take_the_same(orchard: Path, values: dict[str, Any]) -> None:
    assert problems_of({**BASE, **values}, schema()) == []
    read_requirement({**BASE, **values})


@pytest.mark.parametrize("values", WRONG, ids=str)
def test_schema_and_reader_refuse_the_same(orchard: Path, values: dict[str, Any]) -> None:
    assert problems_of({**BASE, **values}, schema())
    with pytest.raises(RequirementError):
        read_requirement({**BASE, **values})
