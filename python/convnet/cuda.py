"""What scripts ask before they choose a device."""

from convnet.gpu import driver


def is_available() -> bool:
    """Whether layers can live on "cuda": there is a GPU, and numba-cuda is installed."""
    return driver.count() > 0 and driver.extra_is_installed()


def device_count() -> int:
    """How many GPUs there are; kernels run on the current one."""
    return driver.count() if driver.extra_is_installed() else 0


def synchronize() -> None:
    """Wait until all work on the GPU's default stream is done."""
    if is_available():
        driver.synchronize(0)


def empty_cache() -> None:
    """Give the memory of freed results back to the driver."""
    from convnet.gpu.memory import pool

    pool.clear()
