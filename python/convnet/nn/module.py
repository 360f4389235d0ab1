"""Module: parameters, buffers and other modules under names, and a forward function."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from convnet.nn.conversion import moved, target
from convnet.nn.parameter import Parameter
from convnet.nn.state import StateMismatch, array_of, check_state
from convnet.nn.tensor import FLOATS, Tensor

_TABLES = ("_parameters", "_buffers", "_modules")


class LoadedKeys(NamedTuple):
    """What load_state_dict(strict=False) did not find, and did not need."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of all layers and models.

    A subclass calls super().__init__(), assigns Parameters and Modules to attributes (which
    registers them under those names), and defines forward; calling the module calls it.
    """

    training: bool

    def __init__(self) -> None:
        for name in (*_TABLES, "_unsaved"):
            object.__setattr__(self, name, set() if name == "_unsaved" else {})
        object.__setattr__(self, "training", True)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes; every subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # Names.

    def __getattr__(self, name: str) -> Any:
        """Asked only for what is no plain attribute."""
        for table in _TABLES:
            entries = self.__dict__.get(table)
            if entries is not None and name in entries:
                return entries[name]
        from convnet.absent import missing

        raise missing("Module", name, type(self).__name__)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = None
        if isinstance(value, Parameter):
            kind = "_parameters"
        elif isinstance(value, Module):
            kind = "_modules"
        tables = self.__dict__
        if "_modules" not in tables:
            if kind is not None:
                raise AttributeError(
                    f"call super().__init__() in {type(self).__name__}.__init__() before "
                    f"assigning {name}"
                )
        elif kind is None and name in tables["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"{name}: expected a Tensor, got {type(value).__name__}")
            tables["_buffers"][name] = value
            return
        elif kind is None and (name in tables["_parameters"] or name in tables["_modules"]):
            table = "_parameters" if name in tables["_parameters"] else "_modules"
            if value is not None:
                raise TypeError(
                    f"{name}: expected a {'Parameter' if table == '_parameters' else 'Module'} "
                    f"or None, got {type(value).__name__}"
                )
            tables[table][name] = None
            return
        if kind is None:
            object.__setattr__(self, name, value)
            return
        for other in ("__dict__", *_TABLES):
            if other != kind:
                (tables if other == "__dict__" else tables[other]).pop(name, None)
        tables[kind][name] = value

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(n for table in _TABLES for n in self.__dict__[table])]

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None keeps the name for none."""
        _check_name(self, name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"{name}: expected a Parameter, got {type(param).__name__}")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; persistent: it is part of the state_dict."""
        _check_name(self, name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a Tensor, got {type(tensor).__name__}")
        self._buffers[name] = tensor
        if not persistent:
            self._unsaved.add(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a module under a name."""
        _check_name(self, name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{name}: expected a Module, got {type(module).__name__}")
        self._modules[name] = module

    register_module = add_module

    # Walking through them.

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of this module ("") and all below it, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """(name, module) of the modules directly below, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator["Module"]:
        """The modules directly below, each once."""
        return (module for _, module in self.named_children())

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for module_name, module in modules:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and tensor not in seen:
                    if remove_duplicate:
                        seen.add(tensor)
                    yield f"{module_name}.{name}" if module_name else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of this module and those below, shared ones once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and those below, shared ones once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer) of this module and those below, shared ones once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and those below, shared ones once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def apply(self, fn: Callable[["Module"], Any]) -> Any:
        """Call fn on all modules, those below first; returns itself."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # Modes.

    def train(self, mode: bool = True) -> Any:
        """Training mode (dropout, batch statistics) for this module and those below."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Any:
        """Evaluation mode: train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set requires_grad of all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to 0."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad = Tensor.of(np.zeros_like(p.data))

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """to(dtype) converts parameters and floating-point buffers in place, to(device) moves all.

        device : "cpu" or "cuda". Returns itself. TypeError for another type than float32 and
        float64, GPUError where there is no GPU, NotImplementedError for other devices.
        """
        dtype, device = target(args, kwargs)
        if dtype is not None and dtype not in FLOATS:
            raise TypeError(f"dtype: expected float32 or float64, got {dtype}")

        def converted(a: Any) -> Any:
            a = a if device is None else moved(a, device)
            return a if dtype is None or a.dtype.kind != "f" else a.astype(dtype, copy=False)

        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data = converted(tensor.data)
            if tensor.grad is not None:
                tensor.grad = Tensor.of(converted(tensor.grad.data))
        return self

    def float(self) -> Any:
        """to(float32)."""
        return self.to(np.float32)

    def double(self) -> Any:
        """to(float64)."""
        return self.to(np.float64)

    def cpu(self) -> Any:
        """to("cpu")."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Any:
        """to("cuda")."""
        return self.to("cuda" if device is None else device)

    # State.

    def _named_state(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self._parameters.items():
            if tensor is not None:
                yield prefix + name, tensor
        for name, tensor in self._buffers.items():
            if tensor is not None and name not in self._unsaved:
                yield prefix + name, tensor
        for name, module in self._modules.items():
            if module is not None:
                yield from module._named_state(f"{prefix}{name}.")

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """All parameters and buffers by torch's names: Tensors that share the module's memory."""
        return {name: tensor.detach() for name, tensor in self._named_state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
        """Copy the values of a state_dict into this module.

        state_dict : Tensors, arrays or anything with DLPack, torch's tensors too, by name; they are
        converted to the types of this module.
        strict : whether every name must be there and no other. StateMismatch (a RuntimeError) lists
        what is missing, unexpected, or of another shape or kind; nothing is changed then.
        """
        own = dict(self._named_state(""))
        missing, unexpected = check_state(type(self).__name__, own, state_dict, strict)
        for name, tensor in own.items():
            if name in state_dict:
                np.copyto(tensor.data, array_of(state_dict[name]), casting="same_kind")
                tensor._version[0] += 1
        return LoadedKeys(missing, unexpected)

    # Text.

    def extra_repr(self) -> str:
        """What stands between the parentheses of the layer's name."""
        return ""

    def __repr__(self) -> str:
        lines = [self.extra_repr()] if self.extra_repr() else []
        below = [
            f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._modules.items()
        ]
        if not below:
            return f"{type(self).__name__}({', '.join(lines)})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines + below) + "\n)"


def _check_name(module: Module, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {type(name).__name__}")
    if "." in name or not name:
        raise KeyError(f"name: expected one without a dot and not empty, got {name!r}")
    if hasattr(module, name) and not any(name in module.__dict__[table] for table in _TABLES):
        raise KeyError(f"name: {type(module).__name__} has an attribute {name!r} already")


__all__ = ["LoadedKeys", "Module", "StateMismatch"]
