"""Reverse-mode differentiation: what was computed from what, and the way back.

Every result that depends on a tensor with requires_grad gets a Node: a function from the gradient
of the result to the gradients of its arguments, and an edge for each argument. Nodes are numbered
as they are made, and a result is made after its arguments: going through the nodes that a result
depends on from the highest number down meets every node after all nodes that use it.

    x --+
        +-- [3: multiply] --+-- [4: exp] --+
    y --+                   |              +-- [6: add] -- loss
                            +-- [5: sin] --+               order: 6 5 4 3, then x and y
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from itertools import count
from typing import Any

import numpy as np

from convnet.gpu.array import DeviceArray

Gradients = Iterable[Any]  # an array (or None) for each argument
Backward = Callable[[np.ndarray], Gradients]

enabled: ContextVar[bool] = ContextVar("convnet.grad", default=True)
_numbers = count()


class Node:
    """How one result came about. An edge is a Node, a leaf Tensor, or None (needs no gradient)."""

    __slots__ = ("backward", "edges", "gradient", "number", "versions")

    def __init__(
        self, edges: Sequence[Any], backward: Backward, versions: list[tuple[list[int], int]]
    ) -> None:
        self.edges = edges
        self.versions = versions  # of what backward reads: where it stands, what it was
        self.backward: Backward | None = backward
        self.number = next(_numbers)
        self.gradient: Any = None


def run_backward(root: Node, gradient: np.ndarray, retain_graph: bool) -> None:
    """Add the gradient of everything that root was computed from to the leaves' grad."""
    nodes = _reachable(root)
    # Arrays that somebody already holds: a leaf's grad is an array of its own, for it is added to.
    held = {id(gradient)}
    root.gradient = gradient
    try:
        for node in nodes:
            dy, node.gradient = node.gradient, None
            if dy is None:
                continue
            for version, then in node.versions:
                if version[0] != then:
                    raise RuntimeError(
                        "backward: a tensor that this gradient needs was changed in place since it "
                        "was used (by add_, copy_, an assignment to its elements or an optimizer's "
                        "step); change it after backward(), or change a clone()"
                    )
            for edge, d in zip(node.edges, node.backward(dy), strict=True):  # type: ignore[misc]
                if edge is None or d is None:
                    continue
                if type(edge) is Node:
                    edge.gradient = d if edge.gradient is None else edge.gradient + d
                else:
                    accumulate(edge, d, held)
            if not retain_graph:
                node.backward = None
                node.edges = ()
    finally:
        for node in nodes:
            node.gradient = None


def _reachable(root: Node) -> list[Node]:
    """All nodes below root, itself included, in the order in which gradients flow."""
    found, pending = {root}, [root]
    while pending:
        node = pending.pop()
        if node.backward is None:
            raise RuntimeError(
                "backward: the graph was released by an earlier backward(); "
                "call that one with retain_graph=True to go through it again"
            )
        for edge in node.edges:
            if type(edge) is Node and edge not in found:
                found.add(edge)
                pending.append(edge)
    return sorted(found, key=lambda node: node.number, reverse=True)


def accumulate(leaf: Any, d: Any, held: set[int]) -> None:
    """leaf.grad += d; the first time grad becomes d, or a copy where d is held elsewhere."""
    dtype = leaf._data.dtype
    if leaf._grad is not None:
        leaf._grad._data += d
        return
    if type(d) is DeviceArray:
        d = d.astype(dtype, copy=False)
    elif type(d) is not np.ndarray or (d.dtype is not dtype and d.dtype != dtype):
        d = np.asarray(d, dtype)
    if d.base is not None or id(d) in held:
        d = d.copy("K")
    held.add(id(d))
    leaf._grad = leaf.of(d)


class _GradMode(ContextDecorator):
    """A with block or a decorator that turns the recording on or off in its context."""

    on: bool

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(enabled.set(self.on))

    def __exit__(self, *exception: object) -> None:
        enabled.reset(self._tokens.pop())

    def _recreate_cm(self) -> "_GradMode":
        return type(self)()


class no_grad(_GradMode):  # noqa: N801 - torch's name
    """Nothing is recorded within: `with nn.no_grad():` or `@nn.no_grad()`."""

    on = False


class enable_grad(_GradMode):  # noqa: N801 - torch's name
    """Recording is on again within, inside a no_grad."""

    on = True


def is_grad_enabled() -> bool:
    """Whether operations are recorded here."""
    return enabled.get()
