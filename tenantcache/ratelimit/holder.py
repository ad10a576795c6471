"""This process as a holder of Redis' tokens: what it tells Postgres of them. `core/handover.py` has the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol
from uuid import uuid4

from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.windows import minute_at
from tenantcache.ratelimit.counterstore import CounterChoices

INTERVAL, RETRY_INTERVAL = 10.0, 1.0
"""Seconds from one registration to the next, and after one that failed."""


class Report(NamedTuple):
    """The tokens of `minute` that were granted here, by owner of the counter."""

    version: int
    minute: int
    granted: Mapping[str, int]


class Tokens(Protocol):
    """What the counters have granted to this process."""

    def hand_over(self, granted: dict[str, int]) -> Iterator[None]:
        """Enter in `granted` what there is of this minute, by owner, in steps. Overshoot is forgotten."""
        ...

    async def enter_windows(self) -> None:
        """Enter this minute with what was reserved of it."""


class Holder:
    """`register`, `report` and `leave` raise `StoreError` if Postgres does not answer."""

    def __init__(self, failover: Failover, choices: CounterChoices) -> None:
        self._choices = choices
        self.start_anew(failover)

    def start_anew(self, failover: Failover) -> None:
        """Under another name."""
        self._failover = failover
        self._process = uuid4()
        self._place: tuple[int, int] | None = None
        self._next = 0.0

    def place(self) -> tuple[int, int] | None:
        """This process's number among those that count, and how many there are; None if that is not known."""
        return self._place

    def clock_moved(self, now: float) -> None:
        """The server's clock was set, and it is `now`: the lease is of minutes that may have become far away."""
        self._next = min(self._next, now)

    def is_due(self, now: float) -> bool:
        """Whether to register again. A process that never counts need not be known."""
        return now >= self._next and (self._failover.has_counted or self._failover.handover.through >= 0)

    async def register(self, now: float) -> bool:
        """Become a holder, or stay one (rule 1); False if the row is not the one that is known here."""
        self._next = now + RETRY_INTERVAL
        failover, holds = self._failover, self._failover.redis.answers
        held = await self._choices.hold(self._process, failover.choice.version, holds=holds)
        if held.fleet:
            self._place = held.place, held.fleet
        if held.through is None and holds:
            return False
        if held.through is not None:
            failover.handover.through = held.through
        self._next = now + INTERVAL
        return True

    async def give_up(self, tokens: Tokens, server_now: Callable[[], float]) -> Report | None:
        """Take nothing more from Redis before the change that is announced begins, and say what it has granted
        (rule 2). None if that is not to be reported any more, or a minute began meanwhile: then it is not known which
        one was counted."""
        await tokens.enter_windows()
        if not self._failover.has_to_hand_over(server_now()):
            return None
        return await self._count(tokens, server_now, lambda: self._failover.has_to_hand_over(server_now()))

    async def _count(
        self, tokens: Tokens, server_now: Callable[[], float], goes_on: Callable[[], bool] = lambda: True
    ) -> Report | None:
        """Give up first, so that nothing is granted while requests are served between two steps. None if the minute, or
        which counters it has, became another meanwhile, or it does not go on."""
        agreement, minute = self._failover.agreement, minute_at(server_now())
        version, counters = agreement.choice.version, agreement.version_of(minute)
        granted: dict[str, int] = {}
        steps = tokens.hand_over(granted)  # it looks at the minute's version, which is not known afterwards
        self._failover.handover.give_up(version)
        for _ in steps:
            await asyncio.sleep(0)
            if minute_at(server_now()) != minute or agreement.version_of(minute) != counters or not goes_on():
                return None
        return Report(version, minute, granted) if minute_at(server_now()) == minute else None

    async def report(self, report: Report, *, leaves: bool = False) -> bool:
        """Tell Postgres; return whether it was the last report that the minute waited for."""
        handover = self._failover.handover
        if handover.through >= 0:
            await self._choices.report(self._process, report.minute, report.granted)
        done = await self._choices.hand_over(self._process, report.version, report.minute, leaves=leaves)
        handover.report(report.version, report.minute)
        return done

    async def leave(self, tokens: Tokens, server_now: Callable[[], float]) -> None:
        """Rules 5 and 6. It counts again if a minute has just begun."""
        report = None
        if self._place is not None or self._failover.handover.through >= 0:
            report = await self._count(tokens, server_now) or await self._count(tokens, server_now)
        if report is not None and not self._failover.isolation.has_spent_alone(report.minute):
            await self.report(report, leaves=True)
        self.abandon()

    def abandon(self) -> None:
        """Be another holder from now on, if any. What the one before has spent and not reported is waited for until its
        lease ends: the engine may be opened again in the same minute, and does not know of it."""
        self._failover.handover.start_anew()
        self.start_anew(self._failover)
