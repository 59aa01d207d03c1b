"""Two tiny requirements for a smoke run: one that is easily met, and one that is impossible."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from briefs.draw import Brief
from sartor.catalog.devices.local import identify
from sartor.evidence import write_json
from sartor.types import Ceiling

TASK = "tabular-classification"


def briefs(folder: Path) -> list[Brief]:
    """About one made-up table, whose class is the sign of a number."""
    chance = np.random.default_rng(0)
    for part in ("train", "fresh"):
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["one", "two", "kind"])
            for one, two in chance.normal(size=(600, 2)).round(4).tolist():
                table.writerow([one, two, "high" if one + 0.2 * two > 0 else "low"])
    _count_as_probed(folder)
    possible: dict[str, Any] = {"accuracy": {"min": 0.7}, "size_mb": {"max": 4.0}}
    return [
        _brief(folder, "01-smoke-easy", possible, ()),
        _brief(folder, "02-smoke-size", possible | {"size_mb": {"max": 0.0001}}, ("limits.size_mb.max",)),
    ]


def _count_as_probed(folder: Path) -> None:
    """Spare a smoke run the look at this machine: invented ceilings, which only estimates look at."""
    ceilings = {precision: Ceiling(1e11, "onnxruntime") for precision in ("fp32", "bf16", "int8")}
    device = replace(identify(), ceilings=ceilings, bandwidth_bytes_per_s=1e10)
    write_json(folder / "machine" / ".sartor" / "devices" / f"{device.id}.json", device)


def _brief(folder: Path, name: str, limits: dict[str, Any], binding: tuple[str, ...]) -> Brief:
    document = {
        "name": name,
        "task": TASK,
        "data": {"train": str(folder / "train.csv"), "label": "kind"},
        "target": {"device": "local", "threads": 1},
        "limits": limits,
        "budget": {"time": "12s", "effort": "quick"},
        "search": {"models": ["tabular-linear"], "runtimes": ["onnxruntime"], "precisions": ["fp32"]},
    }
    return Brief(name, "smoke", TASK, "smoke", 12, binding, document, str(folder / "fresh.csv"), "made so")
