"""What ran where: for the head of a result file."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import convnet
from convnet.threads import available_cpus

_VARIABLES = ("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "CONVNET_")


def facts() -> dict[str, Any]:
    """Processor, memory, system, convnet's own info, and the environment that changes timings."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "processor": _processor(),
        "cpus": available_cpus(),
        "memory_gb": _memory(),
        "caches": _caches(),
        "system": platform.platform(),
        "convnet": convnet.info(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(_VARIABLES)},
    }


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _caches() -> dict[str, str]:
    """Level -> size, as the kernel tells it of the first CPU."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = _read(index / "level"), _read(index / "type")
        if kind != "Instruction":
            found[f"L{level}"] = _read(index / "size")
    return found


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
