"""What is missing, said once."""


class GPUError(OSError):
    """There is no GPU, driver or numba-cuda, or the driver refused something."""


def missing(what: str) -> GPUError:
    """The error for the first call that wants a GPU where there is none."""
    return GPUError(f"the cuda backend needs {what}; `convnet info` tells what is there")
