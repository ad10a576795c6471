"""The meters whose counters are in one group, and the commands that take tokens for them.

Rules:

* A command is sent when one of them needs tokens. It takes for all that will need some soon: that costs nothing more.
* What becomes due while the event loop does something else goes together. `MAX_IN_FLIGHT` commands are under way at a
  time; a meter is part of one of them.
* After a failure a command takes for those alone that need it, until one is answered. So does one that is not billed.
* During the pause that follows a failure only those are not asked for whose own take failed: the others may lie in a
  store that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from tenantcache.errors import StoreError
from tenantcache.ratelimit.batch import Batch
from tenantcache.ratelimit.core.advance import is_next_due, may_reserve
from tenantcache.ratelimit.core.packing import pack_debits
from tenantcache.ratelimit.core.windows import CounterValue, CounterValues, minute_at, quarter_of
from tenantcache.ratelimit.members import Members
from tenantcache.ratelimit.meter import Meter
from tenantcache.ratelimit.opentakes import OpenTakes
from tenantcache.ratelimit.outage import Failure
from tenantcache.ratelimit.resting import RestingMeters
from tenantcache.ratelimit.supply import Supply

MAX_IN_FLIGHT = 2
"""Commands under way. A meter that becomes due meanwhile waits for one of them, and then shares the next one."""

STEP = 32
"""Meters between two breaths of the event loop: 2 ms, if they are at rest."""


class Group:
    """`number` is that of the group, `resting` all meters at rest."""

    def __init__(self, number: int, supply: Supply, resting: RestingMeters) -> None:
        self.number = number
        self.members: Members = Members(number, resting, self)
        self._supply = supply
        self._resting = resting
        self._due: dict[str, Meter] = {}
        self._delayed: set[str] = set()
        """Owners that became due while a command for them was under way."""
        self._reserved = 0
        """The last quarter of an hour for which all members have been asked."""
        self._is_cautious = False
        self._failing: set[str] = set()
        """Members whose last take was not answered, or not all of it."""
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, meter: Meter) -> None:
        self.members.add(meter)

    def discard(self, meter: Meter) -> None:
        self.members.discard(meter)
        self._due.pop(meter.owner, None)
        self._delayed.discard(meter.owner)
        self._failing.discard(meter.owner)

    def work(self, meter: Meter) -> None:
        """Take what its line waits for, refill it, or give back what is idle, in a task."""
        if meter.reservation.is_taking:
            self._delayed.add(meter.owner)  # until that is answered
        else:
            self._due[meter.owner] = meter
            self._start()

    def _start(self) -> None:
        if self._due and len(self._tasks) < MAX_IN_FLIGHT:
            task = asyncio.create_task(self._work(), name="tenantcache take")
            self._tasks.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        """What became due after its last look has found no place while it was here."""
        self._tasks.discard(task)
        self._start()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What is under way."""
        return self._tasks

    def abandon(self) -> None:
        """The event loop of the tasks was closed."""
        self._tasks.clear()
        self._due.clear()
        self._delayed.clear()
        self._failing.clear()
        self.members.abandon()

    # Taking.

    async def _work(self) -> None:
        while self._due:
            due, self._due = list(self._due.values()), {}
            await self._round(due)
            await self._let_rest()

    async def _round(self, due: Sequence[Meter]) -> None:
        """Send one command for those that are in no other one; the others come when that is answered."""
        self._delayed.update(meter.owner for meter in due if meter.reservation.is_taking)
        due = [meter for meter in due if not meter.reservation.is_taking]
        takes = OpenTakes(self._resting)
        failure = self._supply.outage.paused(self.number, self._supply.server_now())
        is_asked = is_answered = False
        try:
            for meter in due:
                meter.answer()
            await self._plan([meter for meter in due if failure is None or meter.owner not in self._failing], takes)
            is_asked = bool(takes)
            await self._send(takes)
            is_answered = True
        except StoreError as error:
            failure = self._supply.note_error(self.number, error)
            self._reserved = 0  # what was asked for in advance may be lost
            self.members.ask_again()
        finally:
            if is_asked or failure is not None:  # else no store was asked
                self._is_cautious = not is_answered or failure is not None
            self._conclude(due, takes, failure, is_broken=failure is None and not is_answered)

    def _conclude(
        self, due: Iterable[Meter], takes: OpenTakes, failure: Failure | None, *, is_broken: bool = False
    ) -> None:
        """Serve the lines. What was asked for may not have been enough; without an answer there is nothing to wait for.

        A meter that is part of another command by now is served when that is answered. A request that came since the
        command was planned, to a meter for which nothing was asked, is due: no store has failed it. `is_broken`: the
        command was not sent, or not settled, and no store is to blame.
        """
        self._failing.update(takes.fail(self._supply.server_now()))
        for meter in dict.fromkeys([*due, *takes.asked]):
            if meter.reservation.is_taking:
                continue
            meter.answer()
            is_failing = is_broken or meter.owner in self._failing
            if is_failing:
                meter.answer_without_store(failure)
            if (meter.is_due and not is_failing) or meter.owner in self._delayed:
                self._due[meter.owner] = meter
            self._delayed.discard(meter.owner)

    async def _plan(self, due: Iterable[Meter], takes: OpenTakes) -> None:
        """Fill `takes` with what the `due` members need, and what others will need soon."""
        now = self._supply.server_now()
        quarter = quarter_of(minute_at(now))
        ahead = not self._is_cautious and is_next_due(now) and self._reserved <= quarter
        for meter in due:
            if (take := meter.next_take(ahead=ahead)) is not None:
                takes.add(meter, take)
            else:
                meter.answer_without_store(None)  # nothing can be asked for its line, as after a release
        if not takes or self._is_cautious or not self._supply.is_billed():
            return
        day = any(debit.window.unit == "day" for take in takes.live.values() for debit in take.debits)
        if day or ahead or (self._reserved < quarter and may_reserve(now)):
            self._note_reserved(now, ahead=ahead)
            members = self.members.along(quarter + ahead, day=day, notes=may_reserve(now))
            await self._plan_along(members, takes, ahead=ahead, day=day)
        else:
            await self._plan_along(self.members.busy(minute_at(now)), takes, ahead=False, day=False)
        self.members.note_busy(takes.live)

    def _note_reserved(self, now: float, *, ahead: bool) -> None:
        """All members are asked now, if there is time for the replies. What was noted of the next quarter stays."""
        if may_reserve(now):
            self._reserved = max(self._reserved, quarter_of(minute_at(now)) + ahead)

    async def _plan_along(self, members: Iterable[Meter], takes: OpenTakes, *, ahead: bool, day: bool) -> None:
        now, processes = self._supply.server_now(), self._supply.processes()
        for number, meter in enumerate(members, start=1):
            take = meter.reservation.plan_along(now, processes, ahead=ahead, day=day, is_first=takes.are_first)
            if take is not None:
                self.members.open(meter, take, takes)
            if number % STEP == 0:
                await asyncio.sleep(0)
                now = self._supply.server_now()

    async def _send(self, takes: OpenTakes) -> None:
        """Raises `StoreError`, after what was granted all the same has been entered. Those in `takes` are then open."""
        if not takes:
            return
        failure: StoreError | None = None
        while takes:
            values: CounterValues
            # Once the fleet has changed its counters, what they give back is of those that it left.
            now = self._supply.server_now()
            takes.drop_outdated(self._supply.version_of(minute_at(now)), now)
            batch = takes.batch()
            try:
                values = await self._supply.debit(batch)
            except StoreError as error:
                if not error.values:
                    raise
                failure, values = error, error.values
            await self._settle(takes, batch.owners, values)
        if failure is not None:
            raise failure
        self._supply.outage.end(self.number, self._supply.server_now(), fails=bool(self._failing))

    async def _settle(self, takes: OpenTakes, owners: Sequence[str], values: CounterValues) -> None:
        """Enter the replies; leave in `takes` what is to be sent next: repairs, and overshoot."""
        for number, (owner, found) in enumerate(zip(owners, values, strict=True), start=1):
            if None in found:
                self._failing.add(owner)
            else:
                self._failing.discard(owner)
            self._settle_one(takes, owner, found)
            if number % STEP == 0:
                await asyncio.sleep(0)

    def _settle_one(self, takes: OpenTakes, owner: str, found: Sequence[CounterValue | None]) -> None:
        if (settled := takes.pop(owner, self)) is None:
            return
        meter, take, is_at_rest = settled
        more = meter.reservation.settle(take, found, self._supply.server_now())
        if more is None and takes.are_first:
            more = meter.reservation.plan_second(self._supply.server_now(), self._supply.processes())
        if is_at_rest:
            self.members.close(meter, more, takes)
        elif more is None:
            meter.answer()
        else:
            takes.add(meter, more)
        if more is not None:
            self.members.note_busy({meter: more})
        if more is not None and more.repairs:
            self._supply.on_lost(owner, more.debits[0].window)

    # Beside the requests.

    async def take_for_all(self) -> None:
        """Take the first tokens of all members, so that no request waits for them. Raises `StoreError`."""
        takes = OpenTakes(self._resting, are_first=True)
        self._note_reserved(self._supply.server_now(), ahead=False)
        failure: Failure | None = None
        try:
            await self._plan_along(self.members, takes, ahead=False, day=True)
            await self._send(takes)
        except StoreError as error:
            failure = self._supply.note_error(self.number, error)
            raise
        finally:
            self._conclude([], takes, failure)
            self._start()
        await self._let_rest()

    async def _let_rest(self) -> None:
        await self.members.let_rest(self._may_rest, minute_at(self._supply.server_now()))

    def _may_rest(self, meter: Meter) -> bool:
        return not any(meter.owner in wanted for wanted in (self._due, self._delayed, self._failing))

    def rest(self, meter: Meter) -> None:
        """Put a member that is idle to rest, if it can."""
        if self._may_rest(meter):
            self.members.rest(meter, minute_at(self._supply.server_now()))

    async def give_back(self, meters: Iterable[Meter]) -> None:
        """Give back what they hold, as far as the store answers. They are no members any more, and dead afterwards.

        If no store answers, tokens are lost: fewer are admitted, never more.
        """
        batch = Batch()
        for number, meter in enumerate(meters, start=1):
            self.discard(meter)
            if (take := meter.reservation.release(self._supply.server_now())) is not None:
                batch.add(meter.owner, pack_debits(meter.slot, take.debits))
            if number % STEP == 0:
                await asyncio.sleep(0)
        if batch:
            try:
                await self._supply.debit(batch)
            except StoreError as error:
                self._supply.note_error(self.number, error)
