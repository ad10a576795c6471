"""Functions whose results are values: `@values.cached("profile:{user_id}", ttl=1800)`."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from tenantcache.values.callkey import CallKey
from tenantcache.values.core.kind import ValueKind
from tenantcache.values.core.terms import Tags
from tenantcache.values.returned import UnresolvedTypeError, returned_form

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")


class Keeper(Protocol):
    """What keeps the results, as `Values` does."""

    def get_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[Any]],
        *,
        tenant: Any,
        kind: ValueKind | str | None,
        tags: Tags,
        type: Any,
    ) -> Coroutine[Any, Any, Any]: ...

    async def invalidate(self, *keys: str, tenant: Any) -> None: ...


class Results:
    """The results of one function. `check` raises TypeError for a type whose values cannot be stored."""

    def __init__(
        self,
        keeper: Keeper,
        function: Callable[..., Awaitable[Any]],
        call: CallKey,
        kind: ValueKind,
        form: object,
        check: Callable[[object], object],
    ) -> None:
        self.function: Callable[..., Awaitable[Any]] = function
        self.call: CallKey = call
        self._keeper, self._kind, self._check = keeper, kind, check
        self._given = form
        self._form: object = None
        self._is_form_known = False
        with contextlib.suppress(UnresolvedTypeError):  # it may be defined further down in its module
            self._find_form()

    def get(self, args: Sequence[object], kwargs: Mapping[str, object]) -> Coroutine[Any, Any, object]:
        """To be awaited at once."""
        if not self._is_form_known:
            self._find_form()
        call = self.call
        arguments = call.arguments(args, kwargs, is_whole=True)
        return self._keeper.get_or_load(
            call.key(arguments),
            functools.partial(self.function, *args, **kwargs),
            tenant=call.tenant(arguments),
            kind=self._kind,
            tags=call.tags(arguments),
            type=self._form,
        )

    async def invalidate(self, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        arguments = self.call.arguments(args, kwargs, is_whole=False)
        await self._keeper.invalidate(self.call.key(arguments), tenant=self.call.tenant(arguments))

    def _find_form(self) -> None:
        form = returned_form(self.function) if self._given is None else self._given
        self._check(form)
        self._form, self._is_form_known = form, True


class Cached(Generic[P, T]):
    """An async function whose results are kept. It is called as before, and its other methods take the same arguments.

    Calls raise what the function raises, and what `Values.get_or_load` does.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._receiver: tuple[object, ...] = ()  # the instance, of a method
        functools.update_wrapper(self, results.function)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        receiver = self._receiver
        return cast(T, await self._results.get((*receiver, *args) if receiver else args, kwargs))

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Never serve again what a call with these arguments was given before. Arguments that the key does not name may
        be left out. Raises and costs as `Values.invalidate`."""
        await self._results.invalidate((*self._receiver, *args), kwargs)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Invalidate, and call it anew."""
        await self.invalidate(*args, **kwargs)
        return await self(*args, **kwargs)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of a call, for `Values.explain` and others."""
        call = self._results.call
        return call.key(call.arguments((*self._receiver, *args), kwargs, is_whole=False))

    @overload
    def __get__(self, instance: None, owner: type) -> Cached[P, T]: ...

    @overload
    def __get__(self: Cached[Concatenate[S, Q], T], instance: S, owner: type) -> Cached[Q, T]: ...

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        bound = object.__new__(Cached)
        bound.__dict__.update(self.__dict__, _receiver=(instance,))
        return bound


def require_async(function: object) -> None:
    """Raises TypeError if `function` is anything but an async function."""
    if isinstance(function, classmethod | staticmethod):
        raise TypeError(f"put @cached below @{type(function).__name__}, next to the function")
    if not inspect.iscoroutinefunction(function):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"{name} is not an async function; @cached is for those")
