"""A reservation, and the requests that wait for it.

Rules:

* Requests that need a take wait in a line. When the answer is there they are served in the order in which they came,
  within one step, so that none overtakes another.
* A request that finds tokens never waits. A refill runs in the background.
* What a store did not answer is not granted.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Protocol

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Calendar
from tenantcache.ratelimit.counterstore import Account
from tenantcache.ratelimit.outage import Failure
from tenantcache.ratelimit.supply import Supply
from tenantcache.tenant import Limits

NAME_SEPARATOR = "\x1f"
"""Separates a tenant's id from a limit's name if counters are called by both: U+001F, the unit separator, which
no id has that a person can type."""

UNPLACED = -1
"""The slot of a meter that has not asked for one yet."""


def owner_of(tenant_id: str, name: str) -> str:
    return tenant_id + NAME_SEPARATOR + name


class Worker(Protocol):
    """Takes tokens for meters, in the background."""

    def work(self, meter: Meter) -> None:
        """Take what its line waits for, refill it, or give back what is idle."""
        ...


class Meter:
    """`owner` is what its counters are called by: a tenant's id, or `owner_of` a named limit."""

    __slots__ = ("_line", "_supply", "owner", "reservation", "slot", "worker")

    def __init__(self, owner: str, reservation: Reservation, supply: Supply, worker: Worker) -> None:
        self.owner: str = owner
        self.reservation: Reservation = reservation
        self.slot: int = UNPLACED
        self.worker: Worker = worker
        self._supply = supply
        # Costs that wait, in their order. An empty deque takes 600 bytes, and most tenants never need one.
        self._line: deque[tuple[int, asyncio.Future[Decision]]] | None = None

    @property
    def account(self) -> Account:
        return Account(self.owner, self.slot)

    @property
    def is_named(self) -> bool:
        return NAME_SEPARATOR in self.owner

    @property
    def is_busy(self) -> bool:
        return bool(self._line) or self.reservation.is_taking

    @property
    def is_due(self) -> bool:
        """Whether a take is to be sent for it."""
        return bool(self._line) or self.reservation.refill

    def put_in_force(self, limits: Limits, calendar: Calendar) -> None:
        """Go on with new limits, or with the days of another calendar."""
        if self.reservation.limits != limits or self.reservation.calendar is not calendar:
            self.reservation.change(limits, self._supply.server_now(), calendar)
            self.worker.work(self)

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
        self.worker.work(self)
        return await waiter

    def _decide(self, cost: int) -> Decision | None:
        decision = self.reservation.decide(self._supply.server_now(), cost)
        if self.reservation.refill:
            self.worker.work(self)
        return decision

    def answer(self) -> None:
        """Serve the line, from its head, as far as what is held goes."""
        while self._line:
            cost, waiter = self._line[0]
            if not waiter.done():  # it was cancelled with its request
                decision = self._decide(cost)
                if decision is None:
                    return
                waiter.set_result(decision)
            self._line.popleft()
        self._line = None

    def answer_without_store(self, failure: Failure | None) -> None:
        """Serve all of the line."""
        resumes = None if failure is None else failure.resumes
        while self._line:
            cost, waiter = self._line.popleft()
            if not waiter.done():
                decision = self._decide(cost)
                waiter.set_result(decision or self._share(cost, resumes))
        self._line = None

    def _share(self, cost: int, resumes: float | None) -> Decision:
        share, now = self._supply.local_share, self._supply.server_now()
        return share.decide(self.owner, self.reservation, cost, now, resumes)

    # Taking.

    def next_take(self, *, ahead: bool) -> Take | None:
        """What the line waits for, a refill, or what is to be given back. `ahead` is that of `Reservation.plan`."""
        supply, now = self._supply, self._supply.server_now()
        if self._line:
            return self.reservation.plan(now, self._waiting_cost(), supply.processes(), ahead=ahead)
        if self.reservation.refill:
            return self.reservation.plan(now, 0, supply.processes(), ahead=ahead)
        return self.reservation.surplus(now)

    def _waiting_cost(self) -> int:
        """What the line waits for, as far as a limit allows; at least what its head does."""
        limits = self.reservation.limits
        most = min(limit for limit in (limits.per_minute, limits.per_day, sys.maxsize) if limit is not None)
        costs = [cost for cost, _ in self._line or ()]
        return max(costs[0], min(most, sum(costs)))
