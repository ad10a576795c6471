"""From a key to its value: memory, then Redis, then the application's loader."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from tenantcache.runtime.clock import Clock
from tenantcache.values.core.acceptance import Acceptance, Entry, Seen, State
from tenantcache.values.core.s3fifo import MOST_HITS
from tenantcache.values.core.terms import Terms
from tenantcache.values.loading import Flight, LoadMany, Loads
from tenantcache.values.memory import Place, ValueMemory

SERVED = (State.FRESH, State.EARLY, State.STALE)


class Finder:
    """Finds entries, and loads what is missing or due."""

    def __init__(self, memory: ValueMemory, acceptance: Acceptance, loads: Loads, clock: Clock) -> None:
        self.stale_served: int = 0
        self._memory, self._acceptance, self._loads = memory, acceptance, loads
        self._clock = clock

    def state(self, place: Place) -> tuple[Entry | None, State]:
        """What memory has, and whether it may be served."""
        entry = self._memory.held.get(place)
        return entry, State.REFUSED if entry is None else self._acceptance.state(entry, self._clock())

    async def find(self, places: Iterable[Place], terms: Terms, load: LoadMany) -> dict[Place, Entry]:
        """The entry of each place; without a value if there is none. Raises what the loader raises, and `TimeoutError`.

        One command to Redis at most, and one load of what is missing, unless a change overtakes it.
        """
        arrived = self._acceptance.note()
        found: dict[Place, Entry] = {}
        missing: dict[Place, State] = {}
        due: list[Place] = []
        for place in dict.fromkeys(places):
            entry, state = self.state(place)
            if entry is None or state in (State.REFUSED, State.LAPSED) or (state is State.STALE and terms.soft):
                missing[place] = state
                continue
            found[place] = entry
            entry.hits = min(entry.hits + 1, MOST_HITS)
            if state is not State.FRESH:
                due.append(place)
                self.stale_served += state is State.STALE
        if due:
            self._loads.reload(due, terms, load)
        while missing:
            landed = await self._load(missing, arrived, terms, load)
            found |= landed
            # What was stale and is not served meanwhile has been invalidated: it is waited for.
            missing = dict.fromkeys((place for place in missing if place not in landed), State.REFUSED)
        return found

    async def _load(
        self, missing: Mapping[Place, State], arrived: Seen, terms: Terms, load: LoadMany
    ) -> dict[Place, Entry]:
        """What has come of the loads of `missing`; not those that a change has overtaken before this caller came."""
        # What is stale or has lapsed here is not to be confirmed by a copy of it.
        unheld = [place for place, state in missing.items() if state is State.REFUSED]
        held = [place for place in missing if place not in set(unheld)]
        join, copies = self._loads.join, not terms.lifetime.is_short
        flights = join(unheld, terms, load, copies=copies) | join(held, terms, load, copies=False)
        is_patient = any(state is not State.STALE for state in missing.values())
        with self._loads.rails.asking(missing, terms.lifetime.whole):
            await _wait(flights, None if is_patient else terms.soft)
        landed = {}
        for place, flight in flights.items():
            if not flight.future.done() or flight.future.exception() is not None:
                if (entry := self._fallback(place, flight)) is not None:
                    landed[place] = entry
            elif flight.is_for(arrived):
                landed[place] = flight.future.result()
        return landed

    def _fallback(self, place: Place, flight: Flight) -> Entry | None:
        """What is served in place of a load that has failed or takes long. Raises what the load raised."""
        entry, state = self.state(place)
        is_over = flight.future.done()
        if entry is not None and (state in SERVED or (is_over and state is State.LAPSED)):
            self.stale_served += 1
            return entry
        if is_over:
            flight.future.result()
        return None


async def _wait(flights: Mapping[Place, Flight], seconds: float | None) -> None:
    """Until all have ended, or for so long. They go on if the caller is cancelled."""
    await asyncio.wait([flight.future for flight in flights.values()], timeout=seconds)
