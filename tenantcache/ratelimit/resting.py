"""Meters whose reservations are at rest, as bytes.

Rules:

* A tenant has a meter that is live, or one at rest, or none. One at rest is made live by what it is needed for.
* What is kept for each is bytes and texts in dicts that hold nothing else (`shards.py`): the garbage collector looks
  for no more than the meters of the tenants that are asked for.
* If the server's clock is set, each follows as soon as it is made anew.
* One may rest while a take for it is in flight, and is then made in that state (`opentakes.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.packing import Packed, Packing, asking, cautious, is_of
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Calendar, minute_at
from tenantcache.ratelimit.meter import Meter, Worker
from tenantcache.ratelimit.slots import group_of
from tenantcache.ratelimit.supply import Supply
from tenantcache.runtime.shards import Shards
from tenantcache.tenant import Limits

ROOM = 1_000_000
"""Meters for which there are parts enough; more make them larger."""

STEP = 4_000
"""Meters whose tokens are counted in one step: 2 ms."""


class Taking(Protocol):
    """The takes of one command, some of them for meters at rest."""

    def wake(self, meter: Meter) -> None: ...

    def drop(self, owner: str) -> None: ...


class Count(NamedTuple):
    """Of the tokens of a minute, which has counters of that `version`, by owner."""

    minute: int
    version: object
    granted: dict[str, int]


class RestingMeters:
    """`live` are the other ones, by owner."""

    def __init__(self, supply: Supply, live: dict[str, Meter]) -> None:
        self._supply = supply
        self._live = live
        self.packing: Packing = Packing()
        self._taking: dict[str, Taking] = {}
        """Those for which a take is in flight."""
        self._records: Shards[bytes] = Shards(ROOM)
        self._groups: dict[int, dict[str, None]] = {}
        self._count: Count | None = None

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, owner: str) -> bool:
        return owner in self._records

    def owners(self) -> Iterator[str]:
        """They may change between two of them."""
        return (owner for owner, _ in self._records.items())

    def rest(self, meter: Meter) -> bool:
        """Put a live one to rest; false if it cannot rest now. It is dead afterwards."""
        if meter.is_busy or self._live.get(meter.owner) is not meter or not self._keep(meter):
            return False
        del self._live[meter.owner]
        return True

    def _keep(self, meter: Meter) -> bool:
        """Keep what is left of it; false if it cannot rest now. It is dead afterwards."""
        record = meter.reservation.rest(
            self._supply.server_now(),
            lambda resting: self.packing.pack(Packed(meter.slot, self._supply.moves.count, resting)),
        )
        if record is None:
            return False
        self._records.put(meter.owner, record)
        self._groups.setdefault(group_of(meter.slot), {})[meter.owner] = None
        return True

    # Those for which a take is in flight.

    @property
    def taking(self) -> list[str]:
        return list(self._taking)

    def begin_take(self, meter: Meter, take: Take, taking: Taking) -> bool:
        """`take` is planned for `meter`, which was made of one at rest; false if that cannot rest meanwhile."""
        record = self._records.get(meter.owner)
        if record is not None and is_of(record, minute_at(self._supply.server_now()), self._supply.moves.count):
            self._records.put(meter.owner, asking(record, take))
        elif not self._keep(meter):
            return False
        self._taking[meter.owner] = taking
        return True

    def end_take(self, meter: Meter) -> bool:
        """It is settled for `meter`, which was made of one at rest. False if that cannot go on resting: wake it."""
        self._taking.pop(meter.owner, None)
        return self._keep(meter)

    def fail_take(self, owner: str) -> None:
        """It was not answered."""
        record = self._records.get(owner)
        if self._taking.pop(owner, None) is not None and record is not None:
            self._records.put(owner, cautious(record))

    # Made of what is at rest.

    def make(self, owner: str, worker: Worker) -> Meter | None:
        """A meter like the one at rest, which stays what it is; None if there is none."""
        record = self._records.get(owner)
        if record is None:
            return None
        slot, moves, resting = self.packing.unpack(record)
        supply, is_taking = self._supply, owner in self._taking
        reservation = Reservation.resumed(
            *(resting, supply.version_of, supply.policy, supply.fast, supply.moves),
            is_taking=is_taking,
            followed=moves,
        )
        meter = Meter(owner, reservation, self._supply, worker)
        meter.slot = slot
        return meter

    def of_group(self, number: int, worker: Worker) -> Iterator[Meter]:
        """Each one of that group, made when its turn comes."""
        for owner in list(self._groups.get(number, ())):
            if (meter := self.make(owner, worker)) is not None:
                yield meter

    @property
    def groups(self) -> list[int]:
        return list(self._groups)

    def wake(self, meter: Meter) -> None:
        """`meter`, made of the one at rest, is the live one from now on."""
        if (taking := self._taking.get(meter.owner)) is not None:
            taking.wake(meter)
        self.forget(meter)
        self._live[meter.owner] = meter

    def forget(self, meter: Meter) -> None:
        if (taking := self._taking.pop(meter.owner, None)) is not None:
            taking.drop(meter.owner)
        record = self._records.pop(meter.owner)
        if record is not None and self._count is not None:
            self._note_granted(self._count, meter.owner, record)
        del self._groups[group_of(meter.slot)][meter.owner]

    def has(self, owner: str, limits: Limits, calendar: Calendar) -> bool:
        """Whether the one at rest has these limits and these days."""
        record = self._records.get(owner)
        if record is None:
            return False
        resting = self.packing.unpack(record).resting
        return resting.limits == limits and resting.calendar is calendar

    def count_granted(self, now: float, granted: dict[str, int]) -> Iterator[None]:
        """Enter in `granted` the tokens of this minute that the counters have granted here, by owner, in the steps that
        are returned. What leaves from now on, before its turn has come, is counted as well."""
        minute = minute_at(now)
        self._count = Count(minute, self._supply.version_of(minute), granted)
        return self._steps(self._count)

    def _steps(self, count: Count) -> Iterator[None]:
        try:
            for number, (owner, record) in enumerate(self._records.items(), start=1):
                self._note_granted(count, owner, record)
                if number % STEP == 0:
                    yield
        finally:
            if self._count is count:  # else it was begun anew
                self._count = None

    def _note_granted(self, count: Count, owner: str, record: bytes) -> None:
        if tokens := self.packing.granted_in(record, count.minute, count.version):
            count.granted[owner] = tokens

    def clear(self) -> None:
        self._records.clear()
        self._groups.clear()
        self._taking.clear()
