"""What the compiler makes of every kernel for a GPU that need not be there: registers and spills.

    python -m convnet.kernels.cuda.report sm_90 [family ...]

NVVM and nvJitLink of the cuda extra compile; no driver is asked.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
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
    "depthwise",
    "dropout",
    "gemm",
    "im2col",
    "interpolate",
    "loss",
    "norm",
    "optim",
    "pool",
    "reduce",
    "softmax",
    "strided",
)


@dataclass(frozen=True)
class Report:
    """Of one kernel: registers a thread; bytes spilled, of stack, of static shared memory."""

    registers: int
    spilled: int
    stack: int
    shared: int


def programs(*families: str) -> Iterator[tuple[str, Kernel]]:
    """(family, kernel) of every kernel that the families ship; without names, of all that exist."""
    for family in families or FAMILIES:
        name = f"convnet.kernels.cuda.{family}"
        if families or importlib.util.find_spec(name):
            for kernel in importlib.import_module(name).programs():
                yield family, kernel


@contextmanager
def _pretend(capability: tuple[int, int]) -> Iterator[None]:
    """Device functions ask the driver what to compile for, when a kernel that calls them is."""
    gpu = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=gpu):
        yield


def compile(kernel: Kernel, arch: str) -> tuple[bytes, Report]:
    """The machine code of a kernel for "sm_80" or the like, and the compiler's report on it."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    capability = int(arch[3:-1]), int(arch[-1])
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
    options = LinkerOptions(
        arch=arch,
        link_time_optimization=True,
        ptxas_options="-v",
        verbose=True,
    )
    linker = Linker(ObjectCode.from_ltoir(code, name=kernel.name), options=options)
    machine_code = linker.link("cubin").code
    return machine_code, _read(linker.get_info_log())


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


def main(arch: str = "sm_90", *families: str) -> None:
    print("| kernel | types | threads | registers | spilled | stack | shared |")
    print("|---|---|---|---|---|---|---|")
    for family, kernel in programs(*families):
        _, r = compile(kernel, arch)
        cells = f"{family}.{kernel.name}", kernel.signature, kernel.max_threads or ""
        shared = r.shared + kernel.shared
        print("|", " | ".join(map(str, (*cells, r.registers, r.spilled, r.stack, shared))), "|")


if __name__ == "__main__":
    main(*sys.argv[1:])
