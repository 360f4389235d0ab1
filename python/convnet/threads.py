"""How many threads the kernels use: a call, the environment, or what the process may use.

set_num_threads > CONVNET_NUM_THREADS > OMP_NUM_THREADS > min(affinity, cgroup quota). After a fork
the child runs on one thread: OpenMP's pool does not survive a fork, and waiting for it hangs.
"""

import math
import os
from pathlib import Path

from convnet.settings import Override, Setting

MOST = 4096  # threads


def _from_environment(name: str) -> int | None:
    text = os.environ.get(name, "").split(",")[0].strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST):
        if name == "OMP_NUM_THREADS":  # OpenMP's own: what it cannot read it leaves alone
            return None
        raise ValueError(f"{name}: expected a whole number from 1 to {MOST}, got {text!r}")
    return int(text)


def _cgroup_quota() -> int | None:
    """Whole CPUs that the control group grants, rounded up; None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            v1 = Path("/sys/fs/cgroup/cpu")
            quota = (v1 / "cpu.cfs_quota_us").read_text().strip()
            period = (v1 / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:  # "max" or -1
        return None
    return max(1, math.ceil(int(quota) / int(period)))


def available_cpus() -> int:
    """min(CPUs in the affinity mask, CPUs of the cgroup quota)."""
    mask = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cpus = len(mask) if mask else os.cpu_count() or 1
    return min(cpus, _cgroup_quota() or cpus)


def _default() -> tuple[int, str]:
    for name in ("CONVNET_NUM_THREADS", "OMP_NUM_THREADS"):
        value = _from_environment(name)
        if value is not None:
            return value, name
    return available_cpus(), "affinity and cgroup quota"


_count, _count_from = _default()
_threads: Setting[int] = Setting("num_threads", _count)
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_num_threads(n: int) -> Override[int]:
    """Use n threads in every kernel; results have the same bits for any n.

    Sets it for the process; as a with block, for the context. Raises TypeError or ValueError
    unless n is a whole number of at least 1. In a forked child there is one thread all the same.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n: expected a whole number of threads, got {type(n).__name__}")
    n = n.__index__()
    if n < 1:
        raise ValueError(f"n: expected at least 1 thread, got {n}")
    if n > MOST:
        raise ValueError(f"n: expected at most {MOST} threads, got {n}")
    return _threads.set(n)


def get_num_threads() -> int:
    """How many threads a kernel may use here."""
    if _forked:
        return 1
    override = _threads.context.get()
    return _threads.process if override is None else override[0]


def why() -> str:
    """Where get_num_threads() has its number from."""
    if _forked:
        return "this is a forked process"
    return _count_from if _threads.get() == _count else "set_num_threads"
