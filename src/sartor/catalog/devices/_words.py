"""A device in one line, for people."""

from __future__ import annotations

from sartor.types import Device

PRECISIONS = ("fp32", "bf16", "int8")
FAMILIES = (("avx512", "AVX-512"), ("avx2", "AVX2"), ("sve", "SVE"), ("neon", "NEON"))


def summary(device: Device) -> str:
    """E.g. ``2 cores, AVX-512 + AMX · fp32 0.35, bf16 2.3, int8 3.2 Tops/s · 25 GB/s``."""
    cores = f"{device.cores} core{'' if device.cores == 1 else 's'}{_instructions(device)}"
    found = [cores if device.kind == "cpu" else device.kind.upper()]
    known = [name for name in PRECISIONS if name in device.ceilings]
    names = known + sorted(set(device.ceilings) - set(known))
    if names:
        rates = ", ".join(f"{name} {_tera(device.ceilings[name].operations_per_s)}" for name in names)
        found.append(f"{rates} Tops/s")
    if device.bandwidth_bytes_per_s:
        found.append(f"{device.bandwidth_bytes_per_s / 1e9:.0f} GB/s")
    found.extend(device.accelerators)
    return " · ".join(found) + (" (quoted)" if device.basis == "quoted" else "")


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.2g}" if rate < 1e14 else f"{rate / 1e12:.0f}"


def _instructions(device: Device) -> str:
    sets = device.instruction_sets
    family = next((title for prefix, title in FAMILIES if any(name.startswith(prefix) for name in sets)), "")
    amx = "AMX" if any(name.startswith("amx_") for name in sets) else ""
    told = " + ".join(part for part in (family, amx) if part)
    return f", {told}" if told else ""
