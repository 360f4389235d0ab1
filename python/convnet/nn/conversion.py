"""What Tensors take: types, devices and array-likes."""

from typing import Any

import numpy as np

from convnet.gpu import driver, foreign
from convnet.gpu.array import DeviceArray, to_device

ARRAYS = (np.ndarray, DeviceArray)
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# torch's names of types: NumPy's dtypes.
float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
bool = np.dtype(np.bool_)


class device(str):  # noqa: N801 - torch's name
    """The name of a device: "cpu", or "cuda" for the current GPU."""

    __slots__ = ()

    def __new__(cls, type: Any) -> "device":
        return super().__new__(cls, device_name(type))

    @property
    def type(self) -> str:
        return str(self)

    @property
    def index(self) -> Any:
        return driver.device() if self == "cuda" else None

    def __repr__(self) -> str:
        return f"device(type={str(self)!r})"


def as_dtype(value: Any) -> np.dtype:
    """A NumPy dtype from one, a type, a name, or torch's name of it ("torch.float32")."""
    return np.dtype(str(value).removeprefix("torch.") if "torch." in str(value) else value)


def device_name(device: Any) -> str:
    """ "cpu" or "cuda", of a name or a torch.device; None is "cpu".

    NotImplementedError for other devices, and for another GPU than the current one.
    """
    name, _, number = str("cpu" if device is None else device).partition(":")
    if name not in ("cpu", "cuda"):
        raise NotImplementedError(
            f'device {str(device)!r}: layers and Tensors live on "cpu" or "cuda"'
        )
    if name == "cuda" and number not in ("", "0") and number != str(driver.device()):
        raise NotImplementedError(
            f"device {str(device)!r}: kernels run on the current GPU, number {driver.device()}"
        )
    return name


def check_device(device: Any) -> None:
    """NotImplementedError for any device but the CPU, where layers are made."""
    if device_name(device) != "cpu":
        raise NotImplementedError(
            f"device {str(device)!r}: layers are made on the CPU; move them with .to({device!r})"
        )


def moved(a: Any, device: str) -> Any:
    """An array on "cpu" or "cuda": itself if it is there."""
    if device == "cuda":
        return a if type(a) is DeviceArray else to_device(a)
    return a.get() if type(a) is DeviceArray else a


def host(value: Any) -> np.ndarray:
    """The elements of a Tensor or an array, of either device, as an ndarray."""
    a = value.data if hasattr(value, "_node") else value
    return a.get() if type(a) is DeviceArray else np.asarray(a)


def as_ndarray(value: Any, dtype: Any) -> np.ndarray:
    """The array of anything array-like; lists of floats become float32, as in torch.

    An array on a GPU stays there, without a copy.
    """
    if hasattr(value, "_node"):  # a Tensor
        a = value.data
    elif isinstance(value, np.ndarray):
        a = value if type(value) is np.ndarray else np.asarray(value)  # memmap and the like
    elif type(value) is DeviceArray:
        a = value
    elif hasattr(value, "__cuda_array_interface__"):
        a = foreign.wrap(value, "data")
        a.library = ""  # what layers make of it is ours
    elif hasattr(value, "__dlpack__"):
        a = np.from_dlpack(value)
    else:
        a = np.asarray(value)
        if a.dtype == np.float64 and not isinstance(value, np.generic):
            a = a.astype(np.float32)
    if a.dtype.kind not in "fiub":
        raise TypeError(f"data: expected numbers, got {type(value).__name__} of {a.dtype}")
    return a if dtype is None else a.astype(as_dtype(dtype), copy=False)


def target(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[np.dtype | None, str | None]:
    """(dtype, device) of a call of to(), None for what stays as it is."""
    dtype, device = kwargs.get("dtype"), kwargs.get("device")
    for arg in args:
        if hasattr(arg, "requires_grad"):
            dtype, device = arg.dtype, arg.device
        elif str(arg).partition(":")[0] in ("cpu", "cuda", "mps", "xpu"):  # or a torch.device
            device = arg
        elif arg is not True and arg is not False:  # non_blocking
            dtype = arg
    return (
        None if dtype is None else as_dtype(dtype),
        None if device is None else device_name(device),
    )
