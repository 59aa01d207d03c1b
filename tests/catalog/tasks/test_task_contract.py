"""Every task and every family of models can be called as the contracts say, whatever its methods are made of."""

from __future__ import annotations

import inspect

import pytest

from sartor import registry
from sartor.catalog.contracts import ModelFamily, Task

CALLS = [
    (kind, name, method)
    for kind, contract in (("tasks", Task), ("models", ModelFamily))
    for name in registry.names(kind)
    for method, value in vars(contract).items()
    if inspect.isfunction(value) and not method.startswith("_")
]


@pytest.mark.parametrize(("kind", "name", "method"), CALLS)
def test_methods_take_what_the_contract_gives(kind, name, method):
    asked = list(inspect.signature(getattr({"tasks": Task, "models": ModelFamily}[kind], method)).parameters)[1:]
    plugin = registry.get(kind, name)
    if method == "fit" and plugin.fitting == "gradient" and not hasattr(plugin, method):
        return
    found = inspect.signature(getattr(plugin, method))
    found.bind(*asked)  # by position, as most are called
