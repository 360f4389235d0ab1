"""What the compiler makes of every kernel for a GPU that need not be there: registers and spills.

    python -m convnet.kernels.cuda.report [short] sm_80 sm_90 [family ...]

NVVM and nvJitLink of the cuda extra compile; no driver is asked.
"""

import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

from convnet.kernels.cuda.launch import Kernel
from numba import cuda

FAMILIES = (
    "activation",
    "adaptive_pool",
    "conv",
    "conv_weight_grad",
    "cross_entropy",
    "depthwise",
    "dropout",
    "gemm",
    "im2col",
    "interpolate",
    "loss",
    "norm",
    "norm_sums",
    "optim",
    "pool",
    "reduce",
    "softmax",
    "strided",
    "sums",
)


@dataclass(frozen=True)
class Report:
    """Of one kernel: registers a thread; bytes spilled, of stack, of static shared memory."""

    registers: int
    spilled: int
    stack: int
    shared: int


def programs(*families: str) -> Iterator[tuple[str, Kernel]]:
    """(family, kernel) of every kernel that the families ship; without names, of all."""
    for family in families or FAMILIES:
        for kernel in importlib.import_module(f"convnet.kernels.cuda.{family}").programs():
            yield family, kernel


@contextmanager
def _pretend(capability: tuple[int, int]) -> Iterator[None]:
    """Device functions ask the driver what to compile for, when a kernel that calls them is."""
    gpu = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=gpu):
        yield


def compile(kernel: Kernel, *archs: str) -> list[tuple[bytes, Report]]:
    """The machine code of a kernel for "sm_80" and the like, and the compiler's report on it.

    Numba goes over the kernel once, for the lowest of them: no kernel asks what it is compiled for.
    """
    from cuda.core import Linker, LinkerOptions, ObjectCode

    capability = min((int(arch[3:-1]), int(arch[-1])) for arch in archs)
    with _pretend(capability):
        code, _ = cuda.compile(
            kernel.function,
            kernel.signature,
            cc=capability,
            device=False,
            abi="numba",
            output="ltoir",
            launch_bounds=kernel.launch_bounds,
            **_compile_options(kernel.options),
        )
    results = []
    for arch in archs:
        options = LinkerOptions(
            arch=arch,
            link_time_optimization=True,
            ptxas_options="-v",
            verbose=True,
        )
        linker = Linker(ObjectCode.from_ltoir(code, name=kernel.name), options=options)
        machine_code = linker.link("cubin").code
        results.append((machine_code, _read(linker.get_info_log())))
    return results


def _compile_options(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k in ("fastmath", "opt", "lineinfo")}


def _read(log: str) -> Report:
    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found[1]) if found else 0

    registers = number(r"Used (\d+) registers")
    if not registers:
        raise RuntimeError(f"the compiler's report names no registers:\n{log}")
    return Report(
        registers,
        number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes smem"),
    )


def main(*words: str) -> None:
    """Print a table with a line for each kernel, or with "short" for each name and type."""
    archs = [w for w in words if w.startswith("sm_")] or ["sm_90"]
    families = [w for w in words if w not in (*archs, "short")]
    lines: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for family, kernel in programs(*families):
        reports = [r for _, r in compile(kernel, *archs)]
        name, types = f"{family}.{kernel.name}", kernel.signature
        if "short" in words:
            name = name.replace("_narrow", "")
            types = next((t for t in ("float32", "float64") if f"{t}[" in types), "integers")
        numbers = (
            kernel.max_threads or 0,
            *(r.registers for r in reports),
            max(r.spilled for r in reports),
            max(r.stack for r in reports),
            reports[0].shared + kernel.shared,
        )
        lines.setdefault((name, types), []).append(numbers)
    registers = " | ".join(f"registers, {arch}" for arch in archs)
    print(f"| kernel | types | kernels | threads | {registers} | spilled | stack | shared |")
    print("|" + "---|" * (len(archs) + 7))
    for key, variants in lines.items():
        cells = (*key, len(variants), *map(_range, zip(*variants, strict=True)))
        print("|", " | ".join(map(str, cells)), "|")


def _range(values: Iterable[int]) -> str:
    low, *_, high = sorted((*values,) * 2)
    return f"{low}" if low == high else f"{low}-{high}"


if __name__ == "__main__":
    main(*sys.argv[1:])
