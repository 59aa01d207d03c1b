"""How oneDNN, whose kernels OpenVINO runs, is held to a level of instruction sets."""

from __future__ import annotations

from collections.abc import Mapping

from sartor.errors import Unsupported

_LEVELS = {
    "avx2": "AVX2",
    "avx2-vnni": "AVX2_VNNI",
    "avx512": "AVX512_CORE",
    "avx512-vnni": "AVX512_CORE_VNNI",
    "amx": "AVX512_CORE_AMX",
}


def held_to(level: str) -> Mapping[str, str]:
    """Environment variables with which a process behaves as on a processor of a level below its own.

    Raises:
        Unsupported: ``NO_LEVEL``: there is no such switch for the level.
    """
    if level not in _LEVELS:
        raise Unsupported("NO_LEVEL", f"OpenVINO cannot be held to {level or 'no'} instructions")
    return {"ONEDNN_MAX_CPU_ISA": _LEVELS[level]}
