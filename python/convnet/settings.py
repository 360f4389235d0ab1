"""A value that is set for the process by a call and for a context by a with block."""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Generic, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """One process-wide value with overrides by context.

    setting.set(value) sets it for the process; `with setting.set(value):` for the context only:
    on entry the process's former value comes back (unless it was set anew since), and the context
    holds the new one until exit. Between the call and the entry other threads see the new value.
    """

    def __init__(
        self, name: str, default: T, before_change: Callable[[], None] | None = None
    ) -> None:
        self.process = default
        self._latest: object = None  # the Override that gave the process its value
        self.context: ContextVar[tuple[T] | None] = ContextVar(f"convnet.{name}", default=None)
        self._before_change = before_change

    def get(self) -> T:
        override = self.context.get()
        return self.process if override is None else override[0]

    def set(self, value: T) -> "Override[T]":
        if self._before_change is not None:
            self._before_change()
        override = Override(self, value, self.process)
        self.process, self._latest = value, override
        return override


class Override(Generic[T]):
    """What Setting.set returns: nothing more to do, or a with block."""

    def __init__(self, setting: Setting[T], value: T, former: T) -> None:
        self._setting = setting
        self._value = value
        self._former = former
        self._tokens: list[Token] = []

    def __enter__(self) -> T:
        if self._setting._latest is self:
            self._setting.process, self._setting._latest = self._former, None
        self._tokens.append(self._setting.context.set((self._value,)))
        return self._value

    def __exit__(self, *exception: object) -> None:
        self._setting.context.reset(self._tokens.pop())
