"""What Tensors take: types, devices and array-likes."""

from typing import Any

import numpy as np

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# torch's names of types: NumPy's dtypes.
float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
bool = np.dtype(np.bool_)


class device(str):  # noqa: N801 - torch's name
    """The name of a device: "cpu" is the only one of this version."""

    __slots__ = ()

    def __new__(cls, type: Any) -> "device":
        check_device(type)
        return super().__new__(cls, type)

    @property
    def type(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"device(type={str(self)!r})"


def as_dtype(value: Any) -> np.dtype:
    """A NumPy dtype from one, a type, a name, or torch's name of it ("torch.float32")."""
    return np.dtype(str(value).removeprefix("torch.") if "torch." in str(value) else value)


def check_device(device: Any) -> None:
    """NotImplementedError for any device but the CPU."""
    if device is not None and str(device) != "cpu":
        raise NotImplementedError(
            f"device {str(device)!r}: layers and Tensors of this version live on the CPU; "
            f'leave the device out or give "cpu"'
        )


def as_ndarray(value: Any, dtype: Any) -> np.ndarray:
    """The ndarray of anything array-like; lists of floats become float32, as in torch."""
    if hasattr(value, "_node"):  # a Tensor
        a = value.data
    elif isinstance(value, np.ndarray):
        a = value if type(value) is np.ndarray else np.asarray(value)  # memmap and the like
    elif hasattr(value, "__dlpack__"):
        a = np.from_dlpack(value)
    else:
        a = np.asarray(value)
        if a.dtype == np.float64 and not isinstance(value, np.generic):
            a = a.astype(np.float32)
    if a.dtype.kind not in "fiub":
        raise TypeError(f"data: expected numbers, got {type(value).__name__} of {a.dtype}")
    return a if dtype is None else a.astype(as_dtype(dtype), copy=False)


def target_dtype(args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.dtype | None:
    """The dtype of a call of to(); NotImplementedError for another device than the CPU."""
    dtype, device = kwargs.get("dtype"), kwargs.get("device")
    for arg in args:
        if hasattr(arg, "requires_grad"):
            dtype = arg.dtype
        elif str(arg).partition(":")[0] in ("cpu", "cuda", "mps", "xpu"):  # or a torch.device
            device = arg
        elif arg is not True and arg is not False:  # non_blocking
            dtype = arg
    check_device(device)
    return None if dtype is None else as_dtype(dtype)
