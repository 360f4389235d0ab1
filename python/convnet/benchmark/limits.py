"""What the machine can do, measured before anything else: multiply-adds and copied bytes a second.

Each thread copies its own part with np.copyto. A copy moves every byte twice, in and out; bytes
counts both.
"""

import importlib
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

_MEGABYTE = 1 << 20
# Moved bytes of a copy: within a core's cache, then ever further out, to memory alone.
SIZES = tuple(n * _MEGABYTE for n in (1, 4, 16, 64, 256, 1024))
_REPEATS = 7


def measure(dtype: str, threads: int) -> dict[str, Any]:
    """{"flops": a second, "copies": [{"bytes": moved, "bytes_per_s": ...}, ...]}"""
    sizes = [n for n in SIZES if n <= _memory() / 4] or SIZES[:1]
    rates = [_copy(n, threads) for n in sizes]
    # Memory further out is never faster: where a larger copy is, it ran by a better instruction
    # (stores that bypass the caches), which shows what the machine can do at the smaller size too.
    rates = [max(rates[i:]) for i in range(len(rates))]
    copies = [{"bytes": n, "bytes_per_s": r} for n, r in zip(sizes, rates, strict=True)]
    return {"flops": _flops(dtype, threads), "copies": copies}


def better(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements: another program can only make the machine look slower."""
    copies = [
        max(pair, key=lambda copy: copy["bytes_per_s"])
        for pair in zip(a["copies"], b["copies"], strict=True)
    ]
    return {"flops": max(a["flops"], b["flops"]), "copies": copies}


def _memory() -> float:
    """Bytes; without end where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _median_rate(work: float, run: Callable[[], Any]) -> float:
    run()
    rates = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        rates.append(work / (time.perf_counter() - start))
    return statistics.median(rates)


def _flops(dtype: str, threads: int) -> float:
    from convnet.backends import cpu

    suffix = {"float32": "f32", "float64": "f64"}[dtype]
    level = cpu.info()["instruction_set"]
    kernels = importlib.import_module(f"convnet.kernels.{level}_{suffix}")
    out = np.empty((threads, 16), dtype)
    rounds = 1_000_000  # about 6 ms at two multiply-adds a cycle
    work = kernels.fma_peak(out, 1, threads) * rounds
    return _median_rate(work, lambda: kernels.fma_peak(out, rounds, threads))


def _copy(moved: int, threads: int) -> float:
    """Bytes a second of a copy that moves so many."""
    length = moved // 2 // threads
    pairs = [(np.ones(length, np.uint8), np.zeros(length, np.uint8)) for _ in range(threads)]
    repeats = max(1, 8 * _MEGABYTE * threads // moved)

    def part(pair: tuple[np.ndarray, np.ndarray]) -> None:
        source, target = pair
        for _ in range(repeats):
            np.copyto(target, source)

    if threads == 1:
        return _median_rate(float(moved * repeats), lambda: part(pairs[0]))
    with ThreadPoolExecutor(threads) as pool:
        return _median_rate(float(moved * repeats), lambda: list(pool.map(part, pairs)))


def copy_rate(limits: dict[str, Any], moved: float) -> float:
    """The copy bandwidth at so many moved bytes: between the measured sizes, by their logarithm."""
    sizes = [np.log(c["bytes"]) for c in limits["copies"]]
    return float(np.interp(np.log(moved), sizes, [c["bytes_per_s"] for c in limits["copies"]]))
