"""Made-to-measure models: a requirement in, a model that provably meets it out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.stages.package import Model, load

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]

_HOMES = {
    "Model": "sartor.stages.package",
    "load": "sartor.stages.package",
}
"""Public name to the module that holds it; imported when first used, so that ``import sartor`` stays light."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sartor' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
