"""The machine Sartor runs on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import psutil

from sartor import registry
from sartor.catalog.devices import _machine
from sartor.codec import canonical_json, digest
from sartor.errors import DeviceError, MissingExtra
from sartor.progress import Tell, silent
from sartor.registry import register
from sartor.types import Ceiling, Device

BUSY_PERCENT = 30.0
CHILD_SECONDS = 60.0  # a runtime that hangs must not hang the probe


@register("devices", "local")
class Local:
    """``target.device: local``."""

    name: str

    def accepts(self, address: str) -> bool:
        """True for ``local``."""
        return address == "local"

    def profile(self, address: str) -> Device:
        """Probe this machine (about 10 s)."""
        return probe()

    def identify(self) -> Device:
        """This machine without measured rates; see :func:`identify`."""
        return identify()

    def probe(self, tell: Tell = silent) -> Device:
        """This machine measured; see :func:`probe`."""
        return probe(tell)


def identify() -> Device:
    """This machine without measured rates, in milliseconds; its ``id`` is that of a probe.

    The id depends on processor, cores, instruction sets, accelerators and the versions of shipping runtimes: on what
    makes a model fast, and not on measured rates, which wobble. Evidence of the same id stays valid.
    """
    name, sets = _machine.processor()
    runtimes = _installed_runtimes()
    cores, cards = _machine.usable_cores(), _machine.accelerators()
    shipping = {runtime: version for runtime, version in runtimes.items() if not _is_reference(runtime)}
    return Device(
        id=digest({"processor": name, "cores": cores, "sets": sets, "accelerators": cards, "runtimes": shipping}),
        name=name,
        cores=cores,
        memory_bytes=_machine.usable_memory_bytes(),
        instruction_sets=sets,
        ceilings={},
        bandwidth_bytes_per_s=0.0,
        runtimes=runtimes,
        accelerators=cards,
    )


def probe(tell: Tell = silent) -> Device:
    """Measure this machine in about 10 s: compute ceilings per precision, read bandwidth, runtimes that truly run.

    Each runtime is tried and timed in a process of its own, so that one that crashes only leaves the list.

    Example:
        >>> probe().ceilings["fp32"].operations_per_s  # doctest: +SKIP

    Raises:
        DeviceError: no runtime works, so nothing could ever run here.
    """
    started = time.monotonic()
    device = identify()
    busy = psutil.cpu_percent(interval=0.3)
    if busy > BUSY_PERCENT:
        tell(
            f"this machine is {busy:.0f} % busy with other work: ceilings may come out too low; probe when it is quiet"
        )
    working: dict[str, str] = {}
    ceilings: dict[str, Ceiling] = {}
    parts = ["bandwidth", *device.runtimes]
    bandwidth = 0.0
    for place, part in enumerate(parts):
        tell(f"probing {part}", place / len(parts))
        found = _in_child(part, device)
        if "error" in found:
            tell(f"{part} does not work on this machine: {found['error']}")
        elif part == "bandwidth":
            bandwidth = float(found["bytes_per_s"])
        else:
            working[part] = device.runtimes[part]
            for precision, rate in found["rates"].items():
                if precision not in ceilings or rate > ceilings[precision].operations_per_s:
                    ceilings[precision] = Ceiling(float(rate), part)
            for problem in found["problems"]:
                tell(problem)
    if not any(not _is_reference(name) for name in working):
        raise DeviceError(f"no runtime works on {device.name}. Run: pip install onnxruntime, then: sartor device probe")
    tell("probed", 1.0)
    return replace(
        device,
        ceilings={name: ceilings[name] for name in sorted(ceilings)},
        bandwidth_bytes_per_s=bandwidth,
        runtimes=working,
        probed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        probe_seconds=round(time.monotonic() - started, 1),
    )


def _installed_runtimes() -> dict[str, str]:
    """Runtime to version, from package metadata where the package has the runtime's name; nothing is imported."""
    found = {}
    for name in registry.names("runtimes"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            try:  # installed under another name, such as onnxruntime-gpu
                found[name] = str(registry.get("runtimes", name).version())
            except MissingExtra:
                continue
    return found


def _is_reference(name: str) -> bool:
    return bool(registry.get("runtimes", name).reference)


def _in_child(part: str, device: Device) -> Mapping[str, Any]:
    """What a child process found out about one runtime (or ``bandwidth``), or ``{"error": why}``."""
    # -P keeps the working folder off the path: a file named onnx.py there must not be imported
    command = [sys.executable, "-P", "-m", "sartor.catalog.devices._rates", part]
    began = time.monotonic()
    try:
        child = subprocess.run(
            command, input=canonical_json(device), capture_output=True, text=True, timeout=CHILD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {time.monotonic() - began:.0f} s"}
    except OSError as error:
        return {"error": f"no process could be started ({error.strerror})"}
    if child.returncode < 0:
        return {"error": f"it was ended by signal {-child.returncode}"}
    try:
        found = json.loads(child.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        found = None
    if child.returncode == 0 and isinstance(found, dict):
        return found
    lines = child.stderr.strip().splitlines()
    return {"error": lines[-1][:300] if lines else f"exit code {child.returncode}"}
