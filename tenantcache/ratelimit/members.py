"""The members of a group: live meters, meters at rest, and those of the live ones that are often asked along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.meter import Meter, Worker
from tenantcache.ratelimit.opentakes import OpenTakes
from tenantcache.ratelimit.resting import RestingMeters

BUSY_MINUTES = 60
"""Minutes for which a meter that took tokens of a minute is asked whether it will need more."""

STEP = 64
"""Meters that go to rest between two breaths of the event loop: a millisecond."""


class Members:
    """Of the group of that `number`. `live` are by owner, and `worker` takes tokens for them."""

    def __init__(self, number: int, resting: RestingMeters, worker: Worker) -> None:
        self.live: dict[str, Meter] = {}
        self._number = number
        self._resting = resting
        self._worker = worker
        self._woken: list[Meter] = []
        """Those that were at rest before a command took for them along with others."""
        self._asked = self._asked_for_day = 0
        """The last quarter of an hour for which those at rest have been asked."""
        self._busy: dict[str, int] = {}
        """The last minute in which a member took tokens of a minute."""

    def __iter__(self) -> Iterator[Meter]:
        """The live ones, and each one at rest, made when its turn comes: if it is needed, `wake` it."""
        yield from list(self.live.values())
        yield from self._resting.of_group(self._number, self._worker)

    def find(self, owner: str) -> Meter | None:
        """The member of that owner, as it is now; None if it has left."""
        return self.live.get(owner) or self._resting.make(owner, self._worker)

    def along(self, quarter: int, *, day: bool, notes: bool) -> Iterator[Meter]:
        """Those to ask along for that quarter of an hour, and for the day: those at rest once in a quarter. They use
        nothing up. `notes`: what is asked now need not be asked again."""
        yield from list(self.live.values())
        if quarter > (self._asked_for_day if day else self._asked):
            if notes:
                self._asked = max(quarter, self._asked)
                self._asked_for_day = quarter if day else self._asked_for_day
            yield from self._resting.of_group(self._number, self._worker)

    def ask_again(self) -> None:
        """What was asked for those at rest may not have been answered."""
        self._asked = self._asked_for_day = 0

    def add(self, meter: Meter) -> None:
        self.live[meter.owner] = meter
        meter.worker = self._worker

    def discard(self, meter: Meter) -> None:
        if self.live.get(meter.owner) is meter:
            del self.live[meter.owner]
        elif meter.owner in self._resting:
            self._resting.forget(meter)
        self._busy.pop(meter.owner, None)

    # Busy.

    def busy(self, minute: int) -> list[Meter]:
        """Those that have taken tokens of a minute lately."""
        self._busy = {owner: last for owner, last in self._busy.items() if last >= minute - BUSY_MINUTES}
        return [self.live[owner] for owner in self._busy if owner in self.live]

    def note_busy(self, takes: Mapping[Meter, Take]) -> None:
        """`takes` are to be sent for live ones."""
        for meter, take in takes.items():
            if _takes_of_minute(take):
                self._busy[meter.owner] = take.lines[0].debit.window.number

    # Taken for along with others.

    def open(self, meter: Meter, take: Take, takes: OpenTakes) -> None:
        """`take` is to be sent for `meter`, live or made of one at rest, along with others."""
        if meter.owner in self._resting:
            if not _takes_of_minute(take) and takes.add_at_rest(meter, take):
                return
            self.wake(meter, is_along=True)
        takes.add(meter, take)

    def close(self, meter: Meter, more: Take | None, takes: OpenTakes) -> None:
        """The take of `meter`, made of one at rest, is settled. `more` is to be sent next."""
        if more is not None or not self._resting.end_take(meter):
            self.wake(meter, is_along=True)
        if more is not None:
            takes.add(meter, more)

    # At rest.

    def wake(self, meter: Meter, *, is_along: bool = False) -> None:
        """Make `meter` live, if it was made of one at rest. `is_along`: it is taken for along with others."""
        if meter.owner in self._resting:
            self._resting.wake(meter)
            self.add(meter)
            if is_along:
                self._woken.append(meter)

    def rest(self, meter: Meter, minute: int) -> None:
        """Put a live one to rest, if it can: one that is busy may be asked along in each minute."""
        is_busy = self._busy.get(meter.owner, 0) >= minute - BUSY_MINUTES
        if self.live.get(meter.owner) is meter and not is_busy and self._resting.rest(meter):
            del self.live[meter.owner]

    async def let_rest(self, may_rest: Callable[[Meter], bool], minute: int) -> None:
        """What was only taken for along with others rests again, if it may."""
        woken, self._woken = self._woken, []
        for number, meter in enumerate(woken, start=1):
            if may_rest(meter):
                self.rest(meter, minute)
            if number % STEP == 0:
                await asyncio.sleep(0)

    def abandon(self) -> None:
        """What wakes them has ended with its event loop."""
        self._woken.clear()


def _takes_of_minute(take: Take) -> bool:
    """Whether it claims tokens of a minute alone."""
    line = take.lines[0]
    return bool(line.claim) and line.debit.window.unit == "minute"
