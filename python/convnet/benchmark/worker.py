"""A peer's process: answers one line of JSON with another, and runs nothing of its own accord.

start     threads, precision, device -> version, layouts
limits    dtype              -> what the machine can do (convnet's process alone)
probe                        -> the time of a copy, which tells what else uses the memory now
prepare   task, layouts, parts -> for each layout: a call's time, the algorithm, the parts of its
                             outputs that the runner will check; or why there is none
time      layout, calls, groups -> the mean time of a call, for each group of calls
release                      forget the task
"""

import base64
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import resource
except ImportError:  # Windows
    resource = None

from convnet.benchmark.peers import Unsupported
from convnet.gpu.errors import GPUError

_LONG = 0.2  # seconds; a call that takes longer is not run again to see how long it takes
_PROBE = 32 << 20  # bytes
_WARM = 0.01  # seconds; calls are run, untimed, as long as they fit when their turn comes


class Server:
    def __init__(self, module: str) -> None:
        self._name = module
        self._peer: Any = None
        self._calls: dict[str, Callable[[], tuple]] = {}
        self._seconds: dict[str, float] = {}
        self._copy: tuple[np.ndarray, np.ndarray] | None = None

    def start(self, threads: int, precision: str, device: str) -> dict[str, Any]:
        self._peer = importlib.import_module(self._name)
        self._peer.start(threads, precision, device)
        gc.freeze()  # what was imported stays: `release` need not look through it
        self._threads = threads
        self._wait = getattr(self._peer, "synchronize", _nothing)
        self._elapsed = None if device == "cpu" else getattr(self._peer, "elapsed", None)
        return {"version": self._peer.version(), "layouts": list(self._peer.LAYOUTS)}

    def limits(self, dtype: str) -> dict[str, Any]:
        from convnet.benchmark import limits

        return limits.measure(dtype, self._threads)

    def probe(self) -> dict[str, Any]:
        if self._copy is None:
            self._copy = np.zeros(_PROBE, np.uint8), np.ones(_PROBE, np.uint8)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            np.copyto(*self._copy)
            times.append(time.perf_counter() - start)
        return {"seconds": min(times)}

    def release(self) -> dict[str, Any]:
        """Memory goes back to the system, so that the next task's does not depend on this one's."""
        self._calls.clear()
        gc.collect()
        getattr(self._peer, "release", _nothing)()
        _trim()
        return {}

    def prepare(self, task: dict[str, Any], layouts: list[str], parts: list[Any]) -> dict[str, Any]:
        from convnet.benchmark import workloads
        from convnet.benchmark.tasks import Task

        made = Task(**task)
        inputs = workloads.of(made).inputs(made)
        return {layout: self._variant(made, inputs, layout, parts) for layout in layouts}

    def _variant(self, task: Any, inputs: dict, layout: str, parts: list[Any]) -> dict[str, Any]:
        try:
            run = self._peer.prepare(task, inputs, layout)
        except Unsupported as reason:
            return {"unsupported": str(reason)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        try:
            start = time.perf_counter()
            outputs = getattr(run, "checked", run)()
            self._wait()
            seconds = time.perf_counter() - start
            blocks = [_encoded(self._peer.array(outputs[o]), box) for o, box in parts]
            del outputs
            if seconds < _LONG:
                start = time.perf_counter()
                run()
                self._wait()
                seconds = time.perf_counter() - start
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        self._calls[layout], self._seconds[layout] = run, seconds
        return {
            "seconds": seconds,
            "parts": blocks,
            "algorithm": getattr(run, "algorithm", "") or self._peer.algorithm(task, layout),
        }

    def time(self, layout: str, calls: int, groups: int) -> dict[str, Any]:
        run, clock, found = self._calls[layout], time.perf_counter, []
        begun = clock()
        while clock() - begun + self._seconds[layout] < _WARM:
            run()
            self._wait()
        each, faults = range(calls), _page_faults()
        for _ in range(groups):
            if self._elapsed is not None:
                found.append(self._elapsed(run, calls) / calls)
                continue
            start = clock()
            for _ in each:
                run()
            self._wait()
            found.append((clock() - start) / calls)
        return {"seconds": found, "faults": (_page_faults() - faults) / (calls * groups)}


def _page_faults() -> int:
    """So far; 0 where the system does not tell."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0


def _nothing() -> None:
    """For peers without a function for it: a CPU's results are there when the call returns."""


def _trim() -> None:
    """Freed memory that glibc keeps; other C libraries have no such call."""
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)


def _encoded(a: np.ndarray, box: list[list[int]]) -> str:
    """A part of an array as float64, in base64."""
    part = a[tuple(slice(*span) for span in box)]
    return base64.b64encode(np.ascontiguousarray(part, np.float64).tobytes()).decode()


def _die_with_parent() -> None:
    """A stopped process would outlive a runner that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main() -> None:
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    # What a package prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    server = Server(sys.argv[1])
    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("do"))(**request)
        except (ImportError, NotImplementedError, Unsupported, GPUError) as error:
            answer = {"missing": str(error)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
