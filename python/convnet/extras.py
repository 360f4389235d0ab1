"""What of an extra something needs; asked before anything heavy is imported."""

from importlib.util import find_spec

_NAMES = {"PIL": "Pillow"}  # where the module's name is not the distribution's


def require(what: str, *modules: str, extra: str = "demo") -> None:
    """ImportError naming the extra unless all modules are installed."""
    missing = [_NAMES.get(m, m) for m in modules if find_spec(m) is None]
    if missing:
        raise ImportError(
            f'{what} needs {" and ".join(missing)}: pip install "convnet-kernels[{extra}]"'
        )
