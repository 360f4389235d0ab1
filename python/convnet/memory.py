"""Memory for results: how much of it is kept for the next ones.

A large result's memory, when its array is gone, is kept for the next result of about that size:
fresh memory costs a page fault for every page, which can take longer than the kernel. At most
CONVNET_CACHE_LIMIT bytes are kept; without the variable 512 MB, or a sixteenth of the machine's
memory where that is less. 0 turns it off.
"""

import os

from convnet.kernels import memory as _memory
from convnet.kernels.memory import empty as empty
from convnet.kernels.memory import empty_as as empty_as
from convnet.kernels.memory import empty_like as empty_like

_MOST = 512 << 20  # a forward pass of VGG-16 with 8 images goes through 480 MB


def _default() -> int:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _MOST
    return min(_MOST, memory // 16)


def _from_environment() -> int:
    text = os.environ.get("CONVNET_CACHE_LIMIT", "").strip()
    if not text:
        return _default()
    if not (text.isascii() and text.isdigit() and int(text) < 2**63):
        raise ValueError(f"CONVNET_CACHE_LIMIT: expected a number of bytes, got {text!r}")
    return int(text)


def set_cache_limit(bytes: int) -> None:
    """Keep at most so many bytes of freed results, in the whole process; 0 keeps none.

    Raises TypeError or ValueError unless it is a whole number of at least 0.
    """
    if isinstance(bytes, bool) or not hasattr(bytes, "__index__"):
        raise TypeError(f"bytes: expected a whole number, got {type(bytes).__name__}")
    bytes = bytes.__index__()
    if not 0 <= bytes < 2**63:
        raise ValueError(f"bytes: expected 0 or more, got {bytes}")
    _memory.set_limit(bytes)


def get_cache_limit() -> int:
    """How many bytes of freed results may be kept."""
    return _memory.get_limit()


def empty_cache() -> None:
    """Give the memory of freed results back to the system."""
    _memory.clear()


def cached() -> int:
    """How many bytes of freed results are kept now."""
    return _memory.cached()


set_cache_limit(_from_environment())
