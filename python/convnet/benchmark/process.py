"""A peer's process as the runner sees it: started, asked, stopped between turns, given up on."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any


class Failure(Exception):  # noqa: N818 - the run goes on
    """The process crashed or did not answer in time; it is gone."""


class Worker:
    """One peer's process. Between calls of `ask` it is stopped (SIGSTOP), so that no thread pool of
    its own spins while another peer is timed.
    """

    def __init__(self, peer: str, module: str, threads: int, precision: str, device: str) -> None:
        self.peer, self.module, self.threads = peer, module, threads
        self.precision, self.device = precision, device
        self.version, self.layouts = "", ()
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Let the process begin. It ends with the thread that calls this."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "convnet.benchmark.worker", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(self.peer, self.threads),
        )
        self._pending = b""

    def start(self, limit: float) -> None:
        """Spawn it, if that is to do, and wait for its imports.

        ImportError where the package is missing; Failure where its process fails.
        """
        if not self.alive:
            self.spawn()
        answer = self.ask(
            "start", limit, threads=self.threads, precision=self.precision, device=self.device
        )
        if "missing" in answer:
            self.close()
            raise ImportError(answer["missing"])
        self.version, self.layouts = answer["version"], tuple(answer["layouts"])

    @property
    def alive(self) -> bool:
        return self._process is not None

    def ask(self, what: str, limit: float, **arguments: Any) -> dict[str, Any]:
        """The answer to a request; after `limit` seconds without one, or a crash, Failure."""
        process = self._process
        if process is None or process.stdin is None:
            raise Failure("its process is gone")
        self._signal("SIGCONT")
        try:
            process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
            process.stdin.flush()
            line = self._line(limit)
        except BrokenPipeError:
            line = b""
        if not line:
            raise Failure(self._last_words())
        self._signal("SIGSTOP")
        return json.loads(line)

    def _line(self, limit: float) -> bytes:
        """The next line of its output; empty at its end."""
        output, until = self._process.stdout, time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, until - time.monotonic())):
                    self.close()
                    raise Failure(f"no answer in {limit:.0f} s; its process was ended")
                data = os.read(output.fileno(), 1 << 20)
                if not data:
                    return b""
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        how = f"exit status {status}"
        if status < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-status).name
        return f"crashed ({how})" + (f": {lines[-1]}" if lines else "")

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self._process is not None:
            self._process.send_signal(getattr(signal, name))

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()


# Where results lie in memory decides as much as kernels do, and chance decides that if it may.
# glibc hands freed memory back, and pays for its pages again at the next call, by rules that depend
# on all that the process has freed before: a layer took 1.1 ms in one run, 4.9 in the next. Fixed
# as a long-lived process ends up: blocks of up to 32 MB are kept, larger ones fresh at every call.
# NumPy asks for huge pages, torch only when told so: without, its pools took 2.3 or 4.5 ms, by the
# pages that a process happened to get. A variable that is set already stays as it is.
_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "THP_MEM_ALLOC_ENABLE": "1",
}


def _environment(peer: str, threads: int) -> dict[str, str]:
    """Thread counts for every library that reads one; BLAS beside another package's threads: one.

    NumPy's OpenBLAS would start a pool at import in each process.
    """
    blas = threads if peer in ("numpy", "scipy") else 1
    changed = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "CONVNET_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": blas,
        "CONVNET_CROSS_CHECK": 0,
    }
    return {**_MEMORY, **os.environ, **{name: str(value) for name, value in changed.items()}}
