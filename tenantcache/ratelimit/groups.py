"""The groups of the meters of a process, and the way of a new meter into its group."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tenantcache.errors import FailoverError, StoreError
from tenantcache.ratelimit.core.advance import may_reserve
from tenantcache.ratelimit.core.windows import minute_at, minute_end
from tenantcache.ratelimit.group import Group
from tenantcache.ratelimit.meter import UNPLACED, Meter
from tenantcache.ratelimit.resting import RestingMeters
from tenantcache.ratelimit.slots import group_of
from tenantcache.ratelimit.supply import Supply

SLOTS_WAIT = 1.0
"""Seconds after which a request comes back that could not be counted for want of a slot."""


class Groups:
    """Places meters: the worker of a meter that has no slot yet. `resting` are all meters at rest."""

    def __init__(self, supply: Supply, resting: RestingMeters) -> None:
        self._supply = supply
        self._resting = resting
        self._groups: dict[int, Group] = {}
        self._unplaced: dict[str, Meter] = {}
        self._placing: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._groups.values()))

    def work(self, meter: Meter) -> None:
        """Place it, and take what it needs."""
        self._unplaced[meter.owner] = meter
        if self._placing is None or self._placing.done():
            self._placing = asyncio.create_task(self._place_all(), name="tenantcache slots")

    async def _place_all(self) -> None:
        while self._unplaced:
            meters, self._unplaced = list(self._unplaced.values()), {}
            failure = self._supply.outage.paused(UNPLACED, self._supply.server_now())
            try:
                if failure is None:
                    await self.place(meters)
            except StoreError as error:
                # Others may be granted the whole limit meanwhile, so a share of it must not be admitted here.
                until = self._supply.server_now() + SLOTS_WAIT
                failure = self._supply.note_error(UNPLACED, FailoverError(str(error), until=until))
            finally:
                for meter in meters:
                    if meter.slot == UNPLACED:
                        meter.answer_without_store(failure)
                    else:
                        meter.worker.work(meter)

    async def find_misplaced(self) -> list[Meter]:
        """Ask for all slots again, so that they are known to be in use; return the meters that have another one now.

        That is so after a database was restored. Raises `StoreError`.
        """
        misplaced: list[tuple[Group, str]] = []
        for group in self:
            members = list(group.members)
            slots = await self._supply.slots.assign([meter.owner for meter in members])
            moved = (meter for meter, slot in zip(members, slots, strict=True) if meter.slot != slot)
            misplaced += [(group, meter.owner) for meter in moved]
        # Requests may have woken some meanwhile: they are other meters by now.
        return [meter for group, owner in misplaced if (meter := group.members.find(owner)) is not None]

    async def place(self, meters: Sequence[Meter]) -> None:
        """Give each of them that has none its slot. Raises `StoreError`."""
        new = [meter for meter in meters if meter.slot == UNPLACED]
        slots = await self._supply.slots.assign([meter.owner for meter in new]) if new else []
        for meter, slot in zip(new, slots, strict=True):
            self.put(meter, slot)
        self._supply.outage.end(UNPLACED, self._supply.server_now())

    def put(self, meter: Meter, slot: int) -> None:
        """It has that slot, if it had none before."""
        if meter.slot == UNPLACED:
            meter.slot = slot
            self._group_of(meter).add(meter)

    def _group_of(self, meter: Meter) -> Group:
        number = group_of(meter.slot)
        if number not in self._groups:
            self._groups[number] = Group(number, self._supply, self._resting)
        return self._groups[number]

    async def take_for_all(self, meters: Sequence[Meter]) -> None:
        """Place them, and take the first tokens of their groups. Raises `StoreError`."""
        await self.place(meters)
        now = self._supply.server_now()
        if not may_reserve(now):  # without a part of the quarter each first request would be a command
            await asyncio.sleep(minute_end(minute_at(now)) - now)
        for group in self:
            await group.take_for_all()

    async def give_back(self, meters: Iterable[Meter]) -> None:
        """Give back what they hold, as far as the store answers. They have been taken out, and are dead afterwards."""
        by_group: dict[int, list[Meter]] = defaultdict(list)
        now = self._supply.server_now()
        for meter in meters:
            if meter.slot == UNPLACED:
                self._unplaced.pop(meter.owner, None)
                meter.reservation.release(now)
            else:
                by_group[group_of(meter.slot)].append(meter)
        for number, members in by_group.items():
            await self._groups[number].give_back(members)

    async def give_all_back(self, live: Iterable[Meter]) -> None:
        """The same of all members, those at rest as well: none is left."""
        await self.give_back([meter for meter in live if meter.slot == UNPLACED])
        for group in self:
            await group.give_back(group.members)

    def wake(self, owner: str) -> Meter | None:
        """Make the meter at rest live; None if there is none."""
        meter = self._resting.make(owner, self)
        if meter is not None:
            self._group_of(meter).members.wake(meter)
        return meter

    def rest(self, meter: Meter) -> None:
        """Put a meter that is idle to rest, if it can."""
        if meter.slot != UNPLACED:
            self._group_of(meter).rest(meter)

    async def finish(self) -> None:
        """Wait for what is under way."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    def _tasks(self) -> set[asyncio.Task[None]]:
        tasks = {task for group in self for task in group.tasks}
        return tasks if self._placing is None or self._placing.done() else {*tasks, self._placing}

    def discard(self, meter: Meter) -> None:
        if meter.slot == UNPLACED:
            self._unplaced.pop(meter.owner, None)
        else:
            self._groups[group_of(meter.slot)].discard(meter)

    def abandon(self) -> None:
        """The event loop of what is under way was closed."""
        self._unplaced.clear()
        self._placing = None
        for group in self:
            group.abandon()

    def clear(self) -> None:
        """Forget all meters."""
        self.abandon()
        self._groups.clear()
