"""A device profile as a JSON file: written whole, checked when read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sartor.codec import from_plain
from sartor.errors import DeviceError, nearest
from sartor.evidence import write_json
from sartor.types import Ceiling, Device

LARGEST_BYTES = 1 << 20  # a profile is about 1 kB
HOW = "Make one with: sartor device probe --output profile.json"
_TEXT, _NUMBER, _WHOLE, _NAMES = "a text", "a number greater than 0", "a whole number greater than 0", "a list of names"
_KNOWN = "a number, 0 where it is unknown"
_KINDS = {
    **dict.fromkeys(("id", "name", "probed_at", "basis", "kind"), _TEXT),
    **dict.fromkeys(("probe_seconds", "power_w", "price_usd", "price_per_hour_usd"), _KNOWN),
    **dict.fromkeys(("cores", "memory_bytes"), _WHOLE),
    **dict.fromkeys(("instruction_sets", "accelerators"), _NAMES),
    "bandwidth_bytes_per_s": _NUMBER,
    "ceilings": 'a mapping such as {"fp32": {"operations_per_s": 3e11, "by": "onnxruntime"}}',
    "runtimes": 'a mapping of names to versions such as {"onnxruntime": "1.30.0"}',
}
_OPTIONAL = {
    *("basis", "probed_at", "probe_seconds", "accelerators", "kind", "power_w", "price_usd", "price_per_hour_usd"),
}


def write_profile(path: Path, device: Device) -> None:
    """Write a profile durably.

    Raises:
        StorageError: full or read-only disk.
    """
    write_json(path, device)


def read_profile(path: Path) -> Device:
    """Read a profile.

    Raises:
        DeviceError: not there, not JSON, or not a profile; the message names the key, what it is and what it must be.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DeviceError(f"{path} has {path.stat().st_size:,} bytes; a device profile has about 1,000. {HOW}")
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DeviceError(f"the device profile {path} does not exist. {HOW}") from None
    except OSError as error:
        raise DeviceError(f"the device profile {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"{path} is not a device profile: it is not JSON ({error}). {HOW}") from None
    _check(plain, path)
    device: Device = from_plain(Device, plain)
    return device


def _check(plain: Any, path: Path) -> None:
    if not isinstance(plain, Mapping):
        raise DeviceError(f"{path} is not a device profile: it holds {_told(plain)}, not a mapping. {HOW}")
    known = [field.name for field in fields(Device)]
    for key in plain:
        if key not in known:
            near = nearest(str(key), known)
            hint = f"Did you mean {near}?" if near else f"The keys are: {', '.join(known)}"
            raise DeviceError(f"{path}: {key!r} is not a key of a device profile. {hint}")
    missing = [key for key in known if key not in plain and key not in _OPTIONAL]
    if missing:
        raise DeviceError(f"{path}: {', '.join(missing)} missing. {HOW}")
    for key, value in plain.items():
        if not _fits(key, value):
            raise DeviceError(f"{path}: {key} is {_told(value)}; it must be {_KINDS[key]}")
    if plain.get("basis", "measured") not in ("measured", "quoted"):
        raise DeviceError(f"{path}: basis is {_told(plain['basis'])}; it must be measured or quoted")


def _fits(key: str, value: Any) -> bool:
    kind = _KINDS[key]
    if kind is _TEXT:
        return isinstance(value, str)
    if kind is _NAMES:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind is _KNOWN:
        return _positive(value) or (value == 0 and not isinstance(value, bool))
    if kind in (_NUMBER, _WHOLE):
        return _positive(value) and (kind is _NUMBER or float(value).is_integer())
    if not isinstance(value, Mapping):
        return False
    if key == "runtimes":
        return all(isinstance(version, str) for version in value.values())
    wanted = {field.name for field in fields(Ceiling)}
    return all(
        isinstance(ceiling, Mapping)
        and set(ceiling) == wanted
        and _positive(ceiling["operations_per_s"])
        and isinstance(ceiling["by"], str)
        for ceiling in value.values()
    )


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
