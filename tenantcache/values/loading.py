"""Loads of values: from Redis, then by the application's loader, one at a time for each value.

Rules

* Of each value there is one flight that callers join, whatever batch it is in. A caller who knows of a change that a
  flight has missed does not join it, but starts another one.
* A loader is called in a task of its own. So the load goes on if one of those who wait is cancelled.
* Nothing is kept that is not accepted at that instant (`core/acceptance.py`). Between the test and the installation
  there is no await.
* A value that is loaded again before its end is not read from Redis: the copy there is as old as the one here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tenantcache.errors import StoreUnavailableError
from tenantcache.freshness.core.freshness import NEVER
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tasks import stop
from tenantcache.values.core.acceptance import Acceptance, Entry, Seen, State
from tenantcache.values.core.lifetime import Lifetime
from tenantcache.values.core.roundtrip import stored_form
from tenantcache.values.core.stored import Stored
from tenantcache.values.core.terms import Terms
from tenantcache.values.core.valuekey import expiry_name, redis_key, tag_name, value_name
from tenantcache.values.guardrails import Guardrails
from tenantcache.values.members import bytes_beside_text
from tenantcache.values.memory import Place, ValueMemory, size_of
from tenantcache.values.sharing import ValueSharing

logger = logging.getLogger(__name__)

LoadMany = Callable[[Sequence[str]], Awaitable[Mapping[str, Any]]]
"""Gives the values of some keys, those that exist."""

RETRY_AFTER = 1.0
"""Seconds until a value that is still served is loaded again after its loader has failed."""


class Flight:
    """One value on its way. `seen` is set when its loader is called; `is_kept` once what that gave is held."""

    __slots__ = ("future", "is_kept", "seen")

    def __init__(self) -> None:
        self.future: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self.seen: Seen | None = None
        self.is_kept: bool = False

    def is_for(self, arrived: Seen) -> bool:
        """Whether what has come may be given to a caller who came at `arrived` (acceptance, rule 4)."""
        return self.is_kept or self.seen is None or arrived.order < self.seen.order

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # it is raised for those who wait; unseen it would be logged


class Loads:
    """`server_now` is the database's time, in seconds since the Unix epoch."""

    def __init__(
        self,
        memory: ValueMemory,
        acceptance: Acceptance,
        sharing: ValueSharing,
        *,
        prefix: str,
        clock: Clock,
        server_now: Callable[[], float],
    ) -> None:
        self.rails: Guardrails = Guardrails(memory, clock)
        self.loads: int = 0
        self.redis_hits: int = 0
        self.redis_refused: int = 0
        self.undecodable: int = 0
        self.failed_reloads: int = 0
        self._memory, self._acceptance, self._sharing = memory, acceptance, sharing
        self._prefix = prefix
        self._clock, self._server_now = clock, server_now
        self._flights: dict[Place, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, places: Sequence[Place], terms: Terms, load: LoadMany, *, copies: bool) -> dict[Place, Flight]:
        """The flights of `places`; those of them that have none begin one load together. `copies`: Redis may have
        what is wanted."""
        found = {place: self._flights.get(place) for place in places}
        joined = {place: flight for place, flight in found.items() if flight and self._may_join(flight, place, terms)}
        new = {place: Flight() for place in found if place not in joined}
        if new:
            self._flights.update(new)
            task = asyncio.create_task(self._run(new, terms, load, copies=copies), name="tenantcache value")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return joined | new

    def reload(self, places: Sequence[Place], terms: Terms, load: LoadMany) -> None:
        """Load again what is still served. No caller waits for it."""
        self.join(places, terms, load, copies=False)

    def _may_join(self, flight: Flight, place: Place, terms: Terms) -> bool:
        names = names_of(place, terms.known_tags)
        return flight.seen is None or self._acceptance.accepts(flight.seen, names)

    async def _run(self, flights: Mapping[Place, Flight], terms: Terms, load: LoadMany, *, copies: bool) -> None:
        missing = dict(flights)
        try:
            if copies:
                for place in await self._read_copies(flights, terms):
                    del missing[place]
            if missing:
                await self._load(missing, terms, load)
        except Exception as error:
            self._note_failure(missing, error)
            for place, flight in missing.items():
                self._leave(place, flight)
                flight.fail(error)
        finally:
            for place, flight in missing.items():
                self._leave(place, flight)
                flight.fail(StoreUnavailableError("the engine is closing: the value was not loaded"))

    async def _load(self, flights: Mapping[Place, Flight], terms: Terms, load: LoadMany) -> None:
        seen, read_at, loaded_at = self._acceptance.note(), self._clock(), self._server_now()
        for flight in flights.values():
            flight.seen = seen
        self.loads += len(flights)
        keys = [key for _, key, _ in flights]
        values = await _call(load, keys, terms.hard)
        entries = {place: self._make(place, values.get(place[1]), terms, seen, read_at) for place in flights}
        for place, flight in flights.items():
            entry = entries[place]
            if self._acceptance.state(entry, self._clock()) in (State.FRESH, State.EARLY, State.STALE):
                flight.is_kept = True
                self._memory.put(place, entry)
                if entry.size > (most := self._memory.most_for_one):
                    self.rails.note_unheld(place, entry.size, most)
                self._share(place, entry, terms, loaded_at)
            self._land(place, flight, entry)

    def _make(self, place: Place, value: object, terms: Terms, seen: Seen, read_at: float) -> Entry:
        """Raises what the codec and the tags of the application raise."""
        life, codec = terms.lifetime, terms.codec
        if value is None:
            fresh, stale, body = life.negative, 0.0, b""
        else:
            fresh, stale = life.fresh, life.stale
            try:
                body, value = stored_form(codec, value)  # what the first caller gets is what later ones get
            except TypeError:
                self.rails.loaded(place, value, None)
                raise
            self.rails.loaded(place, value, body)
        return self._entry(place, value, body, terms, Lifetime(fresh, stale), terms.tags_of(value), seen, read_at)

    def _entry(
        self,
        place: Place,
        value: object,
        body: bytes,
        terms: Terms,
        life: Lifetime,
        tags: tuple[str, ...],
        seen: Seen,
        read_at: float,
        *,
        age: float = 0.0,
    ) -> Entry:
        """`age`: seconds since a copy from Redis was loaded; its `read_at` is -inf."""
        is_shared = value is None or terms.codec.is_immutable(value)
        names, began = names_of(place, tags), (read_at if read_at > NEVER else self._clock() - age)
        expiries = tuple(expiry_name(place[0], tag) for tag in tags)
        return Entry(
            value=value if is_shared else None,
            body=None if is_shared else body,
            codec=terms.codec,
            seen=seen,
            names=names,
            expiries=expiries,
            tags=tags,
            read_at=read_at,
            loaded_at=began,
            good_until=began + life.reload_after(random.random()),
            fresh_until=began + life.fresh,
            end=began + life.whole,
            tier="redis" if read_at == NEVER else "loader",
            size=size_of(body, names, expiries) + bytes_beside_text(value),
            current_as_of=seen.seq,
        )

    def set(self, place: Place, value: object, terms: Terms, read_at: float) -> None:
        """Hold what a caller has committed (acceptance, rule 3)."""
        entry = self._make(place, value, terms, self._acceptance.note(), read_at)
        entry.is_set, entry.tier, entry.good_until = True, "set", NEVER
        self._memory.put(place, entry)

    # Redis.

    async def _read_copies(self, flights: Mapping[Place, Flight], terms: Terms) -> list[Place]:
        """The places whose copies have landed."""
        if not self._acceptance.freshness.is_valid(self._clock()):
            return []
        keys = {place: self._redis_key(place, terms) for place in flights}
        copies = await self._sharing.read(list(keys.values()))
        landed = []
        for place, key in keys.items():
            stored = copies.get(key)
            entry = None if stored is None else self._judge_copy(place, stored, terms)
            if entry is not None:
                self._memory.put(place, entry)
                self._land(place, flights[place], entry)
                landed.append(place)
        return landed

    def _judge_copy(self, place: Place, stored: Stored, terms: Terms) -> Entry | None:
        """What may be served of a copy: it is believed, and still fresh."""
        now, names = self._clock(), names_of(place, stored.tags)
        age = max(0.0, self._server_now() - stored.loaded_at)
        life = stored.lifetime.within(terms.lifetime)
        is_old = age >= life.fresh or self._acceptance.is_expired(
            stored.mark.seq, [expiry_name(place[0], tag) for tag in stored.tags]
        )
        if is_old or not self._acceptance.believes(stored, names, now):
            self.redis_refused += 1
            return None
        try:
            value = terms.codec.decode(stored.body)
        except ValueError:
            self.undecodable += 1
            return None
        self.redis_hits += 1
        seen = self._acceptance.note()._replace(mark=stored.mark)
        return self._entry(place, value, stored.body, terms, life, stored.tags, seen, NEVER, age=age)

    def _share(self, place: Place, entry: Entry, terms: Terms, loaded_at: float) -> None:
        seen, body = entry.seen, entry.body
        if seen.mark is None or seen.epoch is None or (entry.value is None and body is None):
            return  # that there is no value is kept in the process alone
        if body is None:
            body = terms.codec.encode(entry.value)
        copy = Stored(seen.epoch, seen.mark, loaded_at, terms.lifetime, entry.tags, body)
        if (size := self._sharing.write_soon(self._redis_key(place, terms), copy)) is not None:
            self.rails.note_large(place, size, self._sharing.max_value_bytes)

    def _redis_key(self, place: Place, terms: Terms) -> str:
        return redis_key(self._prefix, place[0], place[1], terms.codec.fingerprint)

    # Ends.

    def _land(self, place: Place, flight: Flight, entry: Entry) -> None:
        self._leave(place, flight)
        if not flight.future.done():
            flight.future.set_result(entry)

    def _leave(self, place: Place, flight: Flight) -> None:
        if self._flights.get(place) is flight:
            del self._flights[place]

    def _note_failure(self, flights: Mapping[Place, Flight], error: Exception) -> None:
        """Let what is still served be, for a while."""
        now = self._clock()
        for place in flights:
            entry = self._memory.held.get(place)
            if entry is not None and self._acceptance.state(entry, now) in (State.EARLY, State.STALE):
                self.failed_reloads += 1
                if not entry.is_set:
                    entry.good_until = min(now + RETRY_AFTER, entry.end)
                logger.warning("the value %r could not be loaded again: %s", place[1], error)

    async def close(self) -> None:
        await stop(*self._tasks)
        self._flights.clear()

    def forget(self) -> None:
        """The event loop of those flights has ended, or is the parent's."""
        self._tasks.clear()
        self._flights.clear()


async def _call(load: LoadMany, keys: Sequence[str], seconds: float) -> Mapping[str, Any]:
    """What the application's loader gives. Raises what it raises, `TimeoutError`, and TypeError."""
    try:
        async with asyncio.timeout(seconds):
            values = await load(keys)
    except TimeoutError as error:
        raise TimeoutError(f"the loader of {keys[0]!r} took longer than {seconds} s, or timed out") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError(f"the loader of {keys[0]!r} was cancelled") from error
    if not isinstance(values, Mapping):
        raise TypeError(f"the loader of {keys[0]!r} gave a {type(values).__qualname__}; it gives a dict, by key")
    if (other := next((key for key in values if not isinstance(key, str)), None)) is not None:
        raise TypeError(f"the loader of {keys[0]!r} gave a value of {other!r:.80}; give those keys that it is given")
    return values


def names_of(place: Place, tags: Sequence[str]) -> tuple[str, ...]:
    """What the log calls a value and its tags."""
    tenant_id, key, _ = place
    return (value_name(tenant_id, key), *(tag_name(tenant_id, tag) for tag in tags))
