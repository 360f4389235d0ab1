"""A value that is set for the process by a call and for a context by a with block."""

from contextvars import ContextVar, Token
from typing import Generic, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """One process-wide value with overrides by context.

    setting.set(value) sets it for the process; `with setting.set(value):` for the context only:
    on entry the process's former value comes back, and the context holds the new one until exit.
    """

    def __init__(self, name: str, default: T) -> None:
        self._process = default
        self._context: ContextVar[tuple[T] | None] = ContextVar(f"convnet.{name}", default=None)

    def get(self) -> T:
        override = self._context.get()
        return self._process if override is None else override[0]

    def set(self, value: T) -> "Override[T]":
        override = Override(self, value, self._process)
        self._process = value
        return override


class Override(Generic[T]):
    """What Setting.set returns: nothing more to do, or a with block."""

    def __init__(self, setting: Setting[T], value: T, former: T) -> None:
        self._setting = setting
        self._value = value
        self._former = former
        self._tokens: list[Token] = []

    def __enter__(self) -> T:
        self._setting._process = self._former
        self._tokens.append(self._setting._context.set((self._value,)))
        return self._value

    def __exit__(self, *exception: object) -> None:
        self._setting._context.reset(self._tokens.pop())
