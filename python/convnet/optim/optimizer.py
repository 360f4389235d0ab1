"""What optimizers share: groups of parameters with options of their own, state, checkpoints."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from convnet.kernels.arrays import are_alike, is_writeable
from convnet.nn.conversion import ARRAYS
from convnet.nn.state import array_of
from convnet.nn.tensor import FLOATS, Tensor
from convnet.ops._arrays import dense, same_format

Group = dict[str, Any]


class Optimizer:
    """param_groups: dicts of "params" and options; state: what is kept for each parameter.

    params : an iterable of Tensors, or of dicts with "params" and the options that differ from
    `defaults` in that group
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, np.ndarray)):
            raise TypeError(
                f"params: expected an iterable of Tensors or dicts, got one {type(params).__name__}"
            )
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        groups = list(params)
        if not groups:
            raise ValueError("params: expected at least one parameter, got none")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, with options of their own."""
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        known = {p for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"params: expected Tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("params: expected tensors made by hand, got a computed one")
            if p.dtype not in FLOATS:
                raise TypeError(f"params: expected float32 or float64, got {p.dtype}")
            if p in known:
                raise ValueError("params: a parameter is there twice")
            known.add(p)
        group = {**self.defaults, **param_group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """ValueError for options out of range."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to 0."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = Tensor.of(np.zeros_like(p.grad.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; returns closure()'s result, if there is one.

        closure : computes the loss and calls backward()
        """
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is None:
                    continue
                data, grad = p._data, p._grad._data
                kept = data
                if not are_alike(data, grad) or not is_writeable(data):
                    _check_gradient(data, grad)
                    kept = writable(data)
                    grad = same_format(dense(grad), kept)
                self.update(kept, grad, self._state_of(p, kept), group)
                p._version[0] += 1
                if kept is not data:
                    data[...] = kept
        return loss

    def _state_of(self, p: Tensor, data: np.ndarray) -> dict[str, Any]:
        """What is kept for p, its arrays like data: p may have been converted since."""
        state = self.state.get(p)
        if state is None:
            state = self.state[p] = {}
        for name, value in state.items():
            if isinstance(value, ARRAYS) and not are_alike(data, value):
                state[name] = _like(value, data, name)
        return state

    def update(
        self, param: np.ndarray, grad: np.ndarray, state: dict[str, Any], group: Group
    ) -> None:
        """One step on one parameter, in place; arrays of the same memory order."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def state_dict(self) -> dict[str, Any]:
        """{"state": by the parameter's number, "param_groups": with numbers for parameters}.

        Arrays are the optimizer's own, not copies.
        """
        numbers: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(p, len(numbers))
            groups.append({**group, "params": [numbers[p] for p in group["params"]]})
        state = {numbers[p]: dict(entries) for p, entries in self.state.items() if p in numbers}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state_dict of an optimizer of the same groups of parameters, torch's too.

        ValueError if the groups have other sizes, or the state other shapes.
        """
        groups = state_dict["param_groups"]
        sizes = [len(g["params"]) for g in groups]
        own = [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ValueError(
                f"state_dict: this optimizer has groups of {own} parameters, the state_dict {sizes}"
            )
        params = {
            number: p
            for saved, group in zip(groups, self.param_groups, strict=True)
            for number, p in zip(saved["params"], group["params"], strict=True)
        }
        state = {}
        for number, entries in state_dict["state"].items():
            p = params[int(number)]
            state[p] = {name: _like(value, p.data, name) for name, value in entries.items()}
        for saved, group in zip(groups, self.param_groups, strict=True):
            group.update(copy.deepcopy({k: v for k, v in saved.items() if k != "params"}))
        self.state = state

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def _check_gradient(data: np.ndarray, grad: np.ndarray) -> None:
    if type(grad) is not type(data):
        raise TypeError("grad: its parameter is on another device; zero_grad() first")
    if grad.shape != data.shape or grad.dtype != data.dtype:
        raise ValueError(
            f"grad: expected {data.dtype} of {data.shape} like its parameter, "
            f"got {grad.dtype} of {grad.shape}"
        )


def writable(data: np.ndarray) -> np.ndarray:
    """data itself where a kernel can write into it: aligned, dense, writeable; else a copy."""
    kept = dense(data)
    return kept if kept.flags.aligned and kept.flags.writeable else kept.copy("K")


def gradient(grad: np.ndarray, group: Group) -> np.ndarray:
    """grad, or -grad where the group is to be maximized."""
    return np.negative(grad, out=np.empty_like(grad)) if group["maximize"] else grad


def refuse(**options: bool) -> None:
    """NotImplementedError for torch's options that would change what a step means."""
    for name, value in options.items():
        if value:
            raise NotImplementedError(f"{name}: this version has no such steps; leave it out")


def _like(value: Any, data: np.ndarray, name: str) -> Any:
    """A copy of an entry of the state, in the type and memory order of its parameter."""
    if name == "step":
        return int(value)
    if not isinstance(value, ARRAYS) and not hasattr(value, "detach"):
        return copy.deepcopy(value)
    a = array_of(value)
    if a.shape != data.shape:
        raise ValueError(f"state: {name} has shape {a.shape}, its parameter {data.shape}")
    out = np.empty_like(dense(data))
    np.copyto(out, a)
    return out


def check_number(name: str, value: Any, low: float, high: float | None = None) -> None:
    """ValueError unless low <= value (< high)."""
    fits = isinstance(value, (int, float, np.number)) and value >= low
    if not fits or (high is not None and value >= high):
        wanted = f"at least {low}" + (f" and below {high}" if high is not None else "")
        raise ValueError(f"{name}: expected a number of {wanted}, got {value!r}")
