"""`cache.values`: what an application caches beside its tenants.

Each value belongs to a tenant, or to none (`shared`), and has a key, which is a text. It is kept in the process and in
Redis, and the log of changes tells every process when it may not be served any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from tenantcache.stats import ValueStats
from tenantcache.tenant import Tenant
from tenantcache.values.cached import Cached, Results, require_async
from tenantcache.values.callkey import TENANT, CallKey
from tenantcache.values.core.explanation import Explanation, explain
from tenantcache.values.core.kind import KindOptions, ValueKind, find_kind
from tenantcache.values.core.roundtrip import stored_form
from tenantcache.values.core.s3fifo import MOST_HITS
from tenantcache.values.core.terms import Tags
from tenantcache.values.core.valuekey import expiry_name, tag_name, value_name
from tenantcache.values.loading import names_of
from tenantcache.values.parts import ValueParts
from tenantcache.values.scope import Scope
from tenantcache.values.writing import ValueWriting

P = ParamSpec("P")
T = TypeVar("T")


class Values(ValueWriting):
    """Values of the current tenant, or of the one that a call names. `shared` has those that belong to none.

    Times are in seconds. A loader reads the primary database, in a snapshot that begins after it was called, and not by
    the connection of one request: all who ask for the value meanwhile wait for that load.
    """

    def __init__(self, parts: ValueParts, *, is_shared: bool = False) -> None:
        self.parts = parts
        self._scope = Scope(parts, is_shared=is_shared)
        self._is_shared = is_shared
        self._held = parts.memory.held
        self._floors, self._freshness, self._clock = parts.floors, parts.freshness, parts.clock
        if not is_shared:
            self.shared: Values = Values(parts, is_shared=True)

    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T | None]],
        *,
        tenant: Tenant | str | None = None,
        kind: ValueKind | str | None = None,
        tags: Tags = (),
        type: type[T] | UnionType | None = None,
        **options: Unpack[KindOptions],
    ) -> T | None:
        """The value of `key`; None if the loader says that there is none, which is remembered for `negative_ttl`.

        `ttl`: kept for so long if nothing changes. Or `fresh`, and `stale` more in which the old value is served while
        it is loaded again; with `soft_timeout` only if that takes longer. `tags` may be a function of the value.
        `hard_timeout` ends the loader with `TimeoutError`. Raises what the loader raises, `NotOpenError`, and
        LookupError without a tenant. A hit does no I/O; a miss costs one GET, and a SET if the loader was called.
        """
        # A hit is counted in tests/regressions/test_hot_values.py.
        tenant_id = tenant if isinstance(tenant, str) and not self._is_shared else self._scope.tenant_id(tenant)
        entry = self._held.get((tenant_id, key, type))
        if entry is not None and entry.checked == self._floors.version:
            now = self._clock()
            if now < entry.good_until and now < self._freshness.valid_until:
                if entry.hits < MOST_HITS:
                    entry.hits += 1
                found: T | None = entry.value if entry.body is None else entry.codec.decode(entry.body)
                return found
        place = self._scope.place(key, tenant, type)
        terms = self._scope.terms(kind, tags, type, options)
        self.parts.require_open()
        entries = await self.parts.finder.find([place], terms, partial(_load_one, loader))
        return cast(T, entries[place].give())

    def cached(
        self,
        key: str,
        *,
        kind: ValueKind | str | None = None,
        tags: Tags = (),
        ignore: Collection[str] = (),
        tenant: str = TENANT,
        type: object = None,
        **options: Unpack[KindOptions],
    ) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Cached[P, T]]:
        """Decorate an async function or method: what it returns is the value of `key`, as in `get_or_load`.

        `key` names parameters in braces, `profile:{user_id}`, and so do `tags`. All parameters are in the key, or in
        `ignore`. The one that `tenant` names says which tenant a call is about; without it, or if it is None, the
        current tenant counts. The type is that of the return annotation, or `type`. Raises TypeError and ValueError if
        that does not fit together. The engine need not be open.
        """

        def decorate(function: Callable[P, Coroutine[Any, Any, T]]) -> Cached[P, T]:
            require_async(function)
            of_tenant = None if self._scope.is_shared else tenant
            call = CallKey(function, key, tags=tags, ignore=ignore, tenant=of_tenant)
            found = find_kind(kind, self.parts.kinds, options)
            results = Results(self, function, call, found, type, self.parts.codecs.of)
            self._scope.claim(call.template, function)
            return Cached(results)

        return decorate

    async def get_many(
        self,
        keys: Sequence[str],
        load_many: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]],
        *,
        tenant: Tenant | str | None = None,
        kind: ValueKind | str | None = None,
        tags: Tags = (),
        type: type[T] | UnionType | None = None,
        **options: Unpack[KindOptions],
    ) -> dict[str, T]:
        """The values of `keys` that exist, by key, in that order. `load_many` is given the keys that are missing, and
        returns those values that exist. The rest is as in `get_or_load`: one MGET, and one load, for all of them."""
        if isinstance(keys, str):
            raise TypeError(f"keys={keys!r:.80} is one text; give a list of keys")
        terms = self._scope.terms(kind, tags, type, options)
        self.parts.require_open()
        places = {key: self._scope.place(key, tenant, type) for key in keys}
        found = await self.parts.finder.find(places.values(), terms, load_many)
        given = {key: found[place].give() for key, place in places.items()}
        return cast(dict[str, T], {key: value for key, value in given.items() if value is not None})

    async def set(
        self,
        key: str,
        value: T,
        *,
        tenant: Tenant | str | None = None,
        kind: ValueKind | str | None = None,
        tags: Tags = (),
        type: type[T] | UnionType | None = None,
        **options: Unpack[KindOptions],
    ) -> None:
        """Call it after the commit of what `value` is. Older ones are invalidated, and this process serves the new one
        at once.

        The log cannot tell which of two writers committed last. So the first hit has the value loaded again in the
        background, and it is not served for longer than `max_staleness`. Raises `StoreUnavailableError` and
        `NotOpenError`. Costs one statement to Postgres and no Redis command.
        """
        place = self._scope.place(key, tenant, type)
        terms = self._scope.terms(kind, tags, type, options)
        self.parts.require_open()
        if value is not None:
            stored_form(terms.codec, value)  # what cannot be kept is said before others are told
        read_at, writing = self.parts.clock(), self.parts.sets.begin(place)
        await self._scope.log([value_name(place[0], key)])
        if self.parts.sets.end(place, writing, names_of(place, terms.tags_of(value))):
            self.parts.loads.set(place, value, terms, read_at)

    async def invalidate(self, *keys: str, tag: str | None = None, tenant: Tenant | str | None = None) -> None:
        """Never serve again what `keys`, or all that has `tag`, led to before: here from now on, and in every process
        within `max_staleness`, as a rule within milliseconds.

        Raises `StoreUnavailableError` and `NotOpenError`. Costs one statement to Postgres and no Redis command.
        """
        tenant_id = self._scope.tenant_id(tenant)
        names = [value_name(tenant_id, key) for key in keys]
        if tag is not None:
            names.append(tag_name(tenant_id, tag))
        if not names:
            raise TypeError("invalidate() needs a key, or tag=")
        self.parts.require_open()
        with self.parts.sets.invalidating(names):
            await self._scope.log(names)

    async def expire(self, *, tag: str, tenant: Tenant | str | None = None) -> None:
        """What has `tag` is stale: it may be served while it is loaded again, until the end of its time, and not after
        that. Raises and costs as `invalidate`."""
        tenant_id = self._scope.tenant_id(tenant)
        self.parts.require_open()
        await self._scope.log([expiry_name(tenant_id, tag)])

    def explain(self, key: str, *, tenant: Tenant | str | None = None, type: type | None = None) -> Explanation:
        """What this process knows of a value, and why it would be served or not; without `type` of any type that is
        held. No I/O."""
        place = self._scope.place(key, tenant, type)
        entry = self._held.get(place)
        if entry is None and type is None:
            entry = next((held for other, held in self._held.items() if other[:2] == place[:2]), None)
        return explain(entry, self.parts.acceptance, value_name(place[0], key), self._clock())

    def stats(self) -> ValueStats:
        """Counts since the start of this process. No I/O."""
        return self.parts.stats()


async def _load_one(loader: Callable[[], Awaitable[object]], keys: Sequence[str]) -> Mapping[str, object]:
    [key] = keys
    return {key: await loader()}
