"""What an application calls to write values: later, as members of a set, or as fields of a dict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import UnionType
from typing import Any, Final, TypeVar, Unpack

from tenantcache.tenant import Tenant
from tenantcache.values.core.acceptance import Entry
from tenantcache.values.core.kind import KindOptions, ValueKind
from tenantcache.values.core.roundtrip import stored_form
from tenantcache.values.core.terms import Tags
from tenantcache.values.core.writebehind import WriteBatch, WriteBehind
from tenantcache.values.corrections import correct
from tenantcache.values.members import Member, MembersCodec, members_of, text_of
from tenantcache.values.memory import Place
from tenantcache.values.parts import ValueParts
from tenantcache.values.scope import Scope

T = TypeVar("T")

MEMBERS: Final = MembersCodec()


class ValueWriting:
    """The part of `Values` that writes."""

    parts: ValueParts
    _scope: Scope

    async def write_later(
        self,
        key: str,
        value: T | None,
        writer: WriteBehind[T] | Callable[[WriteBatch[T]], Awaitable[object]],
        *,
        tenant: Tenant | str | None = None,
        type: type[T] | UnionType | None = None,
    ) -> None:
        """Serve `value` in this process at once, and have `writer` called with it within a second, as a rule.

        The writer is given batches: values by key, of one tenant. Of several values of a key it is given the last one,
        and never an older one after a newer one. A batch that fails is tried again. What is given up is logged and
        handed to `on_failed` of a `WriteBehind`, which has all options. Other processes see the value after its batch,
        and a crash loses what waits: docs/values-writing.md. Asked for by another `type` it is not seen before that.

        Raises TypeError or ValueError for what cannot be stored, `NotOpenError`, and `StoreUnavailableError` if the
        queue is full for too long. Costs one statement to Postgres for each batch, and no Redis command.
        """
        place = self._scope.place(key, tenant, type)
        target = writer if isinstance(writer, WriteBehind) else WriteBehind(writer)
        self.parts.require_open()
        await self.parts.writes.add(place, value, self.parts.codecs.of(type), target)

    async def flush_writes(self, *, timeout: float = 30.0) -> None:
        """Return once all values that `write_later` has queued in this process, of any tenant, have been written.

        Raises `StoreUnavailableError` if some were given up, or are not written within `timeout` seconds; those are
        tried again. Raises `NotOpenError`.
        """
        self.parts.require_open()
        await self.parts.writes.flush(timeout)

    async def add(self, key: str, *members: Member, tenant: Tenant | str | None = None) -> None:
        """Call it after the commit that has put `members` into the set `key`. This process knows of them at once, and
        the others load the set again.

        Members are texts, whole numbers and UUIDs, and 42 is the same as "42". Raises TypeError,
        `StoreUnavailableError` and `NotOpenError`. Costs one statement to Postgres and no Redis command.
        """
        await self._change_members(key, set.update, members, tenant)

    async def remove(self, key: str, *members: Member, tenant: Tenant | str | None = None) -> None:
        """As `add`, after the commit that has taken `members` out."""
        await self._change_members(key, set.difference_update, members, tenant)

    async def contains(
        self,
        key: str,
        member: Member,
        load: Callable[[], Awaitable[Iterable[Member] | None]],
        *,
        tenant: Tenant | str | None = None,
        kind: ValueKind | str | None = None,
        tags: Tags = (),
        **options: Unpack[KindOptions],
    ) -> bool:
        """Whether `member` is in the set `key`. `load` gives all members; None: there is no such set, which is
        remembered for `negative_ttl`. The rest is as in `get_or_load`: a hit does no I/O, and a miss costs one GET.

        Raises ValueError if there are more than 50,000 members, or more than a tenth of the values' memory holds.
        """
        place, text = self._scope.place(key, tenant, MEMBERS), text_of(member)
        entry = self.parts.hit(place)
        if entry is None:
            entry = await self._load_members(place, load, kind, tags, options)
        return entry.value is not None and text in entry.value

    async def set_fields(
        self,
        key: str,
        fields: Mapping[str, Any],
        *,
        tenant: Tenant | str | None = None,
        type: type | UnionType | None = None,
    ) -> None:
        """Call it after the commit of some fields of the value `key`, which is a dict. This process has them at once,
        and the others load the value again. To read it, use `get_or_load`: one load gives all fields.

        Raises TypeError or ValueError for what cannot be stored, `StoreUnavailableError` and `NotOpenError`. Costs one
        statement to Postgres and no Redis command.
        """
        place = self._scope.place(key, tenant, type)
        self.parts.require_open()

        def change(entry: Entry) -> None:
            before = entry.give()
            if isinstance(before, dict) and entry.body is not None:
                entry.body, _ = stored_form(entry.codec, {**before, **fields})
            else:
                self.parts.memory.drop(place)

        await correct(self.parts, place, change)

    async def _change_members(
        self,
        key: str,
        change: Callable[[set[str], Iterable[str]], None],
        members: Sequence[Member],
        tenant: Tenant | str | None,
    ) -> None:
        place, texts = self._scope.place(key, tenant, MEMBERS), [text_of(member) for member in members]
        if not texts:
            raise TypeError("give at least one member")
        self.parts.require_open()

        def change_held(entry: Entry) -> None:
            if isinstance(entry.value, set):
                change(entry.value, texts)
            else:
                self.parts.memory.drop(place)

        await correct(self.parts, place, change_held)

    async def _load_members(
        self,
        place: Place,
        load: Callable[[], Awaitable[Iterable[Member] | None]],
        kind: ValueKind | str | None,
        tags: Tags,
        options: KindOptions,
    ) -> Entry:
        async def load_all(keys: Sequence[str]) -> Mapping[str, set[str]]:
            members = await load()
            return {} if members is None else {key: members_of(members) for key in keys}

        terms = replace(self._scope.terms(kind, tags, None, options), codec=MEMBERS)
        self.parts.require_open()
        found = (await self.parts.finder.find([place], terms, load_all))[place]
        if found.size > self.parts.memory.most_for_one:
            raise ValueError(
                f"the members of {place[1]!r:.80} take {found.size} bytes, and one value may take"
                f" {self.parts.memory.most_for_one}: raise TENANTCACHE_VALUES_MAX_BYTES, or ask for single members"
            )
        return found
