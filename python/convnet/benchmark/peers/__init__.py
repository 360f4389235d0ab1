"""How each package's users would run a task: one module a package.

A peer is a module with

    LAYOUTS                      the memory formats it has for images, of tasks.LAYOUTS
    start(threads, precision, device)    once, in its own process; Unsupported for another device
    version() -> str
    prepare(task, inputs, layout) -> function of no arguments that computes the task's outputs, a
                                 tuple; raises Unsupported for what the package lacks. Where it has
                                 an attribute `checked`, that is called for the comparison instead
    array(output) -> ndarray     an output as NumPy sees it
    algorithm(task, layout)      what runs, in words; "" where the package does not tell. The
                                 function's own attribute `algorithm` goes before it
    synchronize()                waits for the device; may be missing
    elapsed(run, calls)          seconds of so many calls on a GPU, by its own clock; may be missing
    release()                    gives back memory that the package keeps; may be missing

A benchmark's user may name any importable module of this kind: --peers mine=package.module.
"""

from collections.abc import Callable, Sequence

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[], tuple]  # what is timed

OURS = "convnet"
KNOWN = ("torch", "numpy", "scipy", "onnxruntime")


class Unsupported(Exception):  # noqa: N818 - not a failure
    """The package has nothing for this task; the message says what it lacks."""


def modules_of(names: Sequence[str]) -> dict[str, str]:
    """Peer -> its module, convnet first; ValueError for an unknown peer."""
    found = {OURS: f"{__name__}.{OURS}"}
    for text in names:
        name, _, module = text.partition("=")
        if not name or (not module and name not in (*KNOWN, OURS)):
            raise ValueError(
                f"peers: expected some of {', '.join(KNOWN)}, or name=module, got {text!r}"
            )
        found[name] = module or f"{__name__}.{name}"
    return found


def cpu_only(device: str) -> None:
    if device != "cpu":
        raise Unsupported("it runs on the CPU only")


def in_layout(a: np.ndarray, layout: str) -> np.ndarray:
    """`a` (N, C, ...) itself, or the same values in the other memory format."""
    if layout == "nchw" or a.ndim < 3:
        return a
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
