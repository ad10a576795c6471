"""A reservation, the requests that wait for it, and the task that talks to the counters for it.

Rules:

* One take is in flight at a time. Requests that need it wait in a line. When the answer is there they are served in the
  order in which they came, within one step, so that none overtakes another.
* A request that finds tokens never waits. A refill runs in the background.
* What a store did not answer is not granted.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Sequence

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Calendar
from tenantcache.ratelimit.outage import Failure
from tenantcache.ratelimit.supply import Supply
from tenantcache.tenant import Limits

NAME_SEPARATOR = "\x1f"
"""Separates a tenant's id from a limit's name if counters are called by both: U+001F, the unit separator, which
no id has that a person can type."""


def owner_of(tenant_id: str, name: str) -> str:
    return tenant_id + NAME_SEPARATOR + name


class Meter:
    """`owner` is what its counters are called by: a tenant's id, or `owner_of` a named limit."""

    __slots__ = ("_line", "_supply", "owner", "reservation", "task")

    def __init__(self, owner: str, reservation: Reservation, supply: Supply) -> None:
        self.owner: str = owner
        self.reservation: Reservation = reservation
        self.task: asyncio.Task[None] | None = None
        self._supply = supply
        # Costs that wait, in their order. An empty deque takes 600 bytes, and most tenants never need one.
        self._line: deque[tuple[int, asyncio.Future[Decision]]] | None = None

    @property
    def is_named(self) -> bool:
        return NAME_SEPARATOR in self.owner

    @property
    def is_busy(self) -> bool:
        return bool(self._line) or (self.task is not None and not self.task.done())

    def put_in_force(self, limits: Limits, calendar: Calendar) -> None:
        """Go on with new limits, or with the days of another calendar."""
        if self.reservation.limits != limits or self.reservation.calendar is not calendar:
            self.reservation.change(limits, self._supply.server_now(), calendar)
            self.work()

    # Deciding.

    async def check(self, cost: int) -> Decision:
        """Admit or refuse a request that costs `cost` tokens; waits for the counters if that takes them to know."""
        decision = None if self._line else self._decide(cost)
        if decision is not None:
            return decision
        waiter: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        if self._line is None:
            self._line = deque()
        self._line.append((cost, waiter))
        self.work()
        return await waiter

    def _decide(self, cost: int) -> Decision | None:
        decision = self.reservation.decide(self._supply.server_now(), cost)
        if self.reservation.refill:
            self.work()
        return decision

    def _answer(self) -> None:
        """Serve the line, from its head, as far as what is held goes."""
        while self._line:
            cost, waiter = self._line[0]
            if not waiter.done():  # it was cancelled with its request
                decision = self._decide(cost)
                if decision is None:
                    return
                waiter.set_result(decision)
            self._line.popleft()

    def _answer_without_store(self, failure: Failure | None) -> None:
        resumes = None if failure is None else failure.resumes
        while self._line:
            cost, waiter = self._line.popleft()
            if not waiter.done():
                decision = self._decide(cost)
                waiter.set_result(decision or self._share(cost, resumes))

    def _share(self, cost: int, resumes: float | None) -> Decision:
        share, now = self._supply.local_share, self._supply.server_now()
        return share.decide(self.owner, self.reservation, cost, now, resumes)

    # Taking.

    def work(self) -> None:
        """Take what the line waits for, refill, and give back what is idle, in a task."""
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._work(), name="tenantcache take")

    async def _work(self) -> None:
        """Send takes until the line is empty and nothing is to be refilled or given back."""
        failure = self._supply.outage.paused(self.owner, self._supply.server_now())
        try:
            self._answer()
            while failure is None and (take := self._next_take()) is not None:
                await self._send(take)
                self._answer()
        except StoreError as error:
            failure = self._supply.note_error(self.owner, error)
        finally:
            self._answer_without_store(failure)
            # No request can come in between: there is no await from here to the end of the task.
            self._line, self.task = None, None

    def _next_take(self) -> Take | None:
        supply, now = self._supply, self._supply.server_now()
        if self._line:
            return self.reservation.plan(now, self._waiting_cost(), supply.processes(), supply.horizon())
        if self.reservation.refill:
            return self.reservation.plan(now, 0, supply.processes(), supply.horizon())
        return self.reservation.surplus(now)

    def _waiting_cost(self) -> int:
        """What the line waits for, as far as a limit allows; at least what its head does."""
        limits = self.reservation.limits
        most = min(limit for limit in (limits.per_minute, limits.per_day, sys.maxsize) if limit is not None)
        costs = [cost for cost, _ in self._line or ()]
        return max(costs[0], min(most, sum(costs)))

    async def _send(self, take: Take) -> None:
        """Raises `StoreError`, after what was granted all the same has been entered."""
        supply = self._supply
        following: Take | None = take
        failure: StoreError | None = None
        while following is not None:
            values: Sequence[int | None]
            try:
                values = await supply.debit(self.owner, following)
            except BaseException as error:
                if not isinstance(error, StoreError) or not error.values:
                    self.reservation.fail(following, supply.server_now())
                    raise
                failure, values = error, error.values
            following = self.reservation.settle(following, values, supply.server_now())
            if following is not None and following.repairs:
                supply.on_lost(self.owner, following.debits[0].window)
        if failure is not None:
            raise failure
        supply.outage.end(self.owner, supply.server_now())

    async def release(self) -> None:
        """Give back what is held, as far as the store answers. It was taken out, and is dead afterwards."""
        take = self.reservation.release(self._supply.server_now())
        if take is not None:
            await self._supply.give_back(self.owner, take)
